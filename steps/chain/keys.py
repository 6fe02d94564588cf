"""A step's key: the digest of all that decides its result, and of nothing else.

Two runs with the same key did the same work. The inputs of a step count by their content, never by the id of the run
that holds them. How a step is run (its share of threads, addresses) does not count.
"""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from mlflow.entities import Run

from steps.pipeline import STEPS, StepSpec
from steps.run import artifacts, environment, lookup, source_digest
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, KEY, MET, MODEL, OUT_OF_MEMORY, OWN_KEY, REASON, digest_tag
from tabular import digests
from tabular import problem as problems
from tabular.problem import Problem
from tabular.sections.models import OF_CHAINS
from tabular.sections.rules import Tracking
from tabular.sections.table import OF_FITS, PLACE

INPUT = "input "
# The part of register's key for the champion it compares with: a verdict holds as long as that champion does.
CHAMPION = "the champion"
# The packages of estimators that are in the lock.
LOCKED = ("sklearn", "lightgbm")


@dataclass(frozen=True)
class Key:
    """The parts of a key, by names that a person understands."""

    parts: Mapping[str, str]

    @property
    def own(self) -> str:
        """The digest of the parts that are known before the step's inputs are."""
        return digests.of_values({name: value for name, value in self.parts.items() if not name.startswith(INPUT)})

    @property
    def whole(self) -> str:
        """The digest of all parts."""
        return digests.of_values(self.parts)

    @property
    def tags(self) -> dict[str, str]:
        """The tags by which a finished run is found for reuse."""
        return {KEY: self.whole, OWN_KEY: self.own}


def of_task(
    row: StepSpec, model: str | None, problem: Problem, source: Mapping[str, str], contents: Mapping[str, str]
) -> Key:
    """The key of a task: a step and, where the step is run for each model, its model.

    Parameters
    ----------
    row
        The step's row of the table of the chain.
    model
        Name of a model of the problem, where the step is run for each model.
    problem
        The effective problem; only what the row says that the step reads counts.
    source
        `source_digest.digests` of the step.
    contents
        The digests of the step's inputs, from `contents` or `content_of_data`; empty where they are not known yet.
    """
    parts = {
        "step": row.name,
        "row": repr(row),
        "lock": environment.lock_digest(),
        "python": platform.python_version(),
        "packages": json.dumps(environment.beside_the_lock()),
        **{f"module {name}": digest for name, digest in source.items()},
        **dict(read_of(problem, row, model)),
        **{f"{INPUT}{name}": digest for name, digest in contents.items()},
    }
    if model is not None:
        parts["model"] = model
        for path in problem.models[model].paths():
            parts |= _estimator(path)
    return Key(parts)


def of_step(step: Step, source: Mapping[str, str]) -> Key | None:
    """The key of a step that has done its work in this process; None where the step has no key.

    Main has no key. Neither has a step whose source was edited while it ran: it is not known what that step really ran.
    """
    row = STEPS.get(step.name)
    if row is None:
        return None
    problem = problems.parse((step.artifacts / artifacts.PROBLEM).read_text(encoding="utf-8"), artifacts.PROBLEM)
    if not source_digest.is_unchanged(source) or any(
        source_digest.of_estimator(p) != own for p, own in step.estimators.items()
    ):
        print(f"  note: the source of {step.name} was edited while it ran: its run will not be used again", flush=True)
        return None
    found: dict[str, str] = {}
    if "data" in row.parameters:
        found |= content_of_data(problem, step.tags[DATA_DIGEST])
    for parameter, read in row.inputs.items():
        found |= contents(row, parameter, lookup.given(step, parameter, read.step))
    if MET in step.tags:
        found |= {CHAMPION: step.tags[MET]}
    return of_task(row, step.arguments.get("model"), problem, source, found)


def content_of_data(problem: Problem, digest: str) -> dict[str, str]:
    """The content of a table, {"data": its sha256}; for a data set of scikit-learn, its name.

    The version of scikit-learn, and with it the data set, is given by the lock.
    """
    source = problem.data.source
    return {"data": source if source.startswith("sklearn:") else digest}


