"""etl: make a data set from a table.

Reads a table by path, URL or name; writes `dataset/` (train and holdout Parquet, schema) and a profile of the columns,
and logs the table with its digest as an input.
"""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import indent
from typing import Any

from steps.model import own_features
from steps.run import artifacts, fetching, inputs, paths, run_problem, task
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, digest_tag
from tabular import digests
from tabular.data import datasets, hints, parts, tables
from tabular.data.datasets import Weighted
from tabular.data.hints import Hint
from tabular.data.parts import Parts
from tabular.data.sources import Fetched, Source
from tabular.data.spills import Spill
from tabular.errors import listed
from tabular.problem import Problem

# Weights whose mean is more than so many times 1, or less than its inverse, may not be meant as counts of rows.
FAR = 10
# The files of a data set, by the parts that other steps depend on.
FILES = {"train": "train.parquet", "holdout": "holdout.parquet", "schema": "schema.json"}
# The most hints that the terminal shows, and that the run's note holds.
MOST_SHOWN, MOST_IN_NOTE = 8, 30


def etl(step: Step) -> None:
    """Fetch the table, read it as a stream, split off the holdout, log the data set."""
    problem = task.settled(step, run_problem.asked(step))
    run_problem.freeze(step, problem)
    source = fetching.source(problem.data)
    target = step.artifacts / artifacts.DATASET
    with TemporaryDirectory(dir=step.folder) as room:
        with fetching.opened(step, source, problem.data.sha256) as (fetched, readers):
            _keep(step, source, fetched)
            spill = Spill(Path(room), whole=problem.data.duplicates == "drop", alone=readers is not None)
            how: dict[str, Any] = {"progress": True, "spill": spill, "readers": readers}
            table = tables.scan(fetched.place, datasets.reading(problem), **how)
        target.mkdir()
        prepared = datasets.prepare(table, problem, target)
    prepared = own_features.add(prepared, problem, target)
    step.table(prepared.profile.table(), artifacts.PROFILE)
    found = _hints(prepared)
    step.table(_as_table(found), artifacts.HINTS)
    said = _said(source, fetched, table, problem)
    if prepared.weighted is not None:
        said.append(f"rows are weighted by {prepared.weighted.column!r}, {prepared.weighted.said()}")
    step.table(prepared.summary.table, artifacts.SUMMARY[prepared.schema.task])
    read = {"digest": fetched.digest, "source": fetching.place(source), "rows": prepared.rows}
    inputs.log(step, name=problem.name, context="source", **read)
    _log(step, problem, prepared, fetched.digest, said, found)


def _keep(step: Step, source: Source, fetched: Fetched) -> None:
    """Keep what a replay needs and the source may not give again: the answer to a query, or which parts were read."""
    if source.kind == "database" and not isinstance(fetched.place, Parts):
        target = step.artifacts / artifacts.SNAPSHOT
        target.parent.mkdir()
        shutil.copyfile(fetched.place, target)
    elif isinstance(fetched.place, Parts):
        step.text(fetched.listed or parts.listing(fetched.place), artifacts.LISTING)


def _said(source: Source, fetched: Fetched, table: tables.Table, problem: Problem) -> list[str]:
    """What a person should know of how the table was come by."""
    said = []
    if isinstance(fetched.place, Parts):
        names = fetched.place.names
        beside = f"; no parts: {listed(fetched.others, 5)}" if fetched.others else ""
        said.append(f"read {len(names)} parts in the order of their names, sha256 {fetched.digest}{beside}")
        in_paths = parts.partition_columns(fetched.place)
        if table.of_paths:
            said.append(f"columns of the paths: {listed(list(table.of_paths))}")
        hidden = [name for name in in_paths if name not in table.of_paths]
        if hidden:
            said.append(f"the files have columns {listed(hidden)} of their own, and those of the paths are not read")
    said += table.found_out(datasets.reading(problem))
    if source.kind == "database":
        said.append(f"the answer to the query is kept as {artifacts.SNAPSHOT}")
        if not re.search(r"(?i)\border\s+by\b", str(source.query)):
            said.append("the query has no `order by`: in another order the same rows are another table")
    return said


