"""What reloads change for clients: their rights, their connections, and the request for a reload itself."""

import json
from typing import ClassVar

import pytest

from raftd.consensus.types import NodeId
from raftd.kv.access import AccessRules, Grant, Permissions
from raftd.node.admission import AdmissionLimits
from raftd.wire.client import Refusal, RefusalCode, RequestKind, ResponseKind, decode_document
from tests.node.parts import Client
from tests.node.test_gateway_access import ALLOWED, REQUESTS, leader


def test_other_rules_count_on_connections_that_stand() -> None:
    """From the next request on: what was taken away is denied, what was given is allowed."""
    server = leader()
    alice, bob, gone = server.client("alice"), server.client("bob"), server.client("bob")
    gone.connection.closed()
    rules = AccessRules([Grant("bob", b"", read=True, write=True)], administrators=["bob"])
    watching = server.client("alice")
    watch_id = watching.watch(b"", b"")
    server.scheduler.run()
    server.gateway.use(rules=rules, client_addresses={})
    server.scheduler.run()
    assert watching.told(watch_id).end is not None
    requests = list(REQUESTS.values())
    refused = [alice.send(request)[0] for request in requests]
    allowed = [bob.send(request)[0] for request in requests]
    server.scheduler.run()
    server.store()
    names = list(REQUESTS)
    assert [names[place] for place, each in enumerate(refused) if each not in alice.responses] == []
    assert {names[place] for place, each in enumerate(refused) if not is_denied(alice, each)} == ALLOWED["stranger"]
    assert not any(is_denied(bob, each) for each in allowed)
    assert gone.connection.permissions.administers is False


class CountingRules(AccessRules):
    """Count for whom they are asked."""

    asked: ClassVar[list[str]] = []

    def of(self, user: str) -> Permissions:
        self.asked.append(user)
        return super().of(user)


def test_rules_that_stay_cost_a_reload_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is refused hands over the old ones; other rules are asked once for each user, and addresses count."""
    monkeypatch.setattr(CountingRules, "asked", [])
    server = leader()
    grants = [Grant("bob", b"", read=True, write=True)]
    server.gateway.use(rules=CountingRules(grants), client_addresses={})
    clients = [server.client(user) for user in ("alice", "bob", "alice", "bob")]
    CountingRules.asked.clear()
    permissions = [client.connection.permissions for client in clients]
    server.gateway.use(rules=CountingRules(grants), client_addresses={NodeId(2): "elsewhere:7400"})
    assert CountingRules.asked == []
    assert all(client.connection.permissions is held for client, held in zip(clients, permissions, strict=True))
    server.gateway.use(rules=CountingRules(grants, ["alice"]), client_addresses={NodeId(2): "elsewhere:7400"})
    assert sorted(CountingRules.asked) == ["alice", "bob"]
    assert [client.connection.permissions.administers for client in clients] == [True, False, True, False]
    server.follow(2, 5, prev=(1, 1))
    assert server.gateway.admission.elsewhere().leader_address == "elsewhere:7400"


def is_denied(client: Client, request_id: int) -> bool:
    kind, _ = client.responses.get(request_id, (None, b""))
    return kind is ResponseKind.REFUSED and client.refusal(request_id).code is RefusalCode.DENIED


def test_a_connection_that_is_to_end_is_told_to_go_elsewhere() -> None:
    """Whatever it asks for; nothing of that is done, and what it asked before is answered."""
    server = leader()
    client = server.client()
    (before,) = client.put(b"a")
    client.connection.leave("why")
    last_index = server.raft.last_index
    after = [client.send(request)[0] for request in REQUESTS.values()]
    server.scheduler.run()
    assert all(client.refusal(each).code is RefusalCode.STOPPING for each in after)
    assert server.raft.last_index == last_index + 1
    assert not client.channel.is_closed
    server.store()
    assert client.responses[before][0] is ResponseKind.ANSWER
    assert client.channel.is_closed


def test_a_reload_is_for_administrators_and_answered_when_it_is_done() -> None:
    """Others are denied; the answer comes in a later turn, as a document or a refusal."""
    server = leader()
    alice, bob = server.client("alice"), server.client("bob")
    (denied,) = bob.send((RequestKind.RELOAD, b""))
    first, second = alice.send((RequestKind.RELOAD, b""), (RequestKind.RELOAD, b""))
    (spoiled,) = alice.send((RequestKind.RELOAD, b"x"))
    server.scheduler.run()
    assert is_denied(bob, denied)
    assert alice.refusal(spoiled).code is RefusalCode.BAD_REQUEST
    assert first not in alice.responses
    assert alice.connection.in_flight == 2
    done, failed = server.reloads
    done({"changed": ["access"]})
    failed(Refusal(RefusalCode.NOT_POSSIBLE, "a file is gone"))
    server.scheduler.run()
    assert json.loads(decode_document(alice.responses[first][1])) == {"changed": ["access"]}
    assert alice.refusal(second).message == "a file is gone"
    assert alice.connection.in_flight == 0


def test_a_node_without_files_reads_none() -> None:
    """It says so, and nothing is under way."""
    server = leader()
    server.gateway._reload = None
    client = server.client()
    (request_id,) = client.send((RequestKind.RELOAD, b""))
    server.scheduler.run()
    assert client.refusal(request_id).code is RefusalCode.NOT_POSSIBLE
    assert client.connection.in_flight == 0


def test_a_reload_has_its_bounds_like_any_request() -> None:
    """A node that goes down begins none, and nobody has more under way than requests."""
    server = leader(admission_limits=AdmissionLimits(requests_in_flight_max=1))
    client = server.client()
    _, second = client.send((RequestKind.RELOAD, b""), (RequestKind.RELOAD, b""))
    server.gateway.admission.is_draining = True
    (third,) = client.send((RequestKind.RELOAD, b""))
    server.scheduler.run()
    assert client.refusal(second).code is RefusalCode.OVERLOADED
    assert client.refusal(third).code is RefusalCode.STOPPING
    assert len(server.reloads) == 1
