import pytest

from raftd.http.head import RequestHead

HEAD = b"GET /livez?verbose HTTP/1.1\r\nHost: a b\r\n\r\n"


def taken(*pieces: bytes) -> bytes | None:
    """What is to be parsed of these, or None if they were refused."""
    head, parsed = RequestHead(), b""
    for piece in pieces:
        part = head.take(piece)
        if part is None:
            return None
        parsed += part
    return parsed


@pytest.mark.parametrize("head", [HEAD, HEAD.replace(b"\r", b""), b"OPTIONS * HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n"])
@pytest.mark.parametrize("after", [b"", b"body", b"\r\n\r\n", b"GET http://[/ HTTP/1.1\r\n\r\n"])
def test_the_first_head_is_parsed_and_nothing_else(head: bytes, after: bytes) -> None:
    """Bodies and further requests are not, whether all comes at once, in two pieces, or a byte at a time."""
    sent = head + after
    assert taken(*(sent[at : at + 1] for at in range(len(sent)))) == head
    for cut in range(len(sent) + 1):
        assert taken(sent[:cut], sent[cut:]) == head


@pytest.mark.parametrize(
    "line", [b"GET http://x/", b"CONNECT x:1", b"PRI *", b"OPTIONS *://", b"GET  /", b" GET /", b"GET ?"]
)
def test_only_paths_are_asked_for(line: bytes) -> None:
    """Any other target is refused before anything of the request is parsed, however it comes."""
    sent = line + b" HTTP/1.1\r\n\r\n"
    assert taken(sent) is None
    assert taken(*(sent[at : at + 1] for at in range(len(sent)))) is None


def test_blank_lines_before_a_request_are_passed_over() -> None:
    """They are no end of a head."""
    assert taken(b"\r\n\r\n", b"\n" + HEAD) == HEAD


@pytest.mark.parametrize("sent", [b"garbage\r\n\r\n", b"\x16\x03\x01" + bytes(64)])
def test_what_is_no_request_is_for_the_parser(sent: bytes) -> None:
    """It is not held back for the sake of a target that may never come."""
    assert taken(sent) == sent


def test_nothing_is_parsed_before_the_target_begins() -> None:
    """Whoever parses it sees a request that will be served, or none."""
    assert taken(b"GE", b"T ") == b""
    assert taken(b"OPTIONS *") == b""
    assert taken(b"GET", b" /") == b"GET /"
