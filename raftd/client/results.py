"""What a client's calls give back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key's value, and where it stands in the store's history.

    A revision counts the changes of the whole store; a version counts those of this key since it was created.
    """

    key: bytes
    value: bytes
    create_revision: int
    """The store's revision when the key was created."""
    modify_revision: int
    """The store's revision when the key was last written: what `expected_revision` is compared with."""
    version: int
    """1 when the key was created, one more with each write since."""
    revision: int
    """The store's revision when the answer was made."""


@dataclass(frozen=True, slots=True)
class PutResult:
    """A put that was applied."""

    revision: int
    """The store's revision after it, which is the key's modify revision now."""
    version: int
    """The key's version now: 1 when this put created it."""


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """A delete that was applied."""

    revision: int
    """The store's revision after it."""
    deleted: bool
    """Whether there was such a key."""
