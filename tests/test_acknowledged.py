import socket

from raftd.acknowledged import acknowledged_bytes


def test_what_the_other_end_was_sent_is_acknowledged() -> None:
    """By its kernel, whether anybody reads it there or not."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        other, _ = server.accept()
        with other:
            before = acknowledged_bytes(connection)
            connection.sendall(bytes(5000))
            assert other.recv(5000, socket.MSG_WAITALL) == bytes(5000)
            # The acknowledgement may come a little later than the bytes, but not after an answer.
            other.sendall(b"x")
            assert connection.recv(1) == b"x"
            assert acknowledged_bytes(connection) - before == 5000


def test_where_the_kernel_does_not_say_it_is_nothing() -> None:
    """An end that is closed already, one that is no TCP connection, and a system that knows less."""
    connection = socket.socket()
    connection.close()
    assert acknowledged_bytes(connection) == 0
    one, other = socket.socketpair()
    with one, other:
        assert acknowledged_bytes(one) == 0

    class Old:
        def getsockopt(self, level: int, option: int, buffer_bytes: int, /) -> bytes:
            return bytes(min(104, level + option + buffer_bytes))

    assert acknowledged_bytes(Old()) == 0
