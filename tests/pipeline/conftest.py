"""A place for chains that are watched from outside."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.live import Place


@pytest.fixture
def place():
    """A place whose path is short, as that of a person's temporary folder is."""
    folder = Path(tempfile.mkdtemp(prefix="ending-"))
    yield Place(folder)
    shutil.rmtree(folder, ignore_errors=True)
