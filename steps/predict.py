"""predict: score a table with a model, write the predictions as another table, and measure the drift of its rows.

Both tables are streams: only a batch of rows is held at once, however many rows there are.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException
from pyarrow import csv
from pyarrow import parquet as pq
from threadpoolctl import threadpool_limits

from steps.model import drift_reference, flavor, origin
from steps.model.drift_reference import Reference
from steps.model.origin import Origin
from steps.model.served import TabularModel
from steps.process import lifecycle
from steps.run import artifacts, fetching, inputs, lookup, paths, terminal, thread_budget, tracking
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, DRIFT_OF_INPUTS, DRIFT_OF_SCORES, TRAIN, digest_tag
from tabular import digests
from tabular.data import datasets, narrowing, tables
from tabular.data.columns import AS_USUAL, Reading
from tabular.data.datasets import ARROW
from tabular.data.sources import Source
from tabular.errors import UserError, listed, nearest
from tabular.evaluation import drift
from tabular.plots import drift_plots, style

WRITERS = {".parquet": pq.ParquetWriter, ".csv": csv.CSVWriter}
LABELS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
TABLE = "shift.json"
BINS = "shift_bins.json"
MOST_HINTS = 5
DRIFT_TAGS = {"input": DRIFT_OF_INPUTS, "score": DRIFT_OF_SCORES}


@dataclass(frozen=True)
class Scored:
    """The result of scoring a table: number of rows, seconds, and the counts from which drift is computed."""

    rows: int
    seconds: float
    inputs: drift.Tally
    scores: drift.Tally

    @property
    def rate(self) -> float:
        """Rows per second, from the first read to the last write."""
        return self.rows / self.seconds


def predict(step: Step) -> None:
    """Check the table, score it, report its drift."""
    source = Source(paths.table(step.arguments["data"], "data"), step.arguments["query"] or None)
    output = _output(step.arguments["output"], source)
    asked = origin.find(step.client, step.arguments["model"])
    model = flavor.load(asked.uri, step.folder, code=asked.code, learnt=asked.learnt)
    explain = _explain(step.arguments["explain"], model)
    fetched = fetching.fetch(step, source)
    wanted = pa.schema([(column.name, ARROW[column.dtype]) for column in drift_reference.columns(model)])
    how = datasets.reading_for(drift_reference.columns(model), _reading(step, asked))
    table = tables.scan_for(fetched.place, wanted, how, progress=True)
    if table.reading.sheet is not None:
        terminal.say(f"  data: read the sheet {table.reading.sheet!r}")
    answer = _answer(model, explain)
    keys = _keys(step.arguments["keys"], table, model, output, {field.name for field in answer})
    against = drift_reference.against(step, asked, model)
    with lifecycle.replacing(output) as beside, threadpool_limits(thread_budget.threads("")):
        schema = pa.schema([*(table.schema.field(name) for name in keys), *answer])
        with WRITERS[output.suffix.lower()](str(beside), schema) as writer:
            scored = score(table, model, keys, schema, writer, against, explain)
        digest = digests.of_file(beside)
    step.log(tags={digest_tag("output"): digest})
    _log(step, asked, source, fetched.digest, scored)
    _tell(step, asked, output, table, scored, against)


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
    features = [column.name for column in drift_reference.columns(model)]
    told = drift_reference.scores(model)
    seen, answers = against["input"].begin(), against["score"].begin()
    rows, started = 0, time.perf_counter()
    with terminal.rows_done(table.rows, f"scoring {table.path.name}") as bar:
        for batch in table.batches([*features, *keys]):
            answer = _asked(model, batch.select(features).to_pandas(), explain)
            writer.write_batch(_joined(batch, keys, answer, schema))
            seen.add(batch)
            answers.add(drift_reference.answered(answer, told))
            rows += len(batch)
            bar.update(len(batch))
    return Scored(rows, time.perf_counter() - started, seen, answers)


def _asked(model: TabularModel, rows: pd.DataFrame, explain: int) -> pd.DataFrame:
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


def _reading(step: Step, asked: Origin) -> Reading:
    """How the table is read: as the problem that the model was trained for says, as usual where the problem is gone."""
    try:
        return datasets.reading(lookup.problem(lookup.run(step.client, asked.train, TRAIN), step.folder))
    except UserError:
        return AS_USUAL


def _keys(given: str, table: tables.Table, model: TabularModel, output: Path, answer: Collection[str]) -> list[str]:
    """The columns to copy: those asked for, else all that are neither read by the model nor in its `answer`."""
    if given:
        keys = [name.strip() for name in given.split(",")]
        for name in keys:
            if name not in table.schema.names:
                hint = nearest(name, table.schema.names) or f"; it has {listed(table.schema.names)}"
                raise UserError(f"keys: {table.path.name} has no column {name!r}{hint}")
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


def _log(step: Step, asked: Origin, source: Source, digest: str, scored: Scored) -> None:
    name = asked.problem or asked.name
    inputs.log(step, name=name, digest=digest, source=fetching.place(source), context="scoring", rows=scored.rows)
    if asked.model_id:
        _show_model(step, asked.model_id)
    step.log(
        metrics={"rows": scored.rows, "predict_seconds": scored.seconds, "rows_per_second": scored.rate},
        tags={**asked.tags, DATA_DIGEST: digest},
    )


def _show_model(step: Step, model_id: str) -> None:
    """Log the model as an input of the run. The run's tags name it in any case."""
    try:
        step.client.log_inputs(step.run_id, models=[LoggedModelInput(model_id)])
    except MlflowException as error:
        if error.error_code != tracking.FORBIDDEN:
            raise
        said = "the model is not shown as an input of this run: its experiment may only be read with this account"
        print(f"  note: {said}", flush=True)


