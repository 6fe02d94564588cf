"""The name of a run: a name that a person gave stays, a name that MLflow generated is replaced by ours.

`mlflow run --run-name` sets the name after the run's process has begun, so the name has to be read again each time.
"""

import re
from collections.abc import Mapping
from functools import cache

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils import name_utils

from steps.run import kept
from steps.run.tags import OWNER_PID, PARENT

# MLflow cuts the names that it generates off after this many characters.
MOST_GENERATED = 20


def is_ours(client: MlflowClient, tags: Mapping[str, str]) -> bool:
    """Whether an entry point of ours made the run with these tags, and has named it.

    A run below a person's own run is that person's.
    """
    parent = tags.get(PARENT)
    if parent is None:
        return False
    try:
        return OWNER_PID in kept.run(client, parent).data.tags
    except MlflowException:  # the parent was deleted permanently
        return False


def is_generated(name: str) -> bool:
    """Whether a name is empty, or may be one that MLflow generated, such as `bold-ant-417`."""
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
