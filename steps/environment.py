"""What a run ran in: versions, machine, lock."""

import hashlib
import os
import platform
import sys
from importlib.metadata import distributions
from typing import Any

from steps import place


def describe() -> dict[str, Any]:
    """Versions of Python and every installed package, the system and its cores, and the lock's digest."""
    packages = {found.metadata["Name"]: found.version for found in distributions()}
    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "lock": lock_digest(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def lock_digest() -> str:
    """sha256 of requirements.txt."""
    return hashlib.sha256((place.PROJECT / "requirements.txt").read_bytes()).hexdigest()
