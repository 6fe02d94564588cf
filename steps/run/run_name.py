"""The name of a run: what a person gave stays, and where MLflow has made one up ours takes its place.

`mlflow run --run-name` sets the name when the run's process has begun already, so that it is to be looked at each time.
"""

import re
from functools import cache

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils import name_utils
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from steps.run.tags import PARENT

# Beyond these letters MLflow cuts off the names that it makes up.
MOST_GENERATED = 20


def is_given(client: MlflowClient, run: Run) -> bool:
    """Whether a person gave a run its name: MLflow did not make it up, and the run is none that a run of ours made."""
    return not is_generated(run.info.run_name or "") and not _is_child(client, run)


def is_generated(name: str) -> bool:
    """Whether a name may be one that MLflow made up, such as `bold-ant-417`, or none at all."""
    if not name or re.fullmatch(_pattern(), name):
        return True
    return len(name) == MOST_GENERATED and any(start.startswith(name) for start in _starts())


def _starts() -> list[str]:
    nouns = [noun.lower() for noun in name_utils._GENERATOR_NOUNS]
    return [f"{predicate.lower()}-{noun}-" for predicate in name_utils._GENERATOR_PREDICATES for noun in nouns]


@cache
def _pattern() -> str:
    words = ["|".join(map(re.escape, one)) for one in (name_utils._GENERATOR_PREDICATES, name_utils._GENERATOR_NOUNS)]
    return rf"(?i:{words[0]})-(?i:{words[1]})-\d{{1,4}}"


def _is_child(client: MlflowClient, run: Run) -> bool:
    """Whether an entry point of ours made the run; one below a run of a person's own is that person's."""
    parent = run.data.tags.get(PARENT)
    if parent is None:
        return False
    try:
        return MLFLOW_PROJECT_ENTRY_POINT in client.get_run(parent).data.tags
    except MlflowException:  # it is gone for good
        return False
