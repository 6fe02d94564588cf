"""Data sets as inputs of runs, for the data set columns and searches of MLflow; and models as their outputs."""

import json
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import is_local_uri

from steps.run import tracking
from steps.run.step import Step
from tabular.data.datasets import Schema

# The type of a source and its JSON, as MLflow's `get_source` reads them.
Place = tuple[str, Mapping[str, object]]


def log(
    step: Step, *, name: str, digest: str, source: str | Place, context: str, rows: int, schema: Schema | None = None
) -> None:
    """Log the data set that a step reads as an input of the step's run.

    MLflow's own data set classes need the rows in memory and digest a sample of them. Here the digest is of all bytes,
    and is known before they are read.

    Parameters
    ----------
    step
        The running step.
    name
        Name of the data set: the problem's name.
    digest
        sha256 of the data set's bytes in hexadecimal; MLflow keeps the first 32 digits.
    source
        Where the data set came from: the URI of a run's artifact, or a place as `fetching.place` describes it.
    context
        `source`, `training`, `evaluation` or `scoring`.
    rows
        Number of rows.
    schema
        Schema of the columns, where it is known.
    """
    kind, described = _artifact(source) if isinstance(source, str) else source
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
    """Log inputs; try again where a concurrent step has just made the same entry in MLflow's table of data sets.

    MLflow looks the entry up and then inserts it. Where the database refuses the insert, the next look-up finds the
    entry of the other step.
    """
    for attempt in range(5):
        try:
            step.client.log_inputs(step.run_id, datasets=list(entries))
            return
        except MlflowException as error:
            if "IntegrityError" not in str(error) or attempt == 4:
                raise


def log_model(step: Step, model_id: str) -> None:
    """Log a model that a step asks as an input of its run, where the model has an id. The run's tags name it anyway."""
    if not model_id:
        return
    try:
        step.client.log_inputs(step.run_id, models=[LoggedModelInput(model_id)])
    except MlflowException as error:
        if error.error_code != tracking.FORBIDDEN:
            raise
        said = "the model is not shown as an input of this run: its experiment may only be read with this account"
        print(f"  note: {said}", flush=True)


def log_output(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Log a model as the output of a run, where the model has an id."""
    if model_id:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])


def _artifact(uri: str) -> Place:
    return ("local" if is_local_uri(uri) else "mlflow-artifacts"), {"uri": uri}


def _schema(schema: Schema) -> dict[str, list[dict[str, object]]]:
    # MLflow's field holds 65,535 characters, too few for a data set of more than some hundred columns
    columns = [{"type": column.dtype, "name": column.name, "required": True} for column in schema.columns]
    return {"mlflow_colspec": columns[:300]}
