"""The entry points of the programs raftd and raftctl.

This module imports next to nothing: what the programs need takes a tenth of a second to import, and Ctrl-C in that time
is to end them without a traceback, as it does later (`raftd.cli.output.run_main`).
"""

import signal
from importlib import import_module


def raftd() -> None:
    """Be `raftd`."""
    _run("raftd.cli.raftd")


def raftctl() -> None:
    """Be `raftctl`."""
    _run("raftd.cli.raftctl")


def _run(module: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    # Not where it is ignored: who runs in the background of a script is not meant by Ctrl-C.
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    main = import_module(module).main
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)
    main()