def _log(
    step: Step,
    problem: Problem,
    prepared: datasets.Prepared,
    digest: str,
    said: list[str],
    found: list[Hint],
) -> None:
    schema, summary = prepared.schema, prepared.summary
    folder = step.artifacts / artifacts.DATASET
    train, holdout = sum(prepared.train.values()), sum(prepared.holdout.values())
    step.log(
        params={
            "rows": prepared.rows,
            "duplicates_dropped": prepared.duplicates if problem.data.duplicates == "drop" else 0,
            "rows_without_target": prepared.without_target,
            "target_missing": prepared.target_missing[:6000],
            "rows_train": train,
            "rows_holdout": holdout,
            "columns": len(schema.columns),
            **summary.params,
            "seed": problem.seed,
            "split_by": problem.split.by,
            "holdout": problem.split.holdout,
            **_params_of_weights(prepared.weighted),
        },
        metrics=summary.metrics,
        tags={
            DATA_DIGEST: digest,
            **{digest_tag(part): digests.of_file(folder / name) for part, name in FILES.items()},
            digest_tag("counts"): digests.of_values([summary.table, summary.metrics]),
        },
    )
    notes = [
        f"{prepared.rows:,} rows of `{fetching.source(problem.data)}`, target `{schema.target}`.",
        f"Train {train:,} and holdout {holdout:,} rows, split by {problem.split.by}; {len(schema.columns)} columns, "
        f"{summary.words}.",
    ]
    notes += [f"{line[0].upper()}{line[1:]}." for line in said]
    for line in said:
        print(f"  data: {line}", flush=True)
    if schema.own is not None:
        names = listed([column.name for column in schema.own.columns])
        notes.append(f"Columns of your own, made by `{schema.own.function}` of `data.features`: {names}.")
    if problem.data.duplicates == "drop":
        notes.append(f"{prepared.duplicates:,} duplicates dropped.")
    if prepared.without_target:
        lost = f"{prepared.without_target:,} of {prepared.rows:,} rows have no target and were left out"
        lost += f": {prepared.target_missing}" * bool(prepared.target_missing)
        notes.append(f"{lost}.")
        print(f"  note: {lost}", flush=True)
    if prepared.rare:
        notes.append(f"{prepared.rare}.")
        print(f"  note: {prepared.rare}", flush=True)
    notes += [f"Dropped `{name}`: {reason}." for name, reason in problem.data.drop.items()]
    notes += [f"Look at this: {hint}." for hint in hints.first(found, MOST_IN_NOTE, artifacts.HINTS)]
    for hint in hints.first(found, MOST_SHOWN, f"{artifacts.HINTS} of this run"):
        print(f"  hint: {hint}", flush=True)
    _say_where(problem, found)
    summary = (
        f"{train:,} train and {holdout:,} holdout rows{schema.weighted}, {len(schema.columns)} columns, {summary.words}"
    )
    step.finish(f"etl {problem.name}", summary, "\n\n".join(notes))


def _say_where(problem: Problem, found: list[Hint]) -> None:
    """Print, where hints name keys and the command line alone made the problem, the YAML that such keys go into."""
    own = paths.as_own_yaml(problem) if any("say " in hint.text for hint in found) else ""
    if own:
        file = f"{problem.name}.yaml"
        print(
            f"  such keys go into a YAML (data.drop is the key drop below data): save these lines as {file}, add the "
            f"keys, and give -P problem={file} in the place of data and target (docs/problems.md)",
            flush=True,
        )
        print(indent(own, " " * 4), end="", flush=True)


def _params_of_weights(weighted: Weighted | None) -> dict[str, Any]:
    if weighted is None:
        return {}
    return {
        "weight": weighted.column[:6000],
        "weight_low": weighted.low,
        "weight_high": weighted.high,
        "weight_train": sum(weighted.train.values()),
        "weight_holdout": sum(weighted.holdout.values()),
        "rows_of_weight_0": weighted.zeros,
    }


def _hints(prepared: datasets.Prepared) -> list[Hint]:
    """The hints at the table and at the weights of its rows, the gravest first."""
    found, weighted = [*prepared.profile.hints()], prepared.weighted
    if weighted is not None and not 1 / FAR <= weighted.mean <= FAR:
        text = f"the mean of the weights {weighted.column!r} is {weighted.mean:.3g}: to a model that "
        text += "regularises, a row of weight 5 is five rows; divide the weights by their mean, unless they count rows"
        found.append(Hint(hints.WEIGHTS, (weighted.column,), text))
    return sorted(found, key=lambda hint: hints.KINDS.index(hint.kind))


def _as_table(found: list[Hint]) -> dict[str, list]:
    """Hints as a table: their kinds, the columns that they are about, and their texts."""
    columns = [", ".join(hint.columns) for hint in found]
    return {"kind": [hint.kind for hint in found], "columns": columns, "hint": [hint.text for hint in found]}
