"""The programs from their first moment on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SLOW_MODULE = """\
import os, signal
os.write(1, b"importing\\n")
signal.sigtimedwait((), 20)  # until a signal comes, that is
def main():
    print("runs")
"""


def program(directory: Path, module: str, before: str = "") -> list[str]:
    """The entry point of raftctl, with `module` in the place of what takes long to import."""
    (directory / "slow_module.py").write_text(module)
    script = (
        f"import sys; sys.path.insert(0, {str(directory)!r}); {before}"
        "from raftd.cli import entry; entry._run('slow_module')"
    )
    return [sys.executable, "-c", script]


def test_ctrl_c_before_the_program_is_there(tmp_path: Path) -> None:
    """It ends by the signal, as a shell expects it, and says nothing."""
    process = subprocess.Popen(program(tmp_path, SLOW_MODULE), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=30)
    assert (process.returncode, output, said) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize(
    ("before", "handler"),
    [("", "default_int_handler"), ("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); ", "SIG_IGN")],
)
def test_the_program_finds_its_signals_as_they_were(before: str, handler: str, tmp_path: Path) -> None:
    """Ctrl-C is an exception again, or still ignored."""
    module = f"import signal\ndef main():\n    assert signal.getsignal(signal.SIGINT) is signal.{handler}\n"
    if handler == "SIG_IGN":
        module = module.replace(" is ", " == ")
    subprocess.run(program(tmp_path, module, before), check=True, timeout=30)
