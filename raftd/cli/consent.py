"""Consent to what cannot be undone: the cluster's name, typed by a person or given beforehand."""

import sys
from typing import Final

import click

from raftd.cli.output import complain

_NOBODY: Final = "nobody is there to ask: give --yes NAME; nothing was changed"


def check_consent(name: str, given: str | None, purpose: str) -> None:
    """Have the name of the cluster typed, unless it was given with --yes.

    Args:
        name: The cluster's.
        given: What was said with --yes; None: nothing, so it is asked for.
        purpose: What is about to be done, to go on after "To".

    Raises:
        click.ClickException: It is another name, or there is nobody to ask.
        click.Abort: The question was answered with Ctrl-C.
    """
    if given is None:
        given = _ask(f"To {purpose}, type the cluster's name")
    if given != name:
        raise click.ClickException(f"{given!r} is not the cluster's name, {name!r}; nothing was changed")


def _ask(question: str) -> str:
    if any(stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)):  # closed; to read a line takes all three
        raise click.ClickException(_NOBODY)
    try:
        return str(click.prompt(question, err=True))
    except click.Abort:
        if sys.stdin.isatty():
            raise
        complain("\n")  # the question has no line end yet
        raise click.ClickException(_NOBODY) from None
    except OSError:  # the question cannot be written, or the answer not be read
        raise click.ClickException(_NOBODY) from None
    except UnicodeDecodeError:
        raise click.ClickException("what was typed is not text, and no cluster's name; nothing was changed") from None
