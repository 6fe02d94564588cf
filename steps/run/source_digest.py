"""The source that a step can run: the static closure of its imports within this repository."""

import ast
import importlib.util
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from steps import PROJECT
from tabular.digests import of_file

# Every step comes in by this door, which imports the step's own module by its name.
DOOR = "steps.__main__"
# The table of the chain: of it a step depends on its own row alone, which stands in its key by itself.
TABLE = "steps.pipeline"


def files(*roots: str) -> list[Path]:
    """The files of this repository that these modules import, directly or through each other, themselves included.

    Imports inside functions count, and a package's `__init__.py` with each of its modules.

    Parameters
    ----------
    roots
        Modules by their full names, such as `steps.train`. Those that are not of this repository are passed over.

    Returns
    -------
    list of Path
        In order of their paths.
    """
    found: set[Path] = set()
    pending = list(roots)
    seen = set(pending)
    while pending:
        name = pending.pop()
        for path in _files_of(name):
            if path not in found:
                found.add(path)
                new = set(_imported(path)) - seen
                seen |= new
                pending += new
    # what lies beside a module under its name is part of it
    pages = [page for path in found if (page := path.with_suffix(".html")).is_file()]
    return sorted([*found, *pages])


def of_step(step: str) -> list[Path]:
    """The files that a step's process can load, without the table of the chain."""
    table = set(_files_of(TABLE)) - set(_files_of("steps"))
    return [path for path in files(DOOR, f"steps.{step}") if path not in table]


def digests(step: str) -> dict[str, str]:
    """Module: sha256 of its file, of all that a step's process can load."""
    return _digests(of_step(step))


def is_unchanged(source: Mapping[str, str]) -> bool:
    """Whether the files of `digests` are what they were."""
    paths = {name: PROJECT / name for name in source}
    return all(path.is_file() and of_file(path) == source[name] for name, path in paths.items())


def of_module(module: str) -> dict[str, str]:
    """As `digests`, of one module and what it imports; empty where it is not of this repository."""
    return _digests(files(module))


def of_estimator(path: str) -> dict[str, str]:
    """Module: sha256 of its file, of an estimator's own code, where that is not installed from a package index.

    Parameters
    ----------
    path
        An import path, such as `my_estimators.Boost`.

    Returns
    -------
    dict
        What it imports of this repository; or the files of its package, where these lie neither here nor among the
        installed packages, as those of an editable installation; else nothing.
    """
    module = path.rpartition(".")[0]
    return of_module(module) or {name: of_file(file) for name, file in _outside(module.partition(".")[0])}


def _digests(paths: list[Path]) -> dict[str, str]:
    return {str(path.relative_to(PROJECT)): of_file(path) for path in paths}


def _outside(package: str) -> Iterator[tuple[str, Path]]:
    """The Python files of a package that is neither of this repository nor installed, by names without a machine."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return  # its import fails, and says so
    if spec is None:
        return
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")]
    origins = [Path(place) for place in spec.submodule_search_locations or [spec.origin or "built-in"]]
    for origin in (place.resolve() for place in origins if place.exists()):
        if not any(origin.is_relative_to(place) for place in installed):
            found = sorted(origin.rglob("*.py")) if origin.is_dir() else [origin]
            yield from ((file.relative_to(origin.parent).as_posix(), file) for file in found)


def _files_of(module: str) -> list[Path]:
    """A module's file and the `__init__.py` of the packages above it; none where it is not of this repository."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return []
    place_of = PROJECT.joinpath(*parts)
    own = next((path for path in (place_of.with_suffix(".py"), place_of / "__init__.py") if path.is_file()), None)
    if own is None and not place_of.is_dir():
        return []
    above = [PROJECT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
    return [path for path in [*above, own] if path is not None and path.is_file()]


def _imported(path: Path) -> Iterator[str]:
    """The full names that a file imports; `from a import b` gives both `a` and `a.b`, which may be a module."""
    package = path.relative_to(PROJECT).parent.parts
    for level, module, name in _statements(path.read_bytes()):
        above = package[: len(package) - level + 1] if level else ()
        whole = ".".join([*above, *([module] if module else [])])
        yield whole
        if name:
            yield f"{whole}.{name}"


@cache  # the closures of the steps share most of their files
def _statements(source: bytes) -> list[tuple[int, str, str]]:
    """The level, module and name of each import of a source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.level, node.module or "", alias.name) for alias in node.names]
    return found
