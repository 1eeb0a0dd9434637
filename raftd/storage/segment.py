"""The segment files of a log: their names, how one comes and goes, and what goes with it.

===================== ==================================================================================
name                  what a crash may leave
===================== ==================================================================================
``<20 digits>.wal``   a segment: a valid header (it had its name only after it was synced), then batches,
                      the last of which may be torn; none at all if the crash came before the first
``segment.new``       the next segment in the making: allocated or not, any part of a header. No
                      acknowledged batch is ever in it: it is removed at start
===================== ==================================================================================

A crash may also undo the renaming, so that what had become a segment is ``segment.new`` again: then nothing in it was
acknowledged, because the directory is synced before the first batch. Segments are removed oldest first, each removal
being durable before the next: so a crash never leaves a gap. Other names are not the log's and are left alone.
"""

import re
from pathlib import Path
from typing import Final

from raftd.consensus.types import LogIndex
from raftd.storage.filesystem import File, FileSystem
from raftd.storage.format import SegmentHeader, damaged, encode_segment_header
from raftd.storage.reserve import Reserve, is_no_space

_SUFFIX: Final = ".wal"
_NAME: Final = re.compile(r"[0-9]{20}\.wal", re.ASCII)
_NEW_NAME: Final = "segment.new"


class SegmentRow:
    """The segments that a log consists of, and where it would begin if the ones before one of them were removed.

    That is the first_index of the segment's header, unless a batch in it or behind it replaced entries from before
    that on: whatever is read from there on, is read from that batch or later ones. So a row's beginnings never
    descend.
    """

    __slots__ = ("_beginnings", "_numbers")

    def __init__(self) -> None:
        """Begin with no segment."""
        self._numbers: list[int] = []
        self._beginnings: list[LogIndex] = []

    @property
    def first_index(self) -> LogIndex:
        """Of the oldest entry in these segments, or of the first one to come."""
        return self._beginnings[0]

    @property
    def next_number(self) -> int:
        """Of the segment to come."""
        return self._numbers[-1] + 1 if self._numbers else 1

    def add(self, number: int, next_index: LogIndex) -> None:
        """Add the newest segment, made when the log ended before `next_index`."""
        self._numbers.append(number)
        self._beginnings.append(next_index)

    def replace_from(self, first_index: LogIndex) -> None:
        """Take note that the newest segment replaces what the log holds from `first_index` on."""
        beginnings = self._beginnings
        place = len(beginnings) - 1
        while place >= 0 and beginnings[place] > first_index:
            beginnings[place] = first_index
            place -= 1

    def reset(self, first_index: LogIndex) -> list[int]:
        """Take note that the newest segment begins with RESET; return the numbers of the others, which are void."""
        void = self._numbers[:-1]
        del self._numbers[:-1]
        self._beginnings = [first_index]
        return void

    def release(self, index: LogIndex) -> list[int]:
        """Drop the segments without which the log still has all behind `index`, and return their numbers."""
        count = 0
        while count + 1 < len(self._numbers) and self._beginnings[count + 1] <= index + 1:
            count += 1
        released = self._numbers[:count]
        del self._numbers[:count], self._beginnings[:count]
        return released


class SegmentDirectory:
    """The segments of one log. Methods raise `OSError` as the file system does."""

    def __init__(self, filesystem: FileSystem, path: Path, reserve: Reserve) -> None:
        """Refer to a directory that is there.

        Args:
            filesystem: Where the directory is.
            path: The directory.
            reserve: Given back when a new segment finds the disk full.
        """
        self._filesystem = filesystem
        self.path = path
        self._reserve = reserve
        self._prepared_size = 0

    def segment_path(self, number: int) -> Path:
        """Where a segment is: names sort as their numbers do."""
        return self.path / f"{number:020d}{_SUFFIX}"

    def numbers(self) -> list[int]:
        """The segments that are there, in order.

        Raises:
            CorruptionError: A name that ends like a segment's and is not one.
        """
        names = [name for name in self._filesystem.list_directory(self.path) if name.endswith(_SUFFIX)]
        for name in names:
            if not _NAME.fullmatch(name):
                raise damaged(self.path / name, 0, "a segment's name is 20 digits")
        return sorted(int(name.removesuffix(_SUFFIX)) for name in names)

    def remove_unfinished(self) -> None:
        """Remove what a crash left of a segment in the making."""
        if _NEW_NAME in self._filesystem.list_directory(self.path):
            self._filesystem.unlink(self.path / _NEW_NAME)
        self._prepared_size = 0

    def open(self, number: int) -> File:
        """Open a segment."""
        return self._filesystem.open(self.segment_path(number))

    def prepare(self, size: int) -> None:
        """Take the space for the next segment, so that `create` has little left to do."""
        if self._prepared_size == size:
            return
        try:
            self._allocate(size)
        except OSError as error:
            if not is_no_space(error) or not self._reserve.release():
                raise
            self._allocate(size)
        self._prepared_size = size

    def _allocate(self, size: int) -> None:
        self.remove_unfinished()
        file = self._filesystem.create(self.path / _NEW_NAME)
        try:
            file.allocate(size)
            file.sync()
        finally:
            file.close()

    def create(self, header: SegmentHeader) -> File:
        """Make a segment, durable in contents and name, and open it."""
        self.prepare(header.size)
        self._prepared_size = 0
        file = self._filesystem.open(self.path / _NEW_NAME)
        try:
            file.write(0, encode_segment_header(header))
            file.sync()
        finally:
            file.close()
        self._filesystem.rename(self.path / _NEW_NAME, self.segment_path(header.number))
        self.sync()
        return self.open(header.number)

    def remove(self, number: int) -> None:
        """Remove a segment for good."""
        self.unlink(number).close()

    def unlink(self, number: int) -> File:
        """Remove a segment's name for good; its space comes back as the file is shrunk, or closed.

        Closing a large one takes as long as a dozen syncs: page by page the system forgets what it kept of it.
        """
        file = self.open(number)
        try:
            self._filesystem.unlink(file.path)
            self.sync()
        except OSError:
            file.close()
            raise
        return file

    def sync(self) -> None:
        """Make the names durable."""
        self._filesystem.sync_directory(self.path)
