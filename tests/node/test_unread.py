"""Many clients that leave much unread, each of them less than it may."""

from dataclasses import dataclass, field

import pytest

from raftd.node.connection import UNREAD_BYTES_MAX
from raftd.node.requests import GET_BYTES_MAX, GETS_MAX
from raftd.node.unread import UNREAD_SHARE_BYTES, UNREAD_TOTAL_BYTES_MAX, Unread
from raftd.wire.client import RefusalCode, ResponseKind, decode_refusal, parse_response
from raftd.wire.frames import FrameReader
from tests.node.parts import Channel, Client, Server
from tests.node.test_gateway import step, use
from tests.node.test_gateway_access import leader

MIB = 1 << 20


@dataclass
class Unreading(Channel):
    """A connection of whose answers nothing is read; what they are is noted, and not kept."""

    answers: int = 0
    refusals: list[RefusalCode] = field(default_factory=list)

    def send(self, data: bytes) -> None:
        self.unsent_bytes += len(data)
        for payload in FrameReader(1 << 24).feed(data):
            if parse_response(payload)[0] is ResponseKind.ANSWER:
                self.answers += 1
            else:
                self.refusals.append(decode_refusal(payload).code)


def unreading(server: Server) -> tuple[Client, Unreading]:
    client, channel = server.client(), Unreading()
    client.channel = client.connection.channel = channel  # type: ignore[assignment]  # as `Client` has it
    return client, channel


def large(server: Server) -> None:
    client = use(server)
    client.put(b"key", value=bytes(MIB))
    step(server)


def unread(channels: list[Unreading]) -> int:
    return sum(channel.unsent_bytes for channel in channels)


def test_all_together_leave_so_much_unread() -> None:
    """Nine answers of 1 MiB for each of 200 clients, a few in each turn; the others are refused, and none forgotten."""
    server = leader()
    large(server)
    crowd = [unreading(server) for _ in range(200)]
    channels = [channel for _, channel in crowd]
    for client, _ in crowd:
        for _ in range(9):
            client.get(b"key")
    sent, turns = [0], 0
    while not server.requests.is_idle:
        assert server.scheduler.one_pass()
        sent.append(unread(channels))
        assert sent[-1] - sent[-2] <= GET_BYTES_MAX + MIB + 1000 + GETS_MAX * 200
        turns += 1
    assert turns > 16
    # Nobody was below his share any more when the bound was reached.
    assert sent[-1] <= UNREAD_TOTAL_BYTES_MAX + GET_BYTES_MAX + 2 * MIB
    assert all(channel.answers + len(channel.refusals) == 9 for channel in channels)
    assert {code for channel in channels for code in channel.refusals} == {RefusalCode.OVERLOADED}
    assert all(client.connection.in_flight == 0 for client, _ in crowd)


def test_who_reads_is_served_whatever_others_leave() -> None:
    """And those are served again, as soon as they have read."""
    server = leader()
    large(server)
    crowd = [unreading(server) for _ in range(40)]
    for client, channel in crowd:
        channel.unsent_bytes = 7 * MIB
        client.get(b"absent")
        server.scheduler.run()
    assert server.requests.unread.bytes_max == UNREAD_SHARE_BYTES
    reader, (client, channel) = server.client(), crowd[0]
    refused, given = client.get(b"key"), reader.get(b"key")
    server.scheduler.run()
    assert refused
    assert channel.refusals == [RefusalCode.OVERLOADED]
    assert len(reader.answer(given).body) >= MIB
    for _, channel in crowd:
        channel.unsent_bytes = 0
    server.scheduler.run()
    server.driver.wake()
    server.scheduler.run()
    before = channel.answers
    client, channel = crowd[-1]
    client.get(b"key")
    server.scheduler.run()
    assert channel.answers == before + 1
    assert server.requests.unread.bytes_max == UNREAD_BYTES_MAX


def test_watches_heed_it_too() -> None:
    """300 clients that leave 1 MiB each are more than the node keeps, though each alone may leave as much."""
    server = leader()
    crowd = [unreading(server) for _ in range(300)]
    watcher = server.client()
    watch_id = watcher.watch(b"", b"")
    server.scheduler.run()
    for client, channel in crowd:
        channel.unsent_bytes = MIB
        client.get(b"absent")
    server.scheduler.run()
    assert server.requests.unread.bytes_max == UNREAD_SHARE_BYTES
    watcher.channel.unsent_bytes = UNREAD_SHARE_BYTES + 1
    writer = use(server)
    writer.put(b"key", value=b"1")
    step(server)
    server.scheduler.advance(1.0)
    assert (watcher.told(watch_id).changes, server.watches.stalled_count) == ([], 1)
    watcher.channel.unsent_bytes = UNREAD_SHARE_BYTES
    server.scheduler.advance(1.0)
    assert [change.value for change in watcher.told(watch_id).changes] == [b"1"]


@pytest.mark.parametrize("count", [36, 37])
def test_only_what_is_beyond_a_share_counts(count: int) -> None:
    """A share each is no matter."""
    server = Server()
    found = Unread()
    crowd = [unreading(server) for _ in range(100)]
    for number, (client, channel) in enumerate(crowd):
        channel.unsent_bytes = UNREAD_TOTAL_BYTES_MAX // 36 if number < count else UNREAD_SHARE_BYTES
        found.sent(client.connection)
    found.look()
    assert found.bytes_max == (UNREAD_BYTES_MAX if count == 36 else UNREAD_SHARE_BYTES)
    for _, channel in crowd:
        channel.unsent_bytes = 0
    found.look()
    assert found.bytes_max == UNREAD_BYTES_MAX
    assert not found._large
