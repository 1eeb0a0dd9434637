"""The journal's catalogue (systemd.syntax: "Journal Message Catalogs"), made from the events that a node logs."""

import re

from raftd.events import CATALOGUE, Event

_HEAD = "# Made from raftd/events.py by `make catalog`; a test compares the two. `journalctl -x` shows it.\n"


def catalog() -> str:
    """The whole of `systemd/raftd.catalog`."""
    return _HEAD + "".join(_entry(event) for event in CATALOGUE)


def _entry(event: Event) -> str:
    subject = re.sub(r"%\((\w+)\)s", lambda match: f"@RAFTD_{match[1].upper()}@", event.text)
    return (
        f"\n-- {event.message_id}\nSubject: {subject}\nDefined-By: raftd\nDocumentation: man:raftd(8)\n\n"
        f"{event.advice.strip()}\n\nSearch for it with: journalctl RAFTD_EVENT={event.name}\n"
    )
