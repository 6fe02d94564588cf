"""The environment of a run: package versions, the machine and the lock file."""

import os
import platform
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from steps import PROJECT
from steps.run import handed
from tabular import digests

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
    return digests.of_file(PROJECT / "requirements.txt")


@cache
def beside_the_lock() -> dict[str, str | None]:
    """Packages that are not installed in the version of the lock, {package: installed version, or None where missing}.

    Empty in an environment that `mlflow run` has built; with `--env-manager local` anything can be installed.
    """
    installed = {canonicalize_name(name): version for name, version in _packages().items()}
    found = {}
    for line in (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not line or line[0] in "# ":
            continue
        wanted = Requirement(line.rstrip(" \\"))
        if wanted.marker is None or wanted.marker.evaluate():
            here = installed.get(canonicalize_name(wanted.name))
            if here is None or not wanted.specifier.contains(here, prereleases=True):
                found[wanted.name] = here
    return found
