"""Keys for a shell that completes a word: the cluster's own, now; bounded in time, and silent whatever goes wrong."""

import os
import re
import sys
import threading
from dataclasses import replace
from typing import Final, NoReturn

import click

from raftd.cli.output import printable
from raftd.errors import ExitCode

COMPLETE_VARIABLE: Final = "_RAFTCTL_COMPLETE"
"""By this, the shell's function asks raftctl for words instead of having it do something."""
KEYS_OFFERED_MAX: Final = 200
_QUOTED_BY_SHELL: Final = ("zsh_complete", "fish_complete")
"""What the functions say that quote whatever they put on the command line. That for bash puts it there as it is, where
`$(…)` would be run with the command."""
_SPECIAL: Final = re.compile(r"[^\w@%+=:,./-]")
"""What a shell may take for more than itself, as `shlex.quote` has it; but letters of all alphabets are no more."""
_SECONDS: Final = 1.0
"""How long somebody who pressed a key waits gladly."""


def complete_key(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The keys that begin so, as far as a shell can be told them; none if that cannot be found out in time."""
    found: list[str] = []
    # A thread, since not everything that may take long has a time limit of its own: finding a host's address has none.
    thread = threading.Thread(target=_find, args=(context, incomplete, found), daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return list(found)


def end_completion() -> NoReturn:
    """End the process without waiting for what still goes on: the shell has its answer."""
    sys.stdout.flush()
    os._exit(ExitCode.OK)


def _find(context: click.Context, incomplete: str, found: list[str]) -> None:
    try:
        from raftd.cli.target import target_of  # noqa: PLC0415 - needed by those alone who complete keys
        from raftd.client import Client  # noqa: PLC0415 - as above

        config = target_of(context.find_root().params).resolve()
        with Client.from_config(replace(config, timeout=_SECONDS)) as client:
            # Any node will do, and without a quorum too.
            page = client.range(prefix=os.fsencode(incomplete), limit=KEYS_OFFERED_MAX, keys_only=True, stale=True)
            # A shell's list has one word in a line.
            found += [text for item in page.items if (text := _as_text(item.key)) is not None]
    except Exception:  # noqa: BLE001, S110 - a message in the middle of a command line helps nobody
        pass


def _as_text(key: bytes) -> str | None:
    text = os.fsdecode(key)
    if os.environ.get(COMPLETE_VARIABLE) not in _QUOTED_BY_SHELL and _SPECIAL.search(text):
        return None
    return text if text == printable(text).replace("\\\\", "\\") else None
