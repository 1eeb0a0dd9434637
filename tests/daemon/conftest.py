from pathlib import Path

import pytest

from raftd.settings import Document
from tests.daemon.process import document_of, write_files


@pytest.fixture
def document() -> Document:
    return document_of()


@pytest.fixture
def settings(tmp_path: Path, document: Document) -> Path:
    """The settings of a cluster of one node, with its certificates beside them."""
    return write_files(tmp_path, document)
