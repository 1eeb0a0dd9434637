"""What a node takes that has much to do already, that is full, that goes down, or that does not lead."""

from raftd.consensus import Membership, encode_membership
from raftd.consensus.messages import AppendEntries, AppendEntriesReply, Heartbeat
from raftd.consensus.types import NO_INDEX, NO_TERM, EntryKind, LogIndex, NodeId, Term
from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.operations import Delete, Get, Increment, Put, Range, Transaction, Write
from raftd.kv.queries import RangeQuery
from raftd.kv.types import Revision
from raftd.node.admission import AdmissionLimits
from raftd.wire.client import RefusalCode, ResponseKind
from tests.node.parts import Client, Server
from tests.node.test_gateway import following, step, use
from tests.node.test_gateway_access import REQUESTS, leader, write


def test_one_connection_has_only_so_much_under_way() -> None:
    """Writes and reads together; answered ones make room; other connections are not affected."""
    server = leader(admission_limits=AdmissionLimits(requests_in_flight_max=3))
    client, other = server.client(), server.client()
    ids = client.put(b"a", b"b")
    ids += [client.get(b"a"), client.get(b"b"), *client.put(b"c")]
    (elsewhere,) = other.put(b"a")
    server.scheduler.run()
    server.store()
    assert [client.responses[request_id][0] for request_id in ids[:3]] == [ResponseKind.ANSWER] * 3
    assert [client.refusal(request_id).code for request_id in ids[3:]] == [RefusalCode.OVERLOADED] * 2
    assert other.responses[elsewhere][0] is ResponseKind.ANSWER
    (again,) = client.put(b"c")
    server.scheduler.run()
    server.store()
    assert client.responses[again][0] is ResponseKind.ANSWER


def test_all_connections_together_hold_only_so_many_bytes() -> None:
    """The bound is looked at before a write is taken, so it is overshot by one write at most."""
    server = leader(admission_limits=AdmissionLimits(pending_bytes_max=1000))
    clients = [server.client() for _ in range(3)]
    ids = [client.put(b"key", value=b"v" * 600)[0] for client in clients]
    server.scheduler.run()
    assert clients[2].refusal(ids[2]).code is RefusalCode.OVERLOADED
    server.store()
    assert [client.answer(request_id).outcome for client, request_id in zip(clients[:2], ids[:2], strict=True)] == [
        Outcome.SESSION_EXPIRED,
        Outcome.SESSION_EXPIRED,
    ]
    assert server.requests.bytes_held == 0
    (again,) = clients[2].put(b"key", value=b"v" * 600)
    server.scheduler.run()
    server.store()
    assert clients[2].responses[again][0] is ResponseKind.ANSWER


def test_a_slow_disk_owes_only_so_many_bytes() -> None:
    """What faster disks have committed without it still waits for this one."""
    server = Server(size=3, admission_limits=AdmissionLimits(pending_bytes_max=1000))
    server.become_leader()
    client = server.client()
    for _ in range(2):
        (taken,) = client.put(b"key", value=b"v" * 600)
        server.scheduler.run()
        raft = server.raft
        for peer in (2, 3):
            server.hear(peer, AppendEntriesReply(raft.current_term, True, raft.last_index, NO_INDEX, NO_TERM))
        server.scheduler.run()
        assert client.responses[taken][0] is ResponseKind.ANSWER
    assert server.requests.bytes_held == 0
    (refused,) = client.put(b"key", value=b"v")
    server.scheduler.run()
    assert client.refusal(refused).code is RefusalCode.OVERLOADED
    assert "disk" in client.refusal(refused).message
    server.store()
    (again,) = client.put(b"key", value=b"v")
    server.scheduler.run()
    assert again not in client.responses


def test_a_draining_node_takes_nothing_new_and_finishes_the_rest() -> None:
    """What needs no log is answered up to the end."""
    server = leader()
    client = server.client()
    (before,) = client.put(b"key")
    server.scheduler.run()
    server.gateway.admission.is_draining = True
    put, get, ping, status, log = client.send(*(REQUESTS[each] for each in ("put", "get", "ping", "status", "log")))
    server.scheduler.run()
    server.store()
    assert client.responses[before][0] is ResponseKind.ANSWER
    assert [client.refusal(request_id).code for request_id in (put, get)] == [RefusalCode.STOPPING] * 2
    assert client.responses[ping][0] is ResponseKind.PONG
    assert client.responses[status][0] is client.responses[log][0] is ResponseKind.DOCUMENT


