"""Consent to what cannot be undone: the cluster's name, typed by a person or given beforehand."""

import sys

import click


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
        try:
            given = click.prompt(f"To {purpose}, type the cluster's name", err=True)
        except click.Abort:
            if sys.stdin is not None and sys.stdin.isatty():
                raise
            print(file=sys.stderr)  # the question has no line end yet
            raise click.ClickException("nobody is there to ask: give --yes NAME; nothing was changed") from None
    if given != name:
        raise click.ClickException(f"{given!r} is not the cluster's name, {name!r}; nothing was changed")
