"""What of a connection's bytes is parsed: the head of one request, for a path.

aiohttp makes a URL of whatever target a request has. For a path nothing can be wrong with that; for anything else
(`GET http://[/ HTTP/1.1`) there are names and addresses to be decoded, with exceptions that it does not expect. What
follows a head is a body, and no page takes any, or another request, and a connection serves one.
"""

import re
from typing import Final

_END: Final = re.compile(rb"\n\r?\n")
_END_BYTES_MAX: Final = 3
_METHOD_BYTES_MAX: Final = 32
"""With more before a space there is no method, and what comes is no HTTP."""


class RequestHead:
    """Goes over a connection's bytes as they come."""

    def __init__(self) -> None:
        self._begun: bytes | None = b""
        """What is held back until it is known what the target begins with; None: it is known."""
        self._latest = b""
        """The last bytes that were passed on, with which the end may have begun."""
        self._is_over = False

    def take(self, data: bytes) -> bytes | None:
        """What of these bytes, and of those held back, is to be parsed now; None if they ask for something else.

        They are not looked at any closer: what is no request at all is for the parser to tell.
        """
        if self._is_over:
            return b""
        if self._begun is not None:
            # RFC 9112 §2.2: blank lines before a request are passed over.
            begun = (self._begun + data).lstrip(b"\r\n")
            method, space, target = begun.partition(b" ")
            may_be_method = len(begun) <= _METHOD_BYTES_MAX and b"\n" not in begun
            if may_be_method and target in {b"", b"*"}:
                self._begun = begun
                return b""
            # RFC 9112 §3.2: a path; or "*", with which OPTIONS is to be told that there is only GET.
            is_served = target.startswith(b"/") or (method == b"OPTIONS" and target.startswith(b"* "))
            if space and not is_served:
                return None
            self._begun, data = None, begun
        joined = self._latest + data
        end = _END.search(joined)
        if end is not None:
            self._is_over = True
            return data[: end.end() - len(self._latest)]
        self._latest = joined[1 - _END_BYTES_MAX :]
        return data