def _tell(
    step: Step, asked: Origin, output: Path, table: tables.Table, scored: Scored, against: Mapping[str, Reference]
) -> None:
    """Report the drift as a table, a picture, metrics and words."""
    found = {"input": against["input"].compare(scored.inputs), "score": against["score"].compare(scored.scores)}
    if not scored.rows:
        found = {what: [] for what in found}
    _log_shifts(step, asked, found)
    said = {what: _said(shifts) or _why_not(against[what], scored) for what, shifts in found.items()}
    step.log(
        metrics={f"psi_{what}_worst": shifts[0].psi for what, shifts in found.items() if shifts},
        tags={DRIFT_TAGS[what]: words[:5000] for what, words in said.items()},
    )
    much = [one for shifts in found.values() for one in shifts if one.verdict == "much"]
    hints = [*_unfit(table), *(f"{one.column!r} has moved much: {one.psi:.3f}, {one.moved()}" for one in much)]
    hints = [f"look at this: {hint}" for hint in hints]
    for hint in hints[:MOST_HINTS]:
        terminal.say(f"  {hint}")
    done = f"{scored.rows:,} rows scored by {asked.name} to {output}, {scored.rate:,.0f} a second"
    lines = [f"of each {what}: {said[what]}" + (f" (against {against[what].of})" * bool(found[what])) for what in said]
    note = [f"{done}.", "Shift (population stability index; some from 0.1, much from 0.25):"]
    step.finish(f"predict {asked.name}", done, "\n\n".join([*note, *(f"- {line}" for line in [*lines, *hints])]))


def _unfit(table: tables.Table) -> list[str]:
    """A line for each column with cells that were read as missing because they are not of its type."""
    return [
        f"{note.unfit:,} cells of {name!r} ({narrowing.shown(note.examples, note.unfit)}) are no {note.meant}s and "
        "were read as missing, as the model's problem says"
        for name, note in table.notes.items()
        if note.unfit
    ]


def _said(shifts: Sequence[drift.Shift]) -> str:
    """What has drifted, in a line: `much: town 0.812; some: amount 0.140`; "" where nothing was compared."""
    if not shifts:
        return ""
    named = {
        level: ", ".join(f"{one.column} {one.psi:.3f}" for one in shifts if one.verdict == level)
        for level in ("much", "some")
    }
    parts = [f"{level}: {names}" for level, names in named.items() if names]
    return "; ".join(parts) or f"none, {shifts[0].column} most: {shifts[0].psi:.3f}"


def _why_not(against: Reference, scored: Scored) -> str:
    return against.of if scored.rows else "not compared: there are no rows"


def _log_shifts(step: Step, asked: Origin, found: Mapping[str, list[drift.Shift]]) -> None:
    rows = [row for what, shifts in found.items() for row in drift.rows_of(shifts, what)]
    if not rows:
        return
    step.table(artifacts.by_column(rows), TABLE)
    step.table(drift.bins_of([one for shifts in found.values() for one in shifts]), BINS)
    title = f"{asked.name}: shift of the rows scored"
    figure = drift_plots.population_stability(found["input"], found["score"], title=title)
    style.save_all({"shift": figure}, step.artifacts / artifacts.PICTURES)
