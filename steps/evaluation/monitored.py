"""The rows that monitor looks at: what a model answers to them, and their truth; and what the holdout promised.

Columns that the model reads are a stream. In memory for all rows at once are the predictions, the truth, and the
columns by which rows are cut into slices, grouped and weighted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException

from steps.evaluation import scoring
from steps.model import dataset, drift_reference, flavor, origin, provenance
from steps.model.drift_reference import Reference
from steps.model.origin import Origin
from steps.model.served import TabularModel
from steps.run import artifacts, fetching, inputs, lookup, paths, terminal
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, DATASET, EVALUATION, MODEL_DIGEST, SCORED_BY, TRAIN, digest_tag
from tabular.data import datasets, duplicates, narrowing, size, splits, tables, truths
from tabular.data.columns import Reading
from tabular.data.datasets import ARROW, SPLIT_KEY, Schema
from tabular.data.sources import Source
from tabular.data.tables import Table
from tabular.errors import UserError, first_line, listed
from tabular.evaluation import slices
from tabular.evaluation.drift import Tally
from tabular.metrics.metric import Predictions
from tabular.problem import Problem


@dataclass(frozen=True)
class Subject:
    """The model that is looked at: where it comes from, the problem that it was trained for, and its data set."""

    origin: Origin
    model: TabularModel
    problem: Problem
    schema: Schema

    @property
    def answer(self) -> list[str]:
        """The columns of its answer that are its predictions: the probability of each class, or a number's three."""
        classes = self.schema.classes
        numbers = ["prediction", "prediction_low", "prediction_high"]
        return [f"probability_{label}" for label in classes] if classes else numbers

    def predictions(self, y: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> Predictions:
        """Predictions beside the truth, as `evaluate` makes them."""
        threshold = flavor.threshold(self.model)
        return dataset.predictions_of(self.schema, y, outputs, threshold=threshold, weights=weights)

    def is_large(self, rows: int) -> bool:
        """Whether so many rows with the columns of the model are a large table, whose intervals are of a sample."""
        return size.is_large(rows, len(self.schema.columns))

    @property
    def passing(self) -> list[str]:
        """The columns that move as time does: dates, and those by which the data set was split in time."""
        dates = [column.name for column in self.schema.columns if column.dtype == "datetime"]
        return [*dates, *(splits.columns(self.problem.split) if self.schema.split_by == "time" else [])]


@dataclass(frozen=True)
class Monitored:
    """Rows whose truth is known.

    Attributes
    ----------
    predictions
        Their predictions beside their truth.
    frame
        (n, any) the columns by which they are cut into slices.
    groups
        (n,) the group of each row; None where rows are independent.
    tallies
        What was counted of all rows of the table for their shift, by `input` and `score`.
    of_table
        How many rows the table has.
    unknown
        How many of them have a truth that is no class of the model, and some of these truths.
    notes
        What has to be said of the rows.
    """

    predictions: Predictions
    frame: pd.DataFrame
    groups: np.ndarray | None
    tallies: Mapping[str, Tally]
    of_table: int
    unknown: tuple[int, list[str]]
    notes: list[str]


@dataclass(frozen=True)
class Promise:
    """What a model predicted for the holdout of its evaluation; None, and the reason, where that cannot be read."""

    of: str
    predictions: Predictions | None = None
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class _Table:
    """A table as it was given: where it lies, its rows, and the row of `held` that each of its rows belongs to."""

    rows: Table  # with the model's columns, or with its answer
    beside: Table  # with the columns that the problem names
    held: Table | None = None
    place: np.ndarray | None = None
    outputs: np.ndarray | None = None  # the predictions, where it is an output of predict
    notes: list[str] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Whether it has a column, or the table of its truth."""
        return name in self.beside.schema.names or (self.held is not None and name in self.held.schema.names)

    def frame(self, names: Sequence[str]) -> pd.DataFrame:
        """(rows, names) some columns; those that its own table lacks are of the table of its truth."""
        own = [name for name in names if name in self.beside.schema.names]
        parts = [truths.frame(self.beside, own)] if own else []
        others = [name for name in names if name not in own]
        if others and self.held is not None and self.place is not None:
            found = truths.frame(self.held, others)
            parts.append(found.reindex(np.where(self.place < 0, len(found), self.place)).reset_index(drop=True))
        return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(self.rows.rows))


def subject(step: Step) -> Subject:
    """The model that the parameter `model` names, and the problem that it was trained for.

    Raises
    ------
    UserError
        Where the model, the run of etl or the problem can no longer be read, or the parameter `problem` is about
        another target.
    """
    asked = origin.find(step.client, step.arguments["model"])
    model = provenance.load(step, asked.uri, code=asked.code, learnt=asked.learnt)
    schema = lookup.schema(dataset.source(step, asked.dataset), step.folder)
    problem = _problem(step, asked, schema)
    return Subject(asked, model, problem.model_copy(update={"task": schema.task}), schema)


def _problem(step: Step, asked: Origin, schema: Schema) -> Problem:
    """The problem that a model was trained for, with the section monitor of the one that is given."""
    if not step.arguments["problem"]:
        return lookup.problem(lookup.run(step.client, asked.train, TRAIN), step.folder)
    given = paths.effective_problem({"problem": step.arguments["problem"]})
    if given.data.target != schema.target or (given.task or schema.task) != schema.task:
        raise UserError(
            f"problem: it predicts {given.data.target!r}, and the model {schema.target!r} ({schema.task}): give one "
            "that says how this model is monitored"
        )
    try:
        own = lookup.problem(lookup.run(step.client, asked.train, TRAIN), step.folder)
    except UserError:
        return given  # the run is gone
    return own.model_copy(update={"monitor": given.monitor})


def references(step: Step, asked: Subject) -> dict[str, Reference]:
    """The references for the shift of the rows, by `input` and `score`."""
    found = drift_reference.against(step, asked.origin, asked.model)
    if step.arguments["truth"]:
        found["input"] = Reference("not compared: the run of predict has compared its rows")
    return found


# --- the rows ---------------------------------------------------------------------------------------------------------


def read(step: Step, asked: Subject, against: Mapping[str, Reference]) -> Monitored:
    """Read the table that the parameters name, have the model predict its rows, and find their truth.

    Raises
    ------
    UserError
        Where a column that is needed is lacking, or no row has a truth.
    """
    table = _with_truth_elsewhere(step, asked) if step.arguments["truth"] else _with_truth(step, asked)
    y, strange = truths.targets_of(table.held or table.beside, asked.problem, asked.schema.classes)
    y = y if table.place is None else _taken(y, table.place)
    repeated = _repeated(table, asked)
    counts = (y >= 0 if asked.schema.classes else ~np.isnan(y)) & ~repeated
    if not counts.any():
        raise UserError(_no_truth(table, asked, strange))
    outputs, tallies = (
        _scored(table.rows, asked, against) if table.outputs is None else _told(table.outputs, asked, against)
    )
    weights = _weights(table, asked, counts)
    columns = [name for name in asked.problem.evaluation.slices if table.has(name)]
    return Monitored(
        predictions=asked.predictions(y[counts], outputs[counts], weights),
        frame=table.frame(columns)[counts].reset_index(drop=True),
        groups=_groups(table, asked, counts),
        tallies=tallies,
        of_table=table.rows.rows,
        unknown=(int((y == -2).sum()), strange) if asked.schema.classes else (0, []),
        notes=[*table.notes, *_left_out(y, repeated, asked), *_uncut(asked, columns), *_sampled(table, asked, counts)],
    )


def _fetched(step: Step, parameter: str, query: str = "") -> tuple[Source, fetching.Fetched]:
    source = Source(paths.table(step.arguments[parameter], parameter), query or None)
    return source, fetching.fetch(step, source)


def _say_found_out(parameter: str, table: Table, how: Reading) -> None:
    for line in table.found_out(how):
        terminal.say(f"  {parameter}: {line}")


def _log(step: Step, asked: Subject, source: Source, digest: str, rows: int) -> None:
    name = asked.origin.problem or asked.origin.name
    inputs.log(step, name=name, digest=digest, source=fetching.place(source), context="monitoring", rows=rows)


def _beside(asked: Subject) -> list[str]:
    """The columns that the problem names beside the target: weights, groups, slices."""
    problem = asked.problem
    names = [*filter(None, [asked.schema.weight]), *problem.evaluation.slices]
    return [*names, *(splits.columns(problem.split) if asked.schema.split_by == "group" else [])]


def _with_truth(step: Step, asked: Subject) -> _Table:
    """A table whose rows have their truth, and are yet to be scored."""
    if step.arguments["keys"]:
        raise UserError("keys: they find the truth of rows in another table: name that one, truth=TABLE, or no keys")
    source, fetched = _fetched(step, "data", step.arguments["query"])
    columns = drift_reference.columns(asked.model)
    wanted = pa.schema([(column.name, ARROW[column.dtype]) for column in columns])
    how = datasets.reading_for(columns, datasets.reading(asked.problem))
    rows = tables.scan_for(fetched.place, wanted, how, progress=True)
    _say_found_out("data", rows, how)
    target = asked.schema.target
    if target not in rows.schema.names:
        raise UserError(
            f"data: {rows.path.name} has no column {target!r}, the truth: add it; or give the output of an earlier "
            "predict as data, a table with the truth as truth, and the columns that both have as keys"
        )
    beside = truths.scan(fetched.place, asked.problem, [target, *_beside(asked)], rows.reading)
    _log(step, asked, source, fetched.digest, rows.rows)
    step.log(tags={DATA_DIGEST: fetched.digest})
    return _Table(rows, beside, notes=narrowing.unfit(rows.notes))


def _with_truth_elsewhere(step: Step, asked: Subject) -> _Table:
    """An output of predict, whose truth lies in another table."""
    keys = [name.strip() for name in step.arguments["keys"].split(",") if name.strip()]
    if not keys:
        raise UserError("keys: name the columns by which a row of data is found in truth, separated by commas")
    source, fetched = _fetched(step, "data", step.arguments["query"])
    wanted = pa.schema([(name, pa.float64()) for name in asked.answer])
    header = truths.with_header(datasets.reading(asked.problem))
    rows = tables.scan_for(fetched.place, wanted, header, progress=True)
    _say_found_out("data", rows, header)
    truths.check_columns(rows, keys, "keys")
    elsewhere, of_truth = _fetched(step, "truth")
    target = asked.schema.target
    held = truths.scan(of_truth.place, asked.problem, {target, *_beside(asked)} - {*keys})
    _say_found_out("truth", held, header)
    truths.check_columns(held, [target], "truth")
    truths.check_columns(held, keys, "keys")
    place = truths.matched(rows, held, keys)
    named = ({*_beside(asked)} - {*keys}) & {*rows.schema.names}
    beside = truths.scan(fetched.place, asked.problem, named, rows.reading) if named else rows
    _log(step, asked, source, fetched.digest, rows.rows)
    _log(step, asked, elsewhere, of_truth.digest, held.rows)
    step.log(tags={DATA_DIGEST: fetched.digest})
    outputs = np.column_stack([truths.frame(rows, asked.answer)[name].to_numpy() for name in asked.answer])
    return _Table(rows, beside, held, place, outputs, _made_by(step, asked, fetched.digest))


def _made_by(step: Step, asked: Subject, digest: str) -> list[str]:
    """Check that an output of predict is of this model; a note where no run says whose it is.

    Raises
    ------
    UserError
        It is of another model.
    """
    condition = f"tags.`{digest_tag('output')}` = '{digest}'"
    runs = step.client.search_runs(lookup.experiments(step.client), condition, max_results=100)
    if any(run.data.tags.get(MODEL_DIGEST) == asked.origin.learnt for run in runs):
        return []
    if runs:
        by = runs[0].data.tags.get(SCORED_BY)
        raise UserError(
            f"model: {asked.origin.name} did not write these predictions, {by} did (run {runs[0].info.run_id}): name "
            "that one"
        )
    return ["no run of predict is there that wrote these predictions as they are: they are taken as this model's"]


def _scored(table: Table, asked: Subject, against: Mapping[str, Reference]) -> tuple[np.ndarray, dict[str, Tally]]:
    """What the model predicts for all rows, and what is counted of them for their shift."""
    tallies = scoring.begin(against)
    scored = scoring.answers(table, asked.model, partial(asked.model.predict, None), tallies)
    return np.concatenate([answer[asked.answer].to_numpy() for _, answer in scored]), tallies


def _told(outputs: np.ndarray, asked: Subject, against: Mapping[str, Reference]) -> tuple[np.ndarray, dict[str, Tally]]:
    """Predictions that were made before, and what is counted of them for their shift."""
    scores = against["score"].begin()
    answer = pd.DataFrame(outputs, columns=asked.answer)
    scores.add(drift_reference.answered(answer, drift_reference.scores(asked.model)))
    return outputs, {"input": Tally({}), "score": scores}


def _taken(y: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(n,) the target of each row by its place; -1 or NaN for a row without one."""
    missing = -1 if y.dtype.kind == "i" else np.nan
    return np.append(y, missing)[place]  # the place of a row without one, -1, is that of the last


def _repeated(table: _Table, asked: Subject) -> np.ndarray:
    """(n,) bool: rows that repeat another one, where the problem leaves these out of the data set as well."""
    if asked.problem.data.duplicates == "drop" and table.outputs is None:
        return duplicates.repeated(table.beside)
    return np.zeros(table.rows.rows, dtype=bool)


def _no_truth(table: _Table, asked: Subject, strange: Sequence[str]) -> str:
    name, of = asked.schema.target, (table.held or table.beside).path.name
    if table.place is not None and (table.place < 0).all():
        return f"keys: no row of {table.rows.path.name} has the keys of a row of {of}: name the columns that both have"
    if strange:
        known = listed([str(label) for label in asked.schema.classes])
        return f"data: {name!r} of {of} holds {listed(strange)}, and the model tells apart {known}: mend the column"
    return f"data: {name!r} of {of}, the truth, is missing in all rows: monitor them when it is known"


def _left_out(y: np.ndarray, repeated: np.ndarray, asked: Subject) -> list[str]:
    missing = int((y == -1).sum() if asked.schema.classes else np.isnan(y).sum())
    told = {f"have no {asked.schema.target!r} yet": missing, "repeat another row": int(repeated.sum())}
    return [f"{rows:,} of {len(y):,} rows {what}: they are left out" for what, rows in told.items() if rows]


def _uncut(asked: Subject, columns: Sequence[str]) -> list[str]:
    lacking = [name for name in asked.problem.evaluation.slices if name not in columns]
    return [f"no slices by {listed(lacking)}: the table has no such column"] if lacking else []


def _sampled(table: _Table, asked: Subject, counts: np.ndarray) -> list[str]:
    if not asked.is_large(table.rows.rows):
        return []
    about = {"sliced": bool(asked.problem.evaluation.slices), "grouped": asked.schema.split_by == "group"}
    said = slices.sampled(int(counts.sum()), "rows with a truth", **about)
    return [f"confidence intervals are {said}"] if said else []


def _weights(table: _Table, asked: Subject, counts: np.ndarray) -> np.ndarray | None:
    """(n,) the weights of the rows that count; None where the problem weighs none."""
    name = asked.schema.weight
    if name is None:
        return None
    if not table.has(name):
        raise UserError(
            f"data: {table.rows.path.name} has no column {name!r}, by which the holdout is weighted: add it"
        )
    found = pd.to_numeric(table.frame([name])[name], errors="coerce").to_numpy(dtype="float64")[counts]
    wrong = int((~np.isfinite(found) | (found < 0)).sum())
    if wrong:
        raise UserError(f"data: {wrong:,} rows have no weight from 0 up in {name!r}: mend the column")
    return found


def _groups(table: _Table, asked: Subject, counts: np.ndarray) -> np.ndarray | None:
    """(n,) the group of each row that counts; None where the problem does not split by group."""
    if asked.schema.split_by != "group":
        return None
    (name,) = splits.columns(asked.problem.split)
    if not table.has(name):
        raise UserError(
            f"data: {table.rows.path.name} has no column {name!r}, the group of a row: rows of one group tell less "
            "than as many others: add it"
        )
    return table.frame([name])[name].astype(str).to_numpy(dtype=str)[counts]


# --- the promise ------------------------------------------------------------------------------------------------------


def promise(step: Step, asked: Subject) -> Promise:
    """What the model predicted for the holdout, as the evaluation left it by which the model was registered."""
    try:
        return _promise(step, asked)
    except (UserError, MlflowException, pa.ArrowException, OSError, KeyError) as error:
        return Promise(f"the holdout is not compared: {first_line(error)}")


def _promise(step: Step, asked: Subject) -> Promise:
    if not asked.origin.evaluation:
        raise UserError("no evaluation is recorded of this model: name it by its registered version")
    run = lookup.run(step.client, asked.origin.evaluation, EVALUATION, "evaluate")
    path = artifacts.artifact(run, f"{artifacts.PREDICTIONS}/{asked.origin.candidate}.parquet", step.folder)
    held = pd.read_parquet(path)
    weights = held["weight"].to_numpy() if asked.schema.weight is not None else None
    y = held["truth"].to_numpy()
    if asked.schema.classes:
        codes = {str(label): code for code, label in enumerate(asked.schema.classes)}
        y = np.array([codes[label] for label in y], dtype=np.int64)
    groups = None
    if asked.schema.split_by == "group":
        of_data = dataset.source(step, run.data.tags[DATASET])
        rows = artifacts.artifact(of_data, f"{artifacts.DATASET}/holdout.parquet", step.folder)
        groups = pq.read_table(rows, columns=[SPLIT_KEY])[SPLIT_KEY].to_numpy()
    found = asked.predictions(y, held[asked.answer].to_numpy(), weights)
    return Promise(f"{len(y):,} holdout rows of run {run.info.run_id}", found, groups)
