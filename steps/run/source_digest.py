"""Source digests of a step: digests of all modules of this repository that the step imports, found statically.

A module is digested by its syntax tree, so that its format, comments and docstrings make no difference.
"""

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from steps import PROJECT
from steps.run import handed
from tabular.digests import of_file

# The modules and packages that cannot change a step's result, and why. No step's key holds them, nor modules that are
# imported through them alone. tests/pipeline/test_machinery.py checks this: it runs every step without any of them.
MACHINERY = {
    "steps.__main__": "begins the process, and imports the step's own module by its name",
    "steps.chain": "what is run again, and in which process; what it makes of a step's parts is the key itself",
    "steps.model.memory_budget": "whether work has memory enough, and how much at once; never what it gives",
    "steps.pipeline": "the table of the chain: a step's own row stands in its key by itself",
    "steps.process": "processes: which is which, beginning and end, forks; what they work at is handed to them",
    "steps.run.artifact_store": "uploads what a step has made, and says why a store refuses",
    "steps.run.cli": "reads parameters; a key is made of what was read",
    "steps.run.cluster": "gives calls to workers of the same versions and source, and again where a worker dies",
    "steps.run.connection": "asks whether a server answers, before any work",
    "steps.run.creations": "looks up what a server has made whose answer was lost",
    "steps.run.disk": "words for a disk that is full or closed",
    "steps.run.engine": "where fits run: here or at a worker, with the same result",
    "steps.run.environment": "the lock, Python and the packages stand in a key by themselves; the rest is the machine",
    "steps.run.git": "asks git which tree this is; no step works on what it says",
    "steps.run.handed": "hands steps what main has found of modules and packages, which stand in a key by themselves",
    "steps.run.kept": "keeps what the store holds, for a chain; who reads it checks its digest",
    "steps.run.memory_room": "how much memory there is",
    "steps.run.part_readers": "where the parts of a table are read; what is made of them is the same",
    "steps.run.paths": "finds the problem and the data; both stand in a key by what they hold",
    "steps.run.retries": "asks a server again whose answer broke off",
    "steps.run.run_owner": "whose a run is",
    "steps.run.shell": "begins and ends the run around a step's work, and says why it failed",
    "steps.run.source_digest": "this module: digests stand in a key by themselves",
    "steps.run.working_tree": "the patch of the tree that runs, for who replays it",
    "steps.run.terminal": "what a person sees while a step runs",
    "steps.run.worker": "performs at a worker what a step has sent it, and says what source and versions are there",
    "steps.run.termination": "marks runs that were killed, which stand for no work",
    "steps.run.thread_budget": "threads do not matter; what the clock has decided is recorded, and repeated by that",
    "steps.run.usage": "what a step takes of the machine, which is no part of its result",
    "tabular.credentials": "keeps secrets out of the patch of the tree; no step works on what it says",
    "tabular.model.memory": "estimates of memory, by which steps.model.memory_budget goes",
    "tabular.data.own_code": "reads the code of the user's own columns, which stands in a key by what it means",
}
# Logged models carry a copy of these files and their digest, so that every byte of them counts.
BY_BYTES = ("steps/model/served.py", "steps/model/reasons.py")
# The environment variable with the file in which main keeps what `_meaning` found, for the steps that main starts.
HANDED = "TABULAR_MODULES"
_Meaning: TypeAlias = tuple[str, list[tuple[int, str, str]]]
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def files(*roots: str, without: Collection[str] = ()) -> list[Path]:
    """The files of this repository that these modules import, directly or indirectly, their own files included.

    Imports inside functions count, and a package's `__init__.py` counts with each of its modules.

    Parameters
    ----------
    roots
        Modules by their full names, such as `steps.train`. Modules outside this repository are passed over.
    without
        Modules and packages that are left out, with what is imported through them alone.

    Returns
    -------
    list of Path
        Sorted by path.
    """
    found: set[Path] = set()
    pending = list(roots)
    seen = set(pending)
    while pending:
        name = pending.pop()
        if _lies_in(name, without):
            continue
        for path in _files_of(name):
            if path not in found:
                found.add(path)
                new = set(_imported(path)) - seen
                seen |= new
                pending += new
    # an HTML page beside a module, with the same name, is part of the module
    pages = [page for path in found if (page := path.with_suffix(".html")).is_file()]
    return sorted([*found, *pages])


def of_step(step: str) -> list[Path]:
    """The files that can change a step's result: all that its process can load except `MACHINERY`."""
    return files(f"steps.{step}", without=MACHINERY)