def test_a_full_store_takes_what_does_not_add_to_it() -> None:
    """At a bound on keys or bytes; as soon as there is room again everything goes on."""
    for limits in (AdmissionLimits(keys_max=3), AdmissionLimits(bytes_max=3 * 7)):
        server = leader(admission_limits=limits)
        client = use(server)
        client.put(b"k1", b"k2", b"k3")
        step(server)
        ids = [
            *client.put(b"k4"),
            *client.put(b"k1", value=b"longer than before"),
            client.write(Increment(b"number", 1)),
            client.write(Transaction((), (Put(b"k5", b""),))),
        ]
        step(server)
        assert [client.refusal(request_id).code for request_id in ids] == [RefusalCode.FULL] * 4
        allowed = [
            *client.put(b"k1", value=b"other"),
            client.get(b"k1"),
            client.ask(RangeQuery(Range(b"", b""))),
            client.write(Transaction((), (Delete(b"k2"), Put(b"k6", b"val")))),
            client.write(Delete(b"k3")),
        ]
        step(server)
        assert [client.answer(request_id).outcome for request_id in allowed] == [Outcome.OK] * 5
        (again,) = client.put(b"k4")
        step(server)
        assert client.answer(again).outcome is Outcome.OK


VALUE = bytes(500)
CROWDED = AdmissionLimits(bytes_max=600, pending_bytes_max=900)


def crowded() -> tuple[Server, Client]:
    """A store beyond its bound by what may be under way."""
    server = leader(admission_limits=CROWDED)
    client = use(server)
    client.put(b"1", value=VALUE)
    step(server)
    client.put(b"2", b"3", value=VALUE)
    step(server)
    return server, client


def move(source: bytes, target: bytes) -> Transaction:
    """What adds nothing as long as the source is there."""
    return Transaction((), (Delete(source), Put(target, VALUE)))


def test_what_each_by_itself_adds_nothing_adds_little_together() -> None:
    """Transactions that delete the same key: no more than may be under way, however often they are sent."""
    server = leader(admission_limits=CROWDED)
    client = use(server)
    client.put(b"100", b"99", value=VALUE)
    step(server)
    for number in range(100, 160, 3):
        ids = [client.write(move(b"%d" % number, b"%d" % (number + more))) for more in (3, 1, 2)]
        step(server)
        assert client.answer(ids[0]).outcome is Outcome.OK
        assert client.refusal(ids[2]).code is RefusalCode.OVERLOADED
    before = server.machine.bytes_total
    assert before <= CROWDED.bytes_max + CROWDED.pending_bytes_max + len(VALUE)
    one, other = client.write(move(b"160", b"161")), client.write(move(b"160", b"162"))
    step(server)
    assert client.answer(one).outcome is Outcome.OK
    assert client.refusal(other).code is RefusalCode.OVERLOADED
    assert server.machine.bytes_total == before
    again = client.write(move(b"160", b"162"))
    step(server)
    assert client.refusal(again).code is RefusalCode.FULL


def test_a_crowded_store_takes_one_at_a_time_of_what_hinges_on_others() -> None:
    """Deletions, reads and what only overwrites are taken together; what failed only for a key that goes, is not."""
    server, client = crowded()
    create = Put(b"1", 2 * VALUE, expected_revision=Revision(0))
    plainly = commands.put(client.session, 99, 1, b"1", 2 * VALUE, expected_revision=Revision(0))
    taken = [
        *client.put(b"2", b"3", value=b"7"),
        client.write(Transaction((), (Get(b"2"),))),
        client.write(Delete(b"1")),
    ]
    refused = [client.write(create), *client.send(write(plainly)), client.write(move(b"2", b"4"))]
    step(server)
    assert [client.answer(each).outcome for each in taken] == [Outcome.OK] * 4
    assert [client.refusal(each).code for each in refused] == [RefusalCode.OVERLOADED] * 3
    server, client = crowded()
    alone = client.write(create)
    step(server)
    assert client.answer(alone).outcome is Outcome.COMPARE_FAILED


def test_a_crowded_store_does_not_take_back_what_is_being_moved() -> None:
    """A value would be there twice: a transaction has it elsewhere, and a PUT overwrites what was there before."""
    server, client = crowded()
    moved, (back,), deleted = client.write(move(b"1", b"4")), client.put(b"1", value=VALUE), client.write(Delete(b"2"))
    step(server)
    assert [client.answer(each).outcome for each in (moved, deleted)] == [Outcome.OK] * 2
    assert client.refusal(back).code is RefusalCode.OVERLOADED


