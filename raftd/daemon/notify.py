"""What a service tells its supervisor (sd_notify(3)): one datagram of `NAME=value` lines.

Without NOTIFY_SOCKET in the environment every call does nothing. A call never waits and never raises: a supervisor that
does not listen must not take down what it supervises.
"""

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Speaks to the service manager named in `environment`, by default this process's own."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        path = self._environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte with which the name of an abstract socket begins (unix(7)).
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if path.startswith(("/", "@")) else None
        if self._socket is not None:
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """The start, or a reload, is done."""
        self._send(READY="1", STATUS=status)

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self, status: str, seconds: float) -> None:
        """The node drains and will end, within so many seconds: until then it is not to be killed."""
        self._send(STOPPING="1", STATUS=status, EXTEND_TIMEOUT_USEC=str(int(seconds * 1e6)))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(STATUS=text)

    def feed_watchdog(self) -> None:
        """Say that all is well; to be repeated every `watchdog_interval_seconds`."""
        self._send(WATCHDOG="1")

    @property
    def watchdog_interval_seconds(self) -> float | None:
        """Half of what the supervisor waits for, as sd_watchdog_enabled(3) advises; None where it does not watch."""
        microseconds = self._environment.get("WATCHDOG_USEC", "")
        watched = self._environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return int(microseconds) / 2e6 if watched and microseconds.isdecimal() and int(microseconds) > 0 else None

    def close(self) -> None:
        """Give the socket back; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, **assignments: str) -> None:
        if self._socket is None:
            return
        # A line feed in a status would begin an assignment of its own.
        lines = [f"{name}={value}".replace("\n", " ") for name, value in assignments.items()]
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError:
            return  # full, gone, or not permitted: nothing that could be done about it is worth a node
