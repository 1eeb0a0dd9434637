"""What is remembered of backups: when the newest good one is of, and when one failed; the file ``backup``.

It is for people and alarms, and no decision is made by it. So a note that is damaged is one that says "none": the alarm
that this raises is the right one.

    offset  size  field
         0     8  magic           b"raftdBKN"
         8     8  success_ms      wall clock of the newest backup that was verified, little-endian; 0: none
        16     8  failure_ms      when a backup failed last, likewise
        24     4  crc32           of the 24 bytes before, little-endian

A note is valid if and only if it has exactly these 28 bytes. A crash leaves the old one or the new one, and perhaps
``backup.new``, any part of a note, which the next one replaces.
"""

import struct
from typing import Final
from zlib import crc32

from raftd.errors import StorageError
from raftd.storage.data_directory import DataDirectory

_MAGIC: Final = b"raftdBKN"
_NOTE: Final = struct.Struct("<8sQQ")
_CRC: Final = struct.Struct("<I")
_NOTE_BYTES: Final = _NOTE.size + _CRC.size


class BackupNote:
    """The note of one data directory; what writes belongs to one thread at a time. All times are ms since 1970."""

    def __init__(self, directory: DataDirectory) -> None:
        """Read the note.

        Raises:
            StorageError: The disk failed.
        """
        self._filesystem = directory.filesystem
        self._directory = directory.path
        self._path = directory.backup_note_path
        self._new_path = self._path.with_name(f"{self._path.name}.new")
        self.success_ms = 0
        """Of when the newest good backup is; 0 if none is known."""
        self.failure_ms = 0
        """When a backup failed last; 0 if none did."""
        try:
            self._read()
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be read: {error.strerror}") from error

    def succeeded(self, wall_clock_ms: int, now_ms: int) -> None:
        """Note a good backup of `wall_clock_ms`, durably, unless a newer one is noted.

        What is ahead of `now_ms` is taken for now, and what is noted and ahead of it is replaced: clocks are set, and a
        note of the future would hold an alarm back for as long.

        Raises:
            StorageError: The disk failed.
        """
        wall_clock_ms = min(wall_clock_ms, now_ms)
        if not wall_clock_ms <= self.success_ms <= now_ms:
            self._write(wall_clock_ms, self.failure_ms)

    def failed(self, now_ms: int) -> None:
        """Note that a backup failed, durably.

        Raises:
            StorageError: The disk failed.
        """
        self._write(self.success_ms, now_ms)

    def _write(self, success_ms: int, failure_ms: int) -> None:
        fields = _NOTE.pack(_MAGIC, success_ms, failure_ms)
        try:
            if self._new_path.name in self._filesystem.list_directory(self._directory):
                self._filesystem.unlink(self._new_path)
            file = self._filesystem.create(self._new_path)
            try:
                file.write(0, fields, _CRC.pack(crc32(fields)))
                file.sync()
            finally:
                file.close()
            self._filesystem.rename(self._new_path, self._path)
            self._filesystem.sync_directory(self._directory)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error
        self.success_ms, self.failure_ms = success_ms, failure_ms

    def _read(self) -> None:
        if self._path.name not in self._filesystem.list_directory(self._directory):
            return
        file = self._filesystem.open(self._path)
        try:
            data = file.read(0, _NOTE_BYTES + 1)
        finally:
            file.close()
        if len(data) == _NOTE_BYTES and crc32(data[: _NOTE.size]) == _CRC.unpack_from(data, _NOTE.size)[0]:
            magic, success_ms, failure_ms = _NOTE.unpack_from(data)
            if magic == _MAGIC:
                self.success_ms, self.failure_ms = success_ms, failure_ms