def test_a_crowded_store_waits_for_nothing_longer_than_it_is_under_way() -> None:
    """What hinged on others is done: what comes then may overwrite again, whatever else has come meanwhile."""
    server, client = crowded()
    moved = client.write(move(b"1", b"4"))
    server.scheduler.run()
    deleted = client.write(Delete(b"2"))
    (early,) = client.put(b"3", value=b"early")
    server.store()
    later = client.write(Delete(b"5"))
    server.scheduler.run()
    (late,) = client.put(b"3", value=b"late")
    step(server)
    assert client.refusal(early).code is RefusalCode.OVERLOADED
    assert [client.answer(each).outcome for each in (moved, deleted, late)] == [Outcome.OK] * 3
    assert client.answer(later).outcome is Outcome.NOT_FOUND


def test_a_write_that_was_done_is_answered_by_a_full_store() -> None:
    """A client that repeats what it has no answer to must learn that it was done."""
    server = leader(admission_limits=AdmissionLimits(keys_max=1))
    client = use(server)
    body = commands.put(client.session, 1, 1, b"key", b"value")
    for _ in range(2):
        (request_id,) = client.send(write(body))
        step(server)
        assert client.answer(request_id).outcome is Outcome.OK


def test_a_follower_names_the_leader() -> None:
    """With the address at which clients reach it."""
    server = following(1)
    client = server.client()
    (request_id,) = client.put(b"key")
    server.scheduler.run()
    refusal = client.refusal(request_id)
    assert (refusal.code, refusal.leader_id, refusal.leader_address) == (RefusalCode.NOT_LEADER, 2, "node-2:7400")
    assert server.requests.is_idle


def test_a_follower_s_redirect_names_the_replicated_address() -> None:
    """A leader that has moved is where the membership says, whatever the settings still do."""
    server = Server(size=3)
    places = "client=moved:7400,peer=moved:7401,http=moved:7402"
    membership = Membership(frozenset(map(NodeId, (1, 2, 3))), addresses={NodeId(2): places})
    entry = (LogIndex(1), Term(1), EntryKind.MEMBERSHIP, encode_membership(membership))
    server.hear(2, AppendEntries(Term(1), NodeId(2), NO_INDEX, Term(0), NO_INDEX, (entry,)))
    server.scheduler.run()
    client = server.client()
    (request_id,) = client.put(b"key")
    server.scheduler.run()
    assert client.refusal(request_id).leader_address == "moved:7400"


def test_a_follower_takes_reads_as_long_as_it_knows_a_leader() -> None:
    """It can ask that leader from which index on it may answer; without one it says so."""
    server = Server(size=3)
    client = server.client()
    early = client.get(b"key")
    server.scheduler.run()
    assert client.refusal(early).code is RefusalCode.NO_LEADER
    server.hear(2, Heartbeat(Term(1), NodeId(2), NO_INDEX, 1))
    server.scheduler.run()
    client.get(b"key")
    assert server.requests.has_queued_reads


def test_a_full_disk_takes_deletes_and_no_puts() -> None:
    """Otherwise no space would ever come back."""
    server = leader()
    server.disk.disk_low = True
    client = server.client()
    put, delete = client.send(REQUESTS["put"], REQUESTS["delete"])
    server.scheduler.run()
    server.store()
    assert client.refusal(put).code is RefusalCode.OVERLOADED
    assert client.responses[delete][0] is ResponseKind.ANSWER


def test_a_full_disk_takes_nothing_that_only_overwrites() -> None:
    """A counter makes the store no larger, and the log it does: what is left there is for deletions."""
    server = leader()
    client = server.client()

    def done() -> None:
        server.scheduler.run()
        server.store()

    opened = client.open_session()
    done()
    client.session = answers.decode_open_session(client.answer(opened).body).session
    counted = write(commands.write(client.session, 99, 1, Write(Increment(b"key", 5))))
    client.send(counted)
    done()
    server.disk.disk_low = True
    transactions = (Transaction((), (Put(b"key", b"6"),)), Transaction((), (Get(b"key"),)))
    refused = [client.write(each) for each in (Increment(b"key", 1), *transactions)]
    taken = client.send(counted)  # it is answered as before
    done()
    assert [client.refusal(each).code for each in refused] == [RefusalCode.OVERLOADED] * 3
    assert client.answer(taken[0]).outcome is Outcome.OK


def test_a_full_disk_takes_one_at_a_time_of_what_leaves_less() -> None:
    """Only the first one finds what it deletes; deletions are taken all the same."""
    server = leader()
    client = use(server)
    client.put(b"key", b"other")
    step(server)
    server.disk.disk_low = True
    smaller = Transaction((), (Put(b"new", b""), Delete(b"key")))
    first, second, deleted = client.write(smaller), client.write(smaller), client.write(Delete(b"other"))
    step(server)
    assert [client.answer(each).outcome for each in (first, deleted)] == [Outcome.OK] * 2
    assert client.refusal(second).code is RefusalCode.OVERLOADED