def contents(row: StepSpec, parameter: str, runs: Sequence[Run]) -> dict[str, str]:
    """The digests of what a step reads from the runs that one of its parameters names, by readable names.

    Of a candidate that was left out, later steps read why; where memory was too short, what it needed, and not what
    there was, which is another amount each time.
    """
    read = row.inputs[parameter]
    found: dict[str, str] = {}
    for run in runs:
        model = run.data.tags.get(MODEL)
        source = read.step if model in (None, read.step) else f"{read.step} {model}"
        if lookup.is_left_out(run):
            found[f"failure of {source}"] = digests.of_values(run.data.tags.get(OUT_OF_MEMORY, run.data.tags[REASON]))
        else:
            found |= {f"{part} of {source}": run.data.tags[digest_tag(part)] for part in read.parts}
    if len(runs) > 1:
        found[parameter] = ", ".join(run.data.tags[MODEL] for run in runs)
    return found


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The differences of two keys, in words: `search.trials 10 -> 20`, `module tabular/data/folds.py`, `the lock`."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [_in_words(name, before.get(name), now.get(name)) for name in names]


def _in_words(name: str, before: str | None, now: str | None) -> str:
    if name.startswith(INPUT):
        content = name.removeprefix(INPUT)
        return "the data" if content == "data" else content
    if name.startswith("module "):
        return name if before and now else f"{name} ({'new' if now else 'gone'})"
    if name in ("lock", "row", "packages"):
        words = {"lock": "the lock", "row": "its row in steps/pipeline.py", "packages": "the installed packages"}
        return words[name]
    if name == "data.features.code":
        return "the code of data.features"
    return f"{name} {before} -> {now}"


def read_of(problem: Problem, row: StepSpec, model: str | None) -> Iterator[tuple[str, str]]:
    """The values of the problem that a step reads, as pairs of dotted path and JSON; not where the table is.

    Of the section data as a whole, what a data set is made of, and of a model as a whole, what decides its fits; the
    keys of `OF_FITS` and `OF_CHAINS` are read by their own paths. What the section tracking says by default is no part.
    """
    whole = problem.model_dump(mode="json")
    for where in PLACE:  # the content of the data counts, not its place
        del whole["data"][where]
    beside = {"data": OF_FITS, "models.{model}": OF_CHAINS}
    for path in row.reads:
        for found, value in _values(whole, path.replace("{model}", model or "").split(".")):
            without = beside.get(path, ())
            yield from _leaves(found, {k: v for k, v in value.items() if k not in without} if without else value)
    usual = Tracking().model_dump(mode="json")
    for name in row.tracking:
        if json.dumps(whole["tracking"][name]) != json.dumps(usual[name]):
            yield from _leaves(f"tracking.{name}", whole["tracking"][name])


def _values(value: Any, names: Sequence[str], at: str = "") -> Iterator[tuple[str, Any]]:
    """The values at a path, each with its own path: several where a name is `*`, which stands for each key."""
    if not names:
        yield at, value
        return
    for name in value if names[0] == "*" else names[:1]:
        yield from _values(value[name], names[1:], f"{at}.{name}" if at else name)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, nested in value.items():
            yield from _leaves(f"{path}.{name}", nested)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _estimator(path: str) -> dict[str, str]:
    """The parts of a key for an estimator whose code is neither in the step's source nor in the lock.

    The parts are the digests of its modules, or the versions of its packages.
    """
    top = path.split(".", maxsplit=1)[0]
    if top in LOCKED:
        return {}
    own = source_digest.of_estimator(path)
    if own:
        return {f"module {name}": digest for name, digest in own.items()}
    found = {}
    for name in packages_distributions().get(top, [top]):
        try:
            found[f"package {name}"] = version(name)
        except PackageNotFoundError:
            continue  # the step's import of it fails with a message of its own
    return found
