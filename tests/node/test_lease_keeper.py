import heapq

import pytest

from raftd.consensus import Limits
from raftd.consensus.messages import AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply
from raftd.consensus.types import NO_INDEX, NO_TERM, LogIndex, NodeId, Role, Term
from raftd.kv import answers
from raftd.kv.answers import Outcome
from raftd.kv.commands import Opcode, decode
from raftd.kv.limits import ANSWER_BYTES_MAX, KEY_BYTES_MAX, PAGE_ITEMS_MAX
from raftd.kv.operations import Put, Range, Transaction
from raftd.kv.pages import LeaseInfo, decode_leases, lease_body
from raftd.kv.queries import LeaseQuery, LeasesQuery, RangeQuery
from raftd.kv.store import Store
from raftd.kv.types import LeaseId, Record
from raftd.node.applying import Applier
from raftd.wire.client import Consistency, RefusalCode, ResponseKind
from raftd.wire.watch import decode_keep_alive_answer
from tests.node.parts import TICK_SECONDS, Client, Cluster, Server


def settle(server: Server) -> None:
    server.scheduler.run()
    server.store()
    server.scheduler.run()


def advance(server: Server, seconds: float) -> None:
    """Let time pass, with a disk that stores what there is after each tick."""
    for _ in range(round(seconds / TICK_SECONDS)):
        server.scheduler.advance(TICK_SECONDS)
        settle(server)


def alone() -> tuple[Server, Client]:
    """A cluster of one that leads, and a client with a session."""
    server = Server(size=1)
    server.become_leader()
    client = server.client()
    request_id = client.open_session()
    settle(server)
    client.session = answers.decode_open_session(client.answer(request_id).body).session
    return server, client


def grant(server: Server, client: Client, ttl_ms: int) -> LeaseId:
    request_id = client.grant_lease(ttl_ms)
    settle(server)
    return answers.decode_lease_grant(client.answer(request_id).body).lease


def expiries(server: Server) -> list[int]:
    """Where EXPIRE_LEASES stand in the log."""
    entries = server.raft.entries(LogIndex(server.raft.base_index + 1), LogIndex(server.raft.last_index + 1))
    return [index for index, _, _, data in entries if data and decode(data).opcode is Opcode.EXPIRE_LEASES]


def test_a_lease_ends_with_its_keys_when_nobody_keeps_it_alive() -> None:
    """By an entry of the log, which watches are told of."""
    server, client = alone()
    lease = grant(server, client, 1000)
    client.write(Put(b"key", b"value", lease=lease))
    watch_id = client.watch(b"", b"")
    settle(server)
    advance(server, 0.9)
    assert not expiries(server)
    assert server.machine.get(b"key") == b"value"
    advance(server, 0.4)
    assert len(expiries(server)) == 1
    assert server.machine.get(b"key") is None
    change = client.told(watch_id).changes[-1]
    assert (change.key, change.is_delete, change.by_lease, change.user) == (b"key", True, True, b"")
    assert server.keeper.expired_total == 1
    advance(server, 5.0)
    assert len(expiries(server)) == 1


def test_a_lease_that_is_kept_alive_does_not_end() -> None:
    """However long; and nothing goes into the log for it."""
    server, client = alone()
    lease = grant(server, client, 1000)
    last_index = server.raft.last_index
    for _ in range(20):
        advance(server, 0.7)
        request_id = client.keep_alive(lease)
        settle(server)
        assert decode_keep_alive_answer(client.answer(request_id).body) == (1000,)
    assert len(server.machine.leases) == 1
    # The cluster's clock is moved from time to time, as long as there are sessions.
    assert server.raft.last_index - last_index <= 2


