"""A step's key: the digest of all that decides its result, and of nothing else.

Two runs of one key did the same work. What a step works on counts by its content, never by the id of the run that holds
it; how a step is run (its share of threads, addresses) counts not at all.
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
from steps.run.tags import DATA_DIGEST, KEY, MET, MODEL, OWN_KEY, digest_tag
from tabular import digests
from tabular import problem as problems
from tabular.problem import Problem

INPUT = "input "
# Of register, the champion that it meets: a verdict stands as long as that one does.
CHAMPION = "the champion"
# What estimators come from that the lock holds.
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
        """What a run that has done the work is found by."""
        return {KEY: self.whole, OWN_KEY: self.own}


def of_task(
    row: StepSpec, model: str | None, problem: Problem, source: Mapping[str, str], contents: Mapping[str, str]
) -> Key:
    """The key of a step.

    Parameters
    ----------
    row
        Of the table of the chain.
    model
        Of the problem, where the step is about one.
    problem
        The effective one; of it counts what the row says that the step reads.
    source
        `closure.digests` of the step.
    contents
        Of the step's inputs, from `contents` or `content_of_data`; empty where they are not known yet.
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
        parts |= {"model": model, **_estimator(problem.models[model].estimator)}
    return Key(parts)


def of_step(step: Step, source: Mapping[str, str]) -> Key | None:
    """The key of a step that has done its work in this process; None where it has none.

    That is main, and a step whose source was edited while it ran: what it really ran is not known then.
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
    tags = step.client.get_run(step.run_id).data.tags
    found: dict[str, str] = {}
    if "data" in row.parameters:
        found |= content_of_data(problem, tags[DATA_DIGEST])
    for parameter, read in row.inputs.items():
        ids = [run_id for run_id in step.arguments[parameter].split(",") if run_id]
        found |= contents(row, parameter, [lookup.run(step.client, run_id, parameter, read.step) for run_id in ids])
    if MET in tags:
        found |= {CHAMPION: tags[MET]}
    return of_task(row, step.arguments.get("model"), problem, source, found)


def content_of_data(problem: Problem, digest: str) -> dict[str, str]:
    """The content of a table: its bytes; a data set of scikit-learn is one of the lock's version."""
    source = problem.data.source
    return {"data": source if source.startswith("sklearn:") else digest}


def contents(row: StepSpec, parameter: str, runs: Sequence[Run]) -> dict[str, str]:
    """The contents of what a step reads of these runs, the values of one of its parameters."""
    read = row.inputs[parameter]
    found: dict[str, str] = {}
    for run in runs:
        model = run.data.tags.get(MODEL)
        source = f"{read.step} {model}" if model else read.step
        found |= {f"{part} of {source}": run.data.tags[digest_tag(part)] for part in read.parts}
    if len(runs) > 1:
        found[parameter] = ", ".join(run.data.tags[MODEL] for run in runs)
    return found


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """In what two keys differ, in words: `search.trials 10 -> 20`, `module tabular/data/folds.py`, `the lock`."""
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
    return f"{name} {before} -> {now}"


def read_of(problem: Problem, row: StepSpec, model: str | None) -> Iterator[tuple[str, str]]:
    """The leaves of the problem that a step reads, by their dotted paths; where its table lies is none of them."""
    whole = problem.model_dump(mode="json")
    for where in ("source", "sha256"):  # of the data, its content counts
        del whole["data"][where]
    for path in row.reads:
        names = path.replace("{model}", model or "").split(".")
        value = whole
        for name in names:
            value = value[name]
        yield from _leaves(".".join(names), value)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, nested in value.items():
            yield from _leaves(f"{path}.{name}", nested)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _estimator(path: str) -> dict[str, str]:
    """Where an estimator's code is neither in the step's own source nor in the lock: its modules, or its version."""
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
            continue  # its import fails, and says so
    return found
