"""What a leader takes whose disk is full."""

from raftd.kv import answers, commands
from raftd.kv.answers import Outcome
from raftd.kv.operations import Delete, Get, Increment, Put, Transaction, Write
from raftd.wire.client import RefusalCode, ResponseKind
from tests.node.test_gateway_access import REQUESTS, leader, write


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
    refused = [client.write(each) for each in (Increment(b"key", 1), Transaction((), (Put(b"key", b"6"),)))]
    taken = [
        *client.send(counted),  # it is answered as before
        client.write(Transaction((), (Get(b"key"),))),
        client.write(Transaction((), (Put(b"new", b""), Delete(b"key")))),
    ]
    done()
    assert [client.refusal(each).code for each in refused] == [RefusalCode.OVERLOADED] * 2
    assert [client.answer(each).outcome for each in taken] == [Outcome.OK] * 3
