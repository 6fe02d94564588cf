"""The environment of a run: package versions, the machine and the lock file."""

import os
import platform
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from steps import PROJECT
from steps.run import handed
from tabular import digests

LOCK = "requirements.txt"
# What a line of a lock says of who needs its package, as uv and pip-compile write it.
NEEDED_BY = re.compile(r"^ +# (?:via )? *(?!via$)([A-Za-z0-9][\w.-]*)(?:\[.*\])?$", re.MULTILINE)
# The environment variable with the file in which main keeps the packages that it found, for the steps that it starts.
HANDED = "TABULAR_PACKAGES"


def hand_over(folder: Path) -> None:
    """Keep the packages of this environment in a folder, for the processes of it that this one starts."""
    handed.over(HANDED, {"prefix": sys.prefix, "packages": _packages()}, folder)


def describe() -> dict[str, Any]:
    """Versions of Python and every installed package, the system and its cores, and the lock's digest."""
    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "lock": lock_digest(),
        "packages": _packages(),
    }


@cache
def _packages() -> dict[str, str]:
    """The version of every installed package, by name; read once a chain, since it takes a fifth of a second."""
    mains = handed.received(HANDED)
    if mains is not None and mains["prefix"] == sys.prefix:
        found: dict[str, str] = mains["packages"]
        return found
    packages: dict[str, str] = {}
    for distribution in distributions():
        metadata = distribution.metadata  # parsed at each access
        if metadata["Name"]:  # a damaged installation may have none
            packages.setdefault(metadata["Name"], metadata["Version"])  # the first on the path is what is imported
    return dict(sorted(packages.items(), key=lambda item: item[0].lower()))


def lock_digest() -> str:
    """sha256 of requirements.txt."""
    return digests.of_file(PROJECT / LOCK)


@dataclass(frozen=True)
class Locked:
    """A line of a lock: a package in one version, for the systems and Pythons of its marker.

    Attributes
    ----------
    name
        The package's canonical name.
    wanted
        The version, and the marker where there is one.
    line
        The line as it stands in the lock, with its hashes and without comments.
    needed_by
        Canonical names of the packages that need it; empty where none but the lock's own input does.

    """

    name: str
    wanted: Requirement
    line: str
    needed_by: tuple[str, ...]

    @property
    def is_for_here(self) -> bool:
        """Whether it is for this system and Python."""
        return self.wanted.marker is None or self.wanted.marker.evaluate()

    def allows(self, version: str) -> bool:
        """Whether a version is the lock's; 2.13.0+cpu is one build of 2.13.0."""
        return self.wanted.specifier.contains(version, prereleases=True)


@cache
def lock(file: str = LOCK) -> tuple[Locked, ...]:
    """The lines of a lock of this tree."""
    found = []
    for entry in re.split(r"^(?=[A-Za-z0-9])", (PROJECT / file).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        first, *more = entry.splitlines()
        wanted = Requirement(first.rstrip(" \\"))
        line = "\n".join([first, *(one for one in more if one.lstrip().startswith("--hash="))])
        needed_by = tuple(canonicalize_name(name) for name in NEEDED_BY.findall(entry))
        found.append(Locked(canonicalize_name(wanted.name), wanted, line, needed_by))
    return tuple(found)


def locks() -> list[str]:
    """The locks of what a step may import: that of all steps, then those of the extras."""
    extras = sorted(path.name for path in PROJECT.glob("requirements-*.txt"))
    return [LOCK, *(name for name in extras if name != "requirements-dev.txt")]


def installed() -> dict[str, str]:
    """The version of every installed package, by its canonical name."""
    return {canonicalize_name(name): version for name, version in _packages().items()}


@cache
def beside_the_lock() -> dict[str, str | None]:
    """Packages that are not installed in the version of the lock, {package: installed version, or None where missing}.

    Empty in an environment that `mlflow run` has built; with `--env-manager local` anything can be installed.
    """
    here = installed()
    return {
        one.wanted.name: here.get(one.name)
        for one in lock()
        if one.is_for_here and not (one.name in here and one.allows(here[one.name]))
    }
