"""The digest of a file: what tells its content from any other's."""

import hashlib
from pathlib import Path


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces so that its size does not matter.

    Raises
    ------
    OSError
        When the file cannot be read.

    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
