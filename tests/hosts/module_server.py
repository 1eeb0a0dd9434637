"""Runs Ansible's modules inside a host of a lab without starting Python for each: half a second of work becomes a fork.

The connection plugin starts this with the host's own Python, by `python3 -c` with this text, and with an archive of
`ansible.module_utils` as the standard input. It goes on in the background until the host ends. A module comes as the
program that Ansible would have piped into `python3`, in a file; two more are for what it says. All three are passed
over a Unix socket, over which the exit code comes back. Whoever lets go of the socket before ends the module, with all
that it has started, as the death of an SSH client may.

Nothing of this is raftd's, and nothing but the standard library is here.
"""

import atexit
import fcntl
import importlib
import os
import select
import signal
import socket
import struct
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

ADDRESS = "/run/raftd-lab-modules"
EXIT_CODE = struct.Struct("!i")
_ARCHIVE = Path("/run/raftd-lab-modules.zip")
_LOCK = Path("/run/raftd-lab-modules.lock")
_PRELOADED = ("ansible.module_utils._internal._ansiballz._loader", "ansible.module_utils.basic")
_FILES = 3


class _SearchPath:
    """Where a package's modules are: in the archive, and in what a module brings with itself, which is in sys.path."""

    def __init__(self, name: str) -> None:
        self._parts = name.split(".")

    def __iter__(self) -> Iterator[str]:
        return (str(Path(place, *self._parts)) for place in sys.path if place.endswith(".zip"))


def _load(archive: bytes) -> None:
    _ARCHIVE.write_bytes(archive)
    sys.path.insert(0, str(_ARCHIVE))
    for name in ("ansible", "ansible.module_utils"):
        importlib.import_module(name).__path__ = _SearchPath(name)  # type: ignore[assignment]  # any iterable will do
    for name in _PRELOADED:
        importlib.import_module(name)


def _listen() -> socket.socket | None:
    """The socket; None if another process serves already."""
    with socket.socket(socket.AF_UNIX) as other:
        if not other.connect_ex(ADDRESS):
            return None
    Path(ADDRESS).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(ADDRESS)
    listener.listen()
    return listener


def _serve(listener: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so nobody needs to wait for those that are forked here
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _attend(connection)
            os._exit(0)
        connection.close()


def _attend(connection: socket.socket) -> None:
    """Run one module, and say how it ended."""
    _, files, _, _ = socket.recv_fds(connection, 1, _FILES)
    child = os.fork()
    if not child:
        os.setsid()
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os._exit(run_program())
    for file in files:
        os.close(file)
    ended, poll = os.pidfd_open(child), select.poll()
    for waited in (ended, connection.fileno()):
        poll.register(waited, select.POLLIN)
    if ended not in [ready for ready, _ in poll.poll()]:
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    connection.sendall(EXIT_CODE.pack(os.waitstatus_to_exitcode(status)))


def run_program() -> int:
    """Do what `python3` does with a program that comes on its standard input, and return its exit code."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = [""]
    code = 0
    try:
        exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec"), vars(main))  # noqa: S102 - it is what Ansible sends
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter shows it
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def main() -> None:
    """Begin to serve, and return when the first module may come."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listener = _listen()
        if listener is None:
            return
        _load(sys.stdin.buffer.read())
        if os.fork():
            os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(_FILES):
        os.dup2(nothing, number)
    os.close(nothing)
    _serve(listener)


if __name__ == "__main__":
    main()
