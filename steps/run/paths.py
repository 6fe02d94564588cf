"""Paths: the project, the folder of the caller, and the problem and data that the caller names."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from steps import PROJECT
from steps.process import lifecycle
from tabular import addresses
from tabular import problem as problems
from tabular.data import own_code
from tabular.defaults import PRESETS
from tabular.errors import UserError, nearest
from tabular.problem import Problem

DEFAULT_PROBLEM = "breast_cancer"
# Read when this module is imported: mlflow.start_run removes the variable.
UNDER_MLFLOW = "MLFLOW_RUN_ID" in os.environ
# The parameters of main that override a key of the problem: the key's path, and the type of its value.
OVERRIDES = {
    "data": ("data.source", str),
    "query": ("data.query", str),
    "target": ("data.target", str),
    "task": ("task", str),
    "preset": ("models", str),
    "trials": ("search.trials", int),
    "timeout": ("timeout", float),
    "seed": ("seed", int),
    "engine_ranks": ("ranks", int),
}


def caller_folder() -> Path:
    """The folder where `mlflow run` was typed: the project's, unless the project is a git clone or another folder.

    The folder is that of the process that called this one. Between the two there may be a bash.
    """
    import psutil

    called_by = lifecycle.calling()
    try:
        return Path(called_by.cwd()) if called_by is not None and UNDER_MLFLOW else Path.cwd()
    except psutil.Error:
        return Path.cwd()


def caller_environment() -> Mapping[str, str]:
    """The environment in which `mlflow run` was typed, to which it has added the store for this process.

    Empty where the system does not tell.
    """
    import psutil

    called_by = lifecycle.calling()
    if called_by is None or not UNDER_MLFLOW:
        return os.environ
    try:
        return called_by.environ()
    except psutil.Error:
        return {}


def effective_problem(arguments: Mapping[str, str]) -> Problem:
    """The problem that a command line describes: a problem file of ours or the caller's, or defaults, with overrides.

    Parameters
    ----------
    arguments
        `problem` (a name in problems/, or a path), `data`, `query`, `target`, `task`, `preset`, `trials`, `timeout`,
        `seed`, `engine_ranks`; empty: not given.

    Raises
    ------
    UserError
        One line that names the parameter or the file and its key.
    """
    overrides = _overrides(arguments)
    named = arguments.get("problem", "")
    if not named and "data.source" in overrides:
        found = _without_file(overrides)
    elif not named and "data.target" in overrides:
        raise UserError("target: -P target=… names a column of the table that -P data=… names; data is missing")
    else:
        found = _with_own_code(problems.read(_problem_file(named or DEFAULT_PROBLEM), overrides), named)
    return _absolute(found, named, arguments.get("data", ""))


def _with_own_code(found: Problem, named: str) -> Problem:
    """The problem with the code of the user's own columns, so that what it asks for is in it, wherever it is read."""
    own = found.data.features
    if own is None or own.code:
        return found
    path = _find(own.file, _problem_file(named or DEFAULT_PROBLEM).parent)
    where = f"data.features: {own.file}"
    if path is None or not path.is_file():
        raise UserError(f"{where}: there is no such file, neither beside the problem nor in {caller_folder()}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: cannot be read ({error})") from None
    read = own.model_copy(update={"file": path.name, "code": own_code.meaning(text, where, own.function)})
    return found.model_copy(update={"data": found.data.model_copy(update={"features": read})})


def set_over(found: Problem, arguments: Mapping[str, str]) -> Problem:
    """The problem of a run, with the overrides of the command line."""
    overrides = _overrides(arguments)
    if not overrides:
        return found
    return _absolute(problems.parse(found.to_yaml(), "command line", overrides), "", found.data.source)


def _overrides(arguments: Mapping[str, str]) -> dict[str, Any]:
    """The overrides that are given, {dotted path in the problem: value}."""
    found = {
        path: _read(name, text, as_) for name, (path, as_) in OVERRIDES.items() if (text := arguments.get(name, ""))
    }
    if "data.source" in found:
        # the problem's other keys are of the table that the problem names, not of this one
        found = {"data.sha256": None, "data.query": None, "data.headers": {}, **found}
    return found


def _without_file(overrides: Mapping[str, Any]) -> Problem:
    source = overrides["data.source"]
    if "data.target" not in overrides:
        raise UserError(f"target: name the column of {source} to predict: -P target=COLUMN")
    return problems.parse("{}", "command line", {"name": _name_of(source), **overrides})