def digests(step: str) -> dict[str, str]:
    """The digests of all files that can change a step's result, {path in the repository: sha256}."""
    return _digests(of_step(step))


def hand_over(folder: Path) -> None:
    """Keep what this process found of each module's bytes, in a folder of its own, for the processes that it starts.

    To parse the modules takes a third of a second, which is as much as a small step's own work.
    """
    handed.over(HANDED, _meanings(), folder)


def is_unchanged(source: Mapping[str, str]) -> bool:
    """Whether the files that `digests` listed still have the same digests."""
    paths = {name: PROJECT / name for name in source}
    return all(path.is_file() and _digest(name, path) == source[name] for name, path in paths.items())


def of_module(module: str) -> dict[str, str]:
    """As `digests`, for one module and all that it imports; empty where it is not of this repository."""
    return _digests(files(module))


def of_estimator(path: str) -> dict[str, str]:
    """The digests of an estimator's own code, {file: sha256}, where it is not installed from a package index.

    Parameters
    ----------
    path
        An import path, such as `my_estimators.Boost`.

    Returns
    -------
    dict
        For a module of this repository: the digests of its file and of all that it imports here, as in `digests`.
        For a package that is neither here nor among the installed packages, such as an editable installation: the
        digests of its files by their bytes, since its code may read them. Else empty.
    """
    module = path.rpartition(".")[0]
    return of_module(module) or {name: of_file(file) for name, file in _outside(module.partition(".")[0])}


def _lies_in(module: str, modules: Collection[str]) -> bool:
    """Whether a module is one of `modules`, or in a package that is."""
    parts = module.split(".")
    return any(".".join(parts[:depth]) in modules for depth in range(1, len(parts) + 1))


def _digests(paths: list[Path]) -> dict[str, str]:
    names = [path.relative_to(PROJECT).as_posix() for path in paths]
    return {name: _digest(name, path) for name, path in zip(names, paths, strict=True)}


def _digest(name: str, path: Path) -> str:
    if path.suffix != ".py" or name in BY_BYTES:
        return of_file(path)
    return _meaning(path.read_bytes())[0]


def _outside(package: str) -> Iterator[tuple[str, Path]]:
    """The Python files of a package that is neither here nor installed, by names that are the same on every machine."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return  # the step's import of it fails with a message of its own
    if spec is None:
        return
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")]
    origins = [Path(place) for place in spec.submodule_search_locations or [spec.origin or "built-in"]]
    for origin in (place.resolve() for place in origins if place.exists()):
        if not any(origin.is_relative_to(place) for place in installed):
            found = sorted(origin.rglob("*.py")) if origin.is_dir() else [origin]
            yield from ((file.relative_to(origin.parent).as_posix(), file) for file in found)


def _files_of(module: str) -> list[Path]:
    """A module's file and the `__init__.py` of the packages above it; empty where it is not of this repository."""
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
    for level, module, name in _meaning(path.read_bytes())[1]:
        above = package[: len(package) - level + 1] if level else ()
        whole = ".".join([*above, *([module] if module else [])])
        yield whole
        if name:
            yield f"{whole}.{name}"


@cache
def _meanings() -> dict[str, _Meaning]:
    """What was found of modules so far, by the sha256 of their bytes: by main, and by this process."""
    found: dict[str, _Meaning] = handed.received(HANDED) or {}
    return found


def _meaning(source: bytes) -> _Meaning:
    """The digest of a module's syntax tree without docstrings, and its imports as (level, module, name)."""
    digest, known = hashlib.sha256(source).hexdigest(), _meanings()
    if digest not in known:
        known[digest] = _read(source)
    return known[digest]


def _read(source: bytes) -> _Meaning:
    """As `_meaning`. `ast.dump` and `ast.walk` would give the same in three times the time."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # the step's import of it fails with a message of its own
        return hashlib.sha256(source).hexdigest(), []
    words, imports = [], []
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.AST):
            if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
            elif isinstance(node, ast.Import):
                imports += [(0, alias.name, "") for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imports += [(node.level, node.module or "", alias.name) for alias in node.names]
            words.append(type(node).__name__)
            pending += [getattr(node, name, None) for name in node._fields]
        elif isinstance(node, list):
            words.append(f"{len(node)} nodes")
            pending += node
        else:
            words.append(repr(node))
    return hashlib.sha256("\n".join(words).encode()).hexdigest(), imports
