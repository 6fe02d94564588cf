"""Data sets as inputs of runs: what MLflow's data set columns and searches read."""

import json
from collections.abc import Mapping, Sequence

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import is_local_uri

from steps.run.step import Step
from tabular.data.datasets import Schema


def log(
    step: Step, *, name: str, digest: str, source: str, context: str, rows: int, schema: Schema | None = None
) -> None:
    """Log what a step reads as an input of its run.

    MLflow's own data set classes want the rows in memory and a sample of them to digest; a data set here has a digest
    of all its bytes, known before they are read.

    Parameters
    ----------
    step
        The step under way.
    name
        Of the data set: the problem's.
    digest
        sha256 of the bytes; MLflow keeps the first 32 letters.
    source
        Where it came from: a path, a URL, a run's artifact.
    context
        `source`, `training`, `evaluation` or `scoring`.
    rows
        How many.
    schema
        Of the columns, where it is known.
    """
    kind, described = _source(source)
    profile = {"num_rows": rows, **({"num_elements": rows * len(schema.columns)} if schema else {})}
    entry = Dataset(
        name=name,
        digest=digest[:32],
        source_type=kind,
        source=json.dumps(described),
        schema=json.dumps(_schema(schema)) if schema else None,
        profile=json.dumps(profile),
    )
    log_again(step, [DatasetInput(entry, [InputTag("mlflow.data.context", context)])])


def log_again(step: Step, entries: Sequence[DatasetInput]) -> None:
    """Log inputs, once more where a step beside this one has just made the same entry of MLflow's table of data sets.

    MLflow looks for the entry and then inserts it; what the database refuses is there at the next look.
    """
    for attempt in range(5):
        try:
            step.client.log_inputs(step.run_id, datasets=list(entries))
            return
        except MlflowException as error:
            if "IntegrityError" not in str(error) or attempt == 4:
                raise


def _source(source: str) -> tuple[str, Mapping[str, str]]:
    """The type of a source and its JSON, as MLflow's `get_source` reads them."""
    if source.startswith(("http://", "https://")):
        return "http", {"url": source}
    if source.startswith("sklearn:"):
        return "code", {"tags": {"scikit-learn": source.removeprefix("sklearn:")}}
    return ("local" if is_local_uri(source) else "mlflow-artifacts"), {"uri": source}


def _schema(schema: Schema) -> dict[str, list[dict[str, object]]]:
    # data sets past some hundred columns would not fit MLflow's field of 65,535 letters
    columns = [{"type": column.dtype, "name": column.name, "required": True} for column in schema.columns]
    return {"mlflow_colspec": columns[:300]}
