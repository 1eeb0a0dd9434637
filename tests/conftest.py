"""What holds for every test."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C mean something to the processes that tests start, however the tests themselves were started.

    A shell without job control starts what it puts into the background with SIGINT ignored, and that is inherited by
    every process below (POSIX, Shell Command Language, 2.11): tests of Ctrl-C would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