def test_many_leases_end_a_batch_at_a_time() -> None:
    """One after the other, until all are gone."""
    server, client = alone()
    for _ in range(30):
        for _ in range(50):
            client.grant_lease(1000)
        settle(server)
    count = len(server.machine.leases)
    assert count > 1000
    advance(server, 3.0)
    assert len(server.machine.leases) == 0
    assert len(expiries(server)) == -(-count // 1024)


def test_a_process_that_stood_still_ends_no_lease() -> None:
    """The keep-alives that came meanwhile wait in its sockets."""
    server, client = alone()
    lease = grant(server, client, 1000)
    advance(server, 0.5)
    server.scheduler.now += 30.0
    settle(server)
    assert not expiries(server)
    request_id = client.keep_alive(lease)
    settle(server)
    assert decode_keep_alive_answer(client.answer(request_id).body) == (1000,)
    advance(server, 0.9)
    assert not expiries(server)


def test_no_lease_ages_while_committed_entries_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep-alives wait for these too, and must be heard before anything ends; then time goes on."""
    server, client = alone()
    grant(server, client, 1000)
    advance(server, 0.5)
    with monkeypatch.context() as patched:
        patched.setattr(Applier, "is_behind", True)
        for _ in range(30):
            server.scheduler.now += TICK_SECONDS
            server.driver._tick()
    settle(server)
    advance(server, 0.3)
    assert not expiries(server)
    advance(server, 0.4)
    assert len(expiries(server)) == 1


def three(limits: Limits | None = None) -> tuple[Server, Client, LeaseId]:
    """A leader of three with a lease of one second, whose followers say only what the test has them say."""
    server = Server(size=3, limits=limits)
    server.become_leader()
    client = server.client()
    client.open_session()
    client.session = type(client.session)(2)
    request_id = client.grant_lease(1000)
    settle(server)
    follow(server)
    return server, client, answers.decode_lease_grant(client.answer(request_id).body).lease


def follow(server: Server) -> None:
    """A follower has stored everything, and has heard every heartbeat."""
    settle(server)
    raft = server.raft
    rounds = [message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)]
    server.hear(2, AppendEntriesReply(raft.current_term, True, raft.last_index, NO_INDEX, NO_TERM))
    if rounds:
        server.hear(2, HeartbeatReply(raft.current_term, max(rounds)))
    settle(server)


@pytest.mark.parametrize("lease_reads", [False, True])
def test_nothing_rests_on_deadlines_without_a_quorum(lease_reads: bool) -> None:
    """A leader that hears nobody ends no lease and keeps none alive, whatever its own clock and its lease say."""
    server, client, lease = three(Limits(election_timeout_ticks=30, lease_reads=lease_reads))
    for _ in range(8):
        server.scheduler.advance(TICK_SECONDS)
        follow(server)
    kept = client.keep_alive(lease)
    asked = client.ask(LeaseQuery(lease))
    read = client.get(b"key")
    settle(server)
    assert (read in client.responses) == lease_reads
    assert kept not in client.responses
    assert asked not in client.responses
    for _ in range(8):
        server.scheduler.advance(TICK_SECONDS)
        settle(server)
    assert not expiries(server)
    assert server.keeper.read_id is not None
    server.hear(3, Heartbeat(Term(2), NodeId(3), NO_INDEX, 1))
    settle(server)
    assert client.refusal(kept).code is RefusalCode.NOT_LEADER
    assert client.refusal(asked).code is RefusalCode.NOT_LEADER
    assert server.keeper.read_id is None
    server.scheduler.advance(1.0)
    assert not expiries(server)


def test_a_quorum_s_word_ends_what_is_due() -> None:
    """With the reads of the turn, in one round."""
    server, client, _ = three(Limits(election_timeout_ticks=30))
    for _ in range(12):
        server.scheduler.advance(TICK_SECONDS)
        follow(server)
    assert len(expiries(server)) == 1
    read = client.get(b"key")
    follow(server)
    assert client.answer(read).outcome is Outcome.NOT_FOUND
    assert len(server.machine.leases) == 0


def test_a_word_that_comes_after_a_pause_ends_nothing() -> None:
    """Until a tick has noticed the pause, leases look older than they are: one that is not due would end, too."""
    server, client, lease = three(Limits(election_timeout_ticks=30))
    request_id = client.grant_lease(3000)
    follow(server)
    other = answers.decode_lease_grant(client.answer(request_id).body).lease
    server.scheduler.advance(1.3)
    settle(server)
    assert server.keeper.read_id is not None
    server.scheduler.now += 5.0
    rounds = [message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)]
    server.hear(2, HeartbeatReply(server.raft.current_term, max(rounds)))
    server.driver._turn()
    assert server.keeper.read_id is None
    assert not expiries(server)
    for _ in range(5):
        server.scheduler.advance(TICK_SECONDS)
        follow(server)
    leases = server.machine.leases
    assert (leases.get(lease), leases.get(other) is None) == (None, False)


def test_a_lease_whose_end_is_proposed_is_not_kept_alive() -> None:
    """The entry may be committed before the answer arrives."""
    server, client, lease = three(Limits(election_timeout_ticks=30))
    while not expiries(server):
        server.scheduler.advance(TICK_SECONDS)
        rounds = [message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)]
        if rounds:
            server.hear(2, HeartbeatReply(server.raft.current_term, max(rounds)))
        settle(server)
    assert len(server.machine.leases) == 1
    kept = client.keep_alive(lease)
    settle(server)
    rounds = [message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)]
    server.hear(2, HeartbeatReply(server.raft.current_term, max(rounds)))
    settle(server)
    assert decode_keep_alive_answer(client.answer(kept).body) == (0,)


def test_a_new_leader_gives_each_lease_its_full_time() -> None:
    """From its first entry on; the lease ends all the same when nobody keeps it alive."""
    cluster = Cluster(3)
    cluster.advance_until(lambda: cluster.leader)
    first = cluster.leader
    assert first is not None
    client = first.client()
    opened = cluster.hear(client, client.open_session())
    assert opened is not None
    client.session = answers.decode_open_session(opened.body).session
    granted = cluster.hear(client, client.grant_lease(3000))
    assert granted is not None
    lease = answers.decode_lease_grant(granted.body).lease
    cluster.scheduler.advance(2.0)
    cluster.crash(first.node_id)
    cluster.advance_until(lambda: cluster.leader)
    second = cluster.leader
    assert second is not None
    cluster.advance_until(lambda: second.raft.term_at(second.machine.last_applied) == second.raft.current_term)
    since = cluster.scheduler.now
    cluster.advance_until(lambda: second.machine.leases.get(lease) is None)
    assert 3.0 - TICK_SECONDS <= cluster.scheduler.now - since <= 3.0 + 5 * TICK_SECONDS


def test_who_reads_much_of_the_past_does_not_make_leases_live_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that comes late counts for nobody, so no step of a question may be long.

    Here the clock shows what each step costs; all of one question are a fifth of a second.
    """
    server, client = alone()
    first = client.put(b"first")[0]
    settle(server)
    revision = client.answer(first).revision
    for number in range(0, 20_000, 100):
        client.write(Transaction((), tuple(Put(b"a%06d" % at, b"") for at in range(number, number + 100))))
        if number % 10_000 == 0:
            settle(server)
    settle(server)
    lease = grant(server, client, 2000)
    client.write(Put(b"held", b"", lease=lease))
    settle(server)
    get, scheduler = Store.get, server.scheduler

    def slow(store: Store, key: bytes) -> Record | None:
        scheduler.now += 1e-5
        return get(store, key)

    monkeypatch.setattr(Store, "get", slow)
    server.requests._clock = scheduler.time
    reader = server.client("alice")
    began = scheduler.now
    while len(server.machine.leases):
        assert scheduler.now < began + 3.0
        while reader.connection.in_flight < 2:
            reader.ask(RangeQuery(Range(b"a", b"b", 1), revision))
        before = scheduler.now
        scheduler.one_pass()
        assert scheduler.now < before + 0.02
        server.store()
        if scheduler.now == before:
            scheduler.now += 0.001
    assert scheduler.now >= began + 2.0 - TICK_SECONDS
    assert len(reader.responses) >= 8


def test_a_list_of_leases_has_pages() -> None:
    """Each goes on behind the last one of the page before."""
    server, client = alone()
    leases = [grant(server, client, 60_000) for _ in range(5)]
    seen: list[int] = []
    sizes: list[int] = []
    more = True
    while more:
        request_id = client.ask(LeasesQuery(LeaseId(seen[-1] if seen else 0), 2), Consistency.STALE)
        server.scheduler.advance(0.01)
        page = decode_leases(client.answer(request_id).body)
        seen += [listed.lease for listed in page.leases]
        sizes.append(len(page.leases))
        more = page.more
    assert seen == leases
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("limit", [0, PAGE_ITEMS_MAX - 1, PAGE_ITEMS_MAX, PAGE_ITEMS_MAX + 1])
def test_a_page_of_leases_has_a_bound(limit: int) -> None:
    """Whoever asks for more, or for as many as may be, gets that many."""
    server, client = alone()
    for _ in range(PAGE_ITEMS_MAX // 50 + 1):
        for _ in range(50):
            client.grant_lease(60_000)
        settle(server)
    request_id = client.ask(LeasesQuery(LeaseId(0), limit), Consistency.STALE)
    server.scheduler.advance(0.01)
    page = decode_leases(client.answer(request_id).body)
    assert (len(page.leases), page.more) == (min(limit or PAGE_ITEMS_MAX, PAGE_ITEMS_MAX), True)


@pytest.mark.parametrize("more", [0, 1])
def test_a_lease_with_too_many_keys_to_tell_of_is_refused(more: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has a bound, and none is made if the keys alone are beyond it; the lease is as it was."""
    server, client = alone()
    made: list[LeaseInfo] = []

    def make(info: LeaseInfo) -> bytes:
        made.append(info)
        return lease_body(info)

    monkeypatch.setattr("raftd.node.lease_keeper.lease_body", make)
    lease = grant(server, client, 60_000)
    for number in range(ANSWER_BYTES_MAX // KEY_BYTES_MAX + more):
        client.write(Put(b"%04d" % number * (KEY_BYTES_MAX // 4), b"", lease=lease))
    settle(server)
    asked = client.ask(LeaseQuery(lease))
    server.scheduler.advance(0.01)
    assert client.answer(asked).outcome is Outcome.RESULT_TOO_LARGE
    assert len(made) == 1 - more
    assert len(server.machine.leases) == 1


def test_a_leader_counts_no_lease_s_time_before_it_has_applied_an_entry_of_its_term() -> None:
    """Until then it does not know of all keep-alives' leases: elected is not enough (§8)."""
    server, _, _ = three(Limits(election_timeout_ticks=30))
    server.hear(2, Heartbeat(Term(2), NodeId(2), NO_INDEX, 1))
    settle(server)
    server.become_leader()
    for _ in range(20):
        server.scheduler.advance(TICK_SECONDS)
        rounds = [message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)]
        if rounds:
            server.hear(2, HeartbeatReply(server.raft.current_term, max(rounds)))
        settle(server)
    assert server.raft.role is Role.LEADER
    for _ in range(9):
        follow(server)
        server.scheduler.advance(TICK_SECONDS)
    assert not expiries(server)
    for _ in range(4):
        follow(server)
        server.scheduler.advance(TICK_SECONDS)
    assert len(expiries(server)) == 1


def test_a_follower_that_was_leader_does_not_answer() -> None:
    """Not even when the answer was only waiting for its turn."""
    server, client, lease = three(Limits(election_timeout_ticks=30))
    kept = client.keep_alive(lease)
    settle(server)
    rounds = [message.round for _, message in server.take_sent() if isinstance(message, Heartbeat)]
    # One pass brings the quorum's word and the newer leader.
    server.hear(2, HeartbeatReply(server.raft.current_term, max(rounds)))
    server.hear(3, AppendEntries(Term(9), NodeId(3), NO_INDEX, NO_TERM, NO_INDEX, ()))
    settle(server)
    assert server.raft.role is Role.FOLLOWER
    assert client.responses[kept][0] is ResponseKind.REFUSED


def test_a_keep_alive_waits_for_its_own_time_though_timers_are_early() -> None:
    """A loop that counts whole milliseconds calls a little too soon: then it is to call again, before the next tick."""
    server, client = alone()
    scheduler = server.scheduler
    lease = grant(server, client, 1000)
    first = client.keep_alive(lease)
    scheduler.run()
    second = client.keep_alive(lease)
    scheduler.run()
    assert (first in client.responses, second in client.responses) == (True, False)
    _, _, timer = heapq.heappop(scheduler._timers)
    assert timer.callback is not None
    timer.callback()
    scheduler.run()
    assert second not in client.responses
    scheduler.advance(TICK_SECONDS / 10)
    assert second in client.responses
