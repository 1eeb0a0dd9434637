"""How many connections fit into what this process may have open (getrlimit(2), RLIMIT_NOFILE).

A node that cannot open its next log segment must end. So the connections of clients leave room for its own files,
whatever the settings say and however it was started: a shell's limit is 1024 as a rule, for the sake of programs that
use select(2), and the process itself may raise it to the hard one.
"""

import contextlib
import resource
from typing import Final

FILES_MAX: Final = 64
"""Open at a time, with a margin: the standard ones, the event loop's, what listens and is looked up, segments of the
log, snapshots that are made, received, sent and backed up, and files that are read anew at a reload."""
OWN_DESCRIPTORS: Final = 512
"""For all that is no connection of a client: `FILES_MAX`, clients' handshakes (128), peers' connections (64) and
handshakes (32), links to peers (64, and one more of each while it is dialled anew) and HTTP (64). A test adds them up,
each from where it is bounded."""
_ENOUGH: Final = 1 << 20
"""What is asked for where there is no hard limit."""


def raise_limit() -> None:
    """Raise the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # more than the kernel has (proc(5), nr_open): it stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed() -> int:
    """How many connections of clients leave room for all else; one at least."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (_ENOUGH if soft == resource.RLIM_INFINITY else soft) - OWN_DESCRIPTORS)
