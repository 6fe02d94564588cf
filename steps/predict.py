"""predict: score a table with a model, write the predictions as another table, and measure the drift of its rows.

Both tables are streams: only a few batches of rows are held at once, however many rows there are.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
from mlflow.exceptions import MlflowException
from pyarrow import csv
from pyarrow import parquet as pq

from steps.evaluation import scoring, shift_report
from steps.model import drift_reference, origin, provenance
from steps.model.drift_reference import Reference
from steps.model.origin import Origin
from steps.model.served import TabularModel
from steps.process import lifecycle
from steps.run import fetching, inputs, lookup, paths, terminal
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, TRAIN, digest_tag
from tabular import digests
from tabular.data import datasets, narrowing, tables, truths
from tabular.data.columns import AS_USUAL
from tabular.data.datasets import ARROW
from tabular.data.sources import Source
from tabular.errors import UserError
from tabular.evaluation import drift
from tabular.problem import Problem

WRITERS = {".parquet": pq.ParquetWriter, ".csv": csv.CSVWriter}
LABELS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
MOST_HINTS = 5
SHIFT_PAGE = "docs/predict.md#how-far-the-rows-have-moved"


@dataclass(frozen=True)
class Scored:
    """The result of scoring a table: number of rows, seconds, and the counts from which drift is computed."""

    rows: int
    seconds: float
    tallies: Mapping[str, drift.Tally]  # by `input` and `score`

    @property
    def rate(self) -> float:
        """Rows per second, from the first read to the last write."""
        return self.rows / self.seconds


def predict(step: Step) -> None:
    """Check the table, score it, report its drift."""
    source = Source(paths.table(step.arguments["data"], "data"), step.arguments["query"] or None)
    output = _output(step.arguments["output"], source)
    asked = origin.find(step.client, step.arguments["model"])
    model = provenance.load(step, asked.uri, code=asked.code, learnt=asked.learnt)
    explain = _explain(step.arguments["explain"], model)
    fetched = fetching.fetch(step, source)
    wanted = pa.schema([(column.name, ARROW[column.dtype]) for column in drift_reference.columns(model)])
    problem = _problem(step, asked)
    usual = AS_USUAL if problem is None else datasets.reading(problem)
    how = datasets.reading_for(drift_reference.columns(model), usual)
    table = tables.scan_for(fetched.place, wanted, how, progress=True)
    for line in table.found_out(how):
        terminal.say(f"  data: {line}")
    answer = _answer(model, explain)
    keys = _keys(step.arguments["keys"], table, model, output, {field.name for field in answer})
    against = drift_reference.against(step, asked, model)
    with lifecycle.replacing(output) as beside:
        schema = pa.schema([*(table.schema.field(name) for name in keys), *answer])
        with WRITERS[output.suffix.lower()](str(beside), schema) as writer:
            scored = score(table, model, keys, schema, writer, against, explain)
        digest = digests.of_file(beside)
    step.log(tags={digest_tag("output"): digest})
    _log(step, asked, source, fetched.digest, scored)
    target = _target(table, model, problem)
    drawn = problem is None or problem.tracking.pictures
    _tell(step, asked, output, table, scored, against, target, pictures=drawn)


def score(
    table: tables.Table,
    model: TabularModel,
    keys: Sequence[str],
    schema: pa.Schema,
    writer,
    against: Mapping[str, Reference],
    explain: int = 0,
) -> Scored:
    """Score a table, and write the keys and predictions of each row, a batch of rows at a time.

    Parameters
    ----------
    table
        The table to score.
    model
        The model.
    keys
        Columns of the table that are copied to the output.
    schema
        Arrow schema of the output: the keys, then the predictions.
    writer
        Open Parquet or CSV writer of pyarrow with this schema.
    against
        The references for drift, by `input` and `score`.
    explain
        How many reasons each row gets.

    Returns
    -------
    Scored
        Number of rows, seconds, and the counts for drift.
    """
    tallies, rows, started = scoring.begin(against), 0, time.perf_counter()
    for batch, answer in scoring.answers(table, model, partial(_asked, model, explain), tallies, keys):
        writer.write_batch(_joined(batch, keys, answer, schema))
        rows += len(batch)
    return Scored(rows, time.perf_counter() - started, tallies)


def _asked(model: TabularModel, explain: int, rows: pd.DataFrame) -> pd.DataFrame:
    if not explain:
        return model.predict(None, rows)
    try:
        return model.predict(None, rows, {"explain": explain})
    except MlflowException as error:  # some models are found to have no reasons only when they are asked
        raise UserError(error.message) from None


def _joined(batch: pa.RecordBatch, keys: Sequence[str], answer: pd.DataFrame, schema: pa.Schema) -> pa.RecordBatch:
    found = [pa.array(answer[name].to_numpy(), schema.field(name).type) for name in answer]
    return pa.RecordBatch.from_arrays([*(batch[name] for name in keys), *found], schema=schema)


def _answer(model: TabularModel, explain: int) -> list[pa.Field]:
    """The columns of a model's predictions: the label and the probability of each class, or a number and its ends.

    After them the columns of so many reasons.
    """
    reasons = [
        pa.field(name, pa.float64() if name.endswith("_value") else pa.string())
        for name in (model.reasons.names(explain) if explain else ())
    ]
    classes = model.description["classes"]
    if not classes:
        return [pa.field(name, pa.float64()) for name in ("prediction", "prediction_low", "prediction_high")] + reasons
    return [
        pa.field("label", LABELS[type(classes[0])]),
        *(pa.field(f"probability_{label}", pa.float64()) for label in classes),
        *reasons,
    ]


def _explain(given: str, model: TabularModel) -> int:
    """How many reasons each row gets; 0 where none are asked for."""
    if not given:
        return 0
    if not given.isdecimal():
        raise UserError(f"explain: {given!r} is not a whole number from 0 up; it is how many reasons each row gets")
    if not hasattr(model, "reasons"):
        raise UserError("explain: the model was logged before there were reasons: train it again, or leave explain out")
    try:
        return model.reasons.wanted(int(given))
    except MlflowException as error:
        raise UserError(error.message) from None


def _output(given: str, source: Source) -> Path:
    """The path of the output, relative to the caller's folder; checked before anything is read."""
    if not given:
        raise UserError("output: name the file to write, .parquet or .csv")
    path = (paths.caller_folder() / Path(given).expanduser()).resolve()
    if path.suffix.lower() not in WRITERS:
        raise UserError(f"output: {given!r} must end in {' or '.join(WRITERS)}, which says how it is written")
    if path.is_dir():
        raise UserError(f"output: {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"output: there is no folder {path.parent}; make it, or name another one")
    if source.kind == "path" and path == Path(source.address).resolve():
        raise UserError(f"output: {path} is the table that is read; name another file")
    return path


def _problem(step: Step, asked: Origin) -> Problem | None:
    """The problem that the model was trained for, which says how the table is read; None where it is gone."""
    try:
        return lookup.problem(lookup.run(step.client, asked.train, TRAIN), step.folder)
    except UserError:
        return None


def _keys(given: str, table: tables.Table, model: TabularModel, output: Path, answer: Collection[str]) -> list[str]:
    """The columns to copy: those asked for, else all that are neither read by the model nor in its `answer`."""
    if given:
        keys = [name.strip() for name in given.split(",")]
        truths.check_columns(table, keys, "keys")
        for name in keys:
            if name in answer or keys.count(name) > 1:
                why = "is a column of the answer" if name in answer else "is named twice"
                raise UserError(f"keys: {name!r} {why}: leave it out")
    else:
        read = {column.name for column in drift_reference.columns(model)}
        keys = [name for name in table.schema.names if name not in read and name not in answer]
    nested = [name for name in keys if pa.types.is_nested(table.schema.field(name).type)]
    if nested and output.suffix.lower() == ".csv":
        raise UserError(f"keys: column {nested[0]!r} holds lists, which CSV cannot: name other keys, or write .parquet")
    return keys


def _target(table: tables.Table, model: TabularModel, problem: Problem | None) -> str | None:
    """The column that the model predicts, where the table has it and the model does not read it."""
    read = {column.name for column in drift_reference.columns(model)}
    target = None if problem is None else problem.data.target
    return target if target in table.schema.names and target not in read else None


def _log(step: Step, asked: Origin, source: Source, digest: str, scored: Scored) -> None:
    name = asked.problem or asked.name
    inputs.log(step, name=name, digest=digest, source=fetching.place(source), context="scoring", rows=scored.rows)
    inputs.log_model(step, asked.model_id)
    step.log(
        metrics={"rows": scored.rows, "predict_seconds": scored.seconds, "rows_per_second": scored.rate},
        tags={**asked.tags, DATA_DIGEST: digest},
    )


def _tell(
    step: Step,
    asked: Origin,
    output: Path,
    table: tables.Table,
    scored: Scored,
    against: Mapping[str, Reference],
    target: str | None,
    *,
    pictures: bool,
) -> None:
    """Report the drift as a table, a picture, metrics and words, and that the table holds the truth where it does."""
    found, lines = shift_report.log(step, asked, against, scored.tallies, scored.rows, pictures=pictures)
    much = drift.much(one for shifts in found.values() for one in shifts)
    hints = [*narrowing.unfit(table.notes), *(f"{one.column!r} has moved much: {one.said()}" for one in much)]
    hints = [f"look at this: {hint}" for hint in hints]
    truth = f"the table has the target {target!r}, which is not compared: -e monitor tells how right the model is"
    told = [truth] if target is not None else []
    for hint in [*told, *hints[:MOST_HINTS]]:
        terminal.say(f"  {hint}")
    if much:
        terminal.say(f"  what PSI is: {SHIFT_PAGE}")
    done = f"{scored.rows:,} rows scored by {asked.name} to {output}, {scored.rate:,.0f} a second"
    note = [f"{done}.", shift_report.TITLE]
    summary, said = "; ".join([done, *told]), [*told, *lines, *hints]
    step.finish(f"predict {asked.name}", summary, "\n\n".join([*note, *(f"- {line}" for line in said)]))
