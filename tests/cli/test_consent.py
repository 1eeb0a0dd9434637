import io
import os
import pty
import sys

import click
import pytest

from raftd.cli.consent import check_consent


def test_the_name_given_beforehand_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked then, nor read."""
    monkeypatch.setattr(sys, "stdin", None)
    check_consent("prod", "prod", "begin anew")


@pytest.mark.parametrize("given", ["prod ", "PROD", "", "y"])
def test_anything_else_is_no_consent(given: str) -> None:
    """Not even yes: whoever has the wrong cluster before him would say that, too."""
    with pytest.raises(click.ClickException, match="is not the cluster's name, 'prod'; nothing was changed"):
        check_consent("prod", given, "begin anew")


def test_the_name_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with what is about to be done; a pipe may answer."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("prod\n"))
    check_consent("prod", None, "begin anew")
    output = capsys.readouterr()
    # Where Debian 12's click reads a line, it says the space before it on standard output.
    assert output.out.strip() == ""
    assert output.err.startswith("To begin anew, type the cluster's name:")


def test_nobody_is_there_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script learns what it should have said."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(click.ClickException, match="give --yes NAME; nothing was changed"):
        check_consent("prod", None, "begin anew")


def test_whoever_is_asked_may_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a terminal's input, as Ctrl-C, is an answer and no mistake."""
    controller, terminal = pty.openpty()
    os.write(controller, b"\x04")
    with os.fdopen(terminal) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with pytest.raises(click.Abort):
            check_consent("prod", None, "begin anew")
    os.close(controller)


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_a_question_needs_all_three_streams(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    """Where one was closed, nobody is there to ask."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("prod\n"))
    monkeypatch.setattr(sys, closed, None)
    with pytest.raises(click.ClickException, match="give --yes NAME; nothing was changed"):
        check_consent("prod", None, "begin anew")


def test_a_question_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where standard error is full."""

    def fail(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(click, "prompt", fail)
    with pytest.raises(click.ClickException, match="give --yes NAME; nothing was changed"):
        check_consent("prod", None, "begin anew")


def test_an_answer_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no cluster's name."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    with pytest.raises(click.ClickException, match="no cluster's name; nothing was changed"):
        check_consent("prod", None, "begin anew")