def as_own_yaml(found: Problem) -> str:
    """The shortest YAML of a problem that holds no more than a command line without a file says; else "".

    What is as by default, and what is said of a run rather than of the table (`trials`, `seed` and the like), is left
    to the command line. An address that is not shown whole, since it may hold a secret, is not written down either.
    """
    data = found.data
    name = _name_of(data.source)
    if name != found.name or addresses.shown(data.source) != data.source:
        return ""
    known = yaml.safe_load(found.to_yaml())
    said = {key: _at(known, key) for key, _ in OVERRIDES.values()}
    said |= {"name": name, "data.sha256": data.sha256}
    for preset in PRESETS:
        if problems.parse("{}", "command line", {**said, "models": preset}) == found:
            where = {"source": data.source, "query": data.query, "target": data.target}
            words = {"name": name, "task": found.task, "data": {key: value for key, value in where.items() if value}}
            words |= {} if preset == "default" else {"models": preset}
            return yaml.safe_dump(words, sort_keys=False, allow_unicode=True, width=10**9)
    return ""


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


def _name_of(source: str) -> str:
    """What the problem of a table is called that has no file."""
    return problems.slug(addresses.name_of(source))[:100]


def _problem_file(named: str) -> Path:
    shipped = sorted(path.stem for path in (PROJECT / "problems").glob("*.yaml"))
    if named in shipped:
        return PROJECT / "problems" / f"{named}.yaml"
    path = _find(named)
    if path is not None:
        return path
    hint = nearest(named, shipped)
    raise UserError(f"problem: {named!r} is neither a YAML file nor a problem of ours ({', '.join(shipped)}){hint}")


def _absolute(found: Problem, named: str, given: str) -> Problem:
    """The problem with a data source that means the same file from any folder.

    `named` is the problem's file, or "" where there is none, and `given` the parameter `data`. The two tell where the
    data source was named.
    """
    source = found.data.source
    # a path in a problem file is relative to that file; a path on the command line, to the caller's folder
    beside = [] if given or not named else [_problem_file(named).parent]
    where = "data" if given or not named else f"{_problem_file(named)}: data.source"
    return found.model_copy(update={"data": found.data.model_copy(update={"source": table(source, where, *beside)})})


def table(source: str, where: str, *beside: Path) -> str:
    """The source of a table, such that it means the same from any folder.

    Parameters
    ----------
    source
        A path, a folder, a glob, a URL or `sklearn:NAME`. A path is made absolute, also that of a database's file.
    where
        What named the source; the error message begins with it.
    beside
        Folders in which a relative path is looked for first; then come the caller's folder and the project's.

    Raises
    ------
    UserError
        Where there is no such file.
    """
    source = addresses.without_file_scheme(source)
    scheme, there, path = source.partition(":///")
    if there and scheme.partition("+")[0] in addresses.FILE_DATABASES:
        file, ask, options = path.partition("?")
        found = _find(file, *beside) if file else None
        return source if found is None else f"{scheme}:///{found}{ask}{options}"  # what is not there is said when asked
    if addresses.names_elsewhere(source):
        return source
    base, below = addresses.split_glob(source)
    found = _find(source, *beside) if source else None
    if found is None and below:
        found = _find(base, *beside, below=below)
    if found is None:
        raise UserError(
            f"{where}: there is no file {source!r} (seen from {caller_folder()}); give {addresses.SUPPORTED}"
        )
    return str(found)


def _find(name: str, *beside: Path, below: tuple[str, ...] = ()) -> Path | None:
    """A path in the first folder where it is; with the components of a glob, where something below it matches them."""
    for folder in (*beside, caller_folder(), PROJECT):
        try:
            path = folder / Path(name).expanduser()
            if any(path.glob("/".join(below))) if below else path.exists():
                return path.resolve().joinpath(*below)
        except (OSError, RuntimeError):  # no file can have this name, or it begins with `~` and an unknown user
            return None
    return None


def _read(name: str, text: str, as_: type) -> Any:
    if name == "preset" and text not in PRESETS:
        raise UserError(f"preset: {text!r} is none of {', '.join(PRESETS)}{nearest(text, PRESETS)}")
    if as_ is str:
        return text
    try:
        value = as_(text)
    except ValueError:
        kind = "a whole number" if as_ is int else "a number of seconds"
        raise UserError(f"{name}: {text!r} is not {kind}") from None
    if name in ("trials", "timeout") and not value > 0:
        raise UserError(f"{name}: {text} is not above 0")
    if name == "seed" and not 0 <= value < 2**31:
        raise UserError(f"seed: {text} is not from 0 to {2**31 - 1}")
    return value


def cache() -> Path:
    """The folder that keeps downloads with a known digest, for all runs."""
    import pooch

    return Path(pooch.os_cache("tabular"))
