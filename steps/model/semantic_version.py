"""The semantic version of a registered model: in what it differs from the one before, for those who ask it.

MAJOR.MINOR.PATCH. MAJOR is one more where the columns that it reads, their types, the target or its classes changed;
MINOR where it learnt from another table, by other code, packages or another problem; PATCH where only the seed differs,
or for how long was searched, or what cannot be told to be another thing. The first is 1.0.0.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from steps.model import registry
from steps.run import artifacts, lookup
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, INTERFACE_DIGEST, MAKING_DIGEST, SEMANTIC_VERSION
from tabular import digests
from tabular.errors import UserError
from tabular.problem import Problem
from tabular.sections.table import PLACE

FIRST = "1.0.0"
# What of a problem says nothing of what its models learn: names and words, what is done with the model afterwards, what
# is tracked, the seed, and how long is searched (seconds, trials). Where the table lies is no matter: its digest is.
_ASIDE: Mapping[str, Any] = {
    **dict.fromkeys(("name", "description", "seed", "timeout", "gate", "monitor", "registry"), True),
    **dict.fromkeys(("tracking", "tags"), True),
    "data": {*PLACE},
    "search": {"timeout", "trials"},
}
# The parts of a step's key (`steps.chain.keys`) that are code.
_OF_CODE = ("module ", "lock", "python", "package")


def tags(step: Step, problem: Problem, source: Run, judged: Run) -> dict[str, str]:
    """The tags of a version that is about to be registered.

    Parameters
    ----------
    step
        The running step.
    problem
        The problem.
    source, judged
        The run of etl, and that of the model that was judged, whether or not it has been fitted on all rows since.
    """
    schema = lookup.schema(source, step.folder)
    code = [_code(run, step.folder) for run in (source, judged)]
    now = {
        INTERFACE_DIGEST: digests.of_values(
            [[[one.name, one.dtype] for one in schema.columns], schema.target, schema.classes]
        ),
        MAKING_DIGEST: digests.of_values([learnt_by(problem), source.data.tags[DATA_DIGEST], code]),
    }
    earlier = registry.versions(step.client, problem.registry.name)
    before = next((one.tags for one in reversed(earlier) if SEMANTIC_VERSION in one.tags), {})
    return {**now, SEMANTIC_VERSION: following(before, now)}


def learnt_by(problem: Problem) -> dict[str, Any]:
    """What of a problem says what its models learn."""
    return problem.model_dump(mode="json", exclude=dict(_ASIDE))


def _code(run: Run, folder: Path) -> dict[str, str]:
    """What of a run's key is code: the modules that it could import, the lock, Python, packages beside the lock.

    A run whose source was edited meanwhile has no key: its code is that of no other run.
    """
    try:
        parts = artifacts.content(run, artifacts.KEY_PARTS, folder)
    except UserError:
        return {"run": run.info.run_id}
    return {name: part for name, part in parts.items() if name.startswith(_OF_CODE)}


def following(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The semantic version after another one, by the tags of both; `before` is empty for the first."""
    if SEMANTIC_VERSION not in before:
        return FIRST
    major, minor, patch = map(int, before[SEMANTIC_VERSION].split("."))
    if before.get(INTERFACE_DIGEST) != now[INTERFACE_DIGEST]:
        return f"{major + 1}.0.0"
    if before.get(MAKING_DIGEST) != now[MAKING_DIGEST]:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"
