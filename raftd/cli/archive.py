"""A compressed archive, put together in memory: for a handful of files that are sent to somebody."""

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import click


def pack(directory: str, files: Mapping[str, bytes], seconds: int) -> bytes:
    """Make a tar.gz of `files`, by name, below `directory`; the same files at the same time give the same bytes.

    Args:
        directory: The first part of each name.
        files: What is in it.
        seconds: Since the epoch: the time that all of them bear.
    """
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=seconds) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(files):
            info = tarfile.TarInfo(f"{directory}/{name}")
            info.size, info.mtime, info.mode = len(files[name]), seconds, 0o600
            archive.addfile(info, io.BytesIO(files[name]))
    return packed.getvalue()


def write_new(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, and that must not be there yet.

    Raises:
        click.ClickException: It is, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor has no path
            stream.write(data)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
