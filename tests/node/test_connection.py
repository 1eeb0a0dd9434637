import pytest

from raftd.node.connection import UNREAD_BYTES_MAX
from tests.node.parts import Client, Server


@pytest.fixture
def client() -> Client:
    return Server().client()


def test_the_first_answer_of_a_turn_is_told_apart(client: Client) -> None:
    """So that each connection is flushed once."""
    connection = client.connection
    assert [connection.owe(b"one"), connection.owe(b"two")] == [True, False]
    assert connection.answers == [b"one", b"two"]


def test_a_frame_may_come_in_two_parts(client: Client) -> None:
    """Both are owed, in their order, and count as one answer and as all their bytes."""
    connection = client.connection
    assert connection.owe_parts(b"head", b"body")
    assert not connection.owe_parts(b"head", b"other")
    assert connection.answers == [b"head", b"body", b"head", b"other"]
    assert connection.waiting_bytes == 17


def test_what_is_owed_and_what_is_unread_count_together(client: Client) -> None:
    """A client is behind when so much waits for it, wherever it waits."""
    connection = client.connection
    client.channel.unsent_bytes = UNREAD_BYTES_MAX - 5
    assert not connection.is_behind
    connection.owe(b"12345")
    assert not connection.is_behind
    connection.owe(b"6")
    assert connection.is_behind
    connection.answers.clear()
    client.channel.unsent_bytes = 0
    assert not connection.is_behind


def test_requests_go_to_the_gateway_and_the_end_too(client: Client) -> None:
    """A closed connection owes nothing."""
    client.put(b"key")
    client.connection.owe(b"answer")
    client.connection.closed()
    assert client.connection.answers == []


def test_a_connection_that_is_to_end_does_so_when_nothing_is_owed(client: Client) -> None:
    """At once, or behind its last answer; never between a request and that."""
    client.connection.in_flight = 1
    client.connection.leave("why")
    assert not client.channel.is_closed
    client.connection.in_flight = 0
    client.connection.owe(b"answer")
    client.connection.end_if_left()
    assert not client.channel.is_closed
    client.connection.answers.clear()
    client.connection.end_if_left()
    assert (client.channel.is_closed, client.channel.reason) == (True, "why")


def test_a_connection_that_is_not_to_end_stays(client: Client) -> None:
    """Nothing is owed on it most of the time."""
    client.connection.end_if_left()
    assert not client.channel.is_closed
