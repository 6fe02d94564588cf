"""SHA-256 digests of files and of plain values."""

import hashlib
import json
from pathlib import Path
from typing import Any


def of_file(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read in pieces so that its size does not matter.

    Raises
    ------
    OSError
        When the file cannot be read.

    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def of_values(values: Any) -> str:
    """SHA-256 of plain values as JSON, as 64 hexadecimal digits; the order of keys does not matter."""
    return of_text(json.dumps(values, sort_keys=True, default=str))
