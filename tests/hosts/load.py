"""Starts a writer inside a host, and knows what has become of its writes."""

import contextlib
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.hosts.host import Host
from tests.hosts.waiting import until_found

_SCRIPT: Final = Path(__file__).with_name("writer.py")
_PLACE: Final = "/usr/local/lib/raftd-test/writer.py"
_END_SECONDS_MAX: Final = 90


class Writer:
    """A writer that is under way, or has ended."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output
        self._last_lines: list[str] | None = None

    @property
    def lines(self) -> list[str]:
        """Everything that it has said."""
        return self._output.read_text().splitlines() if self._last_lines is None else self._last_lines

    def count(self, word: str) -> int:
        """How many lines begin with `word`."""
        return sum(line.startswith(f"{word} ") for line in self.lines)

    def more(self, number: int) -> None:
        """Wait until so many writes more than now are acknowledged."""
        wanted = self.count("ok") + number
        until_found(
            lambda: self.count("ok") >= wanted, f"{number} more writes", details=lambda: "\n".join(self.lines[-5:])
        )

    @property
    def longest_stall_seconds(self) -> float:
        """How long the slowest write took; known at the end."""
        (line,) = (line for line in self.lines if line.startswith("stall "))
        return float(line.split()[1])

    def finish(self) -> None:
        """Let it stop, and read back what it has written.

        Raises:
            AssertionError: it did not come to its end, or an acknowledged write is not there.
        """
        self._process.communicate(timeout=_END_SECONDS_MAX)
        self._last_lines = self.lines
        assert self.lines[-1:] == ["done"], self.lines[-10:]
        assert self.count("lost") == 0, [line for line in self.lines if line.startswith("lost")]


@contextlib.contextmanager
def writing(host: Host) -> Iterator[Writer]:
    """A writer in `host`, which has begun; at the end of the block nothing acknowledged may be missing."""
    host.put(_PLACE, _SCRIPT.read_bytes())
    command = host.command("/usr/bin/python3", "-I", _PLACE, f"writer/{uuid.uuid4()}")
    with tempfile.NamedTemporaryFile(prefix="raftd-writer-") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        try:
            writer = Writer(process, Path(output.name))
            writer.more(10)
            yield writer
            writer.finish()
            print(
                f"{writer.count('ok')} writes, {writer.count('failed')} failed, "
                f"longest stall {writer.longest_stall_seconds:.2f} s"
            )
        finally:
            process.kill()
            process.communicate()
