"""etl: make a data set from a table.

Reads a table by path, URL or name; writes `dataset/` (train and holdout Parquet, schema) and a profile of the columns,
and logs the table with its digest as an input.
"""

from steps.run import artifacts, inputs, paths, run_problem
from steps.run.step import Step
from steps.run.tags import DATA_DIGEST, digest_tag
from tabular import digests
from tabular.data import class_names, datasets, sources, tables
from tabular.problem import Problem

# The files of a data set, by the parts that other steps depend on.
FILES = {"train": "train.parquet", "holdout": "holdout.parquet", "schema": "schema.json"}


def etl(step: Step) -> None:
    """Fetch the table, read it as a stream, split off the holdout, log the data set."""
    problem = run_problem.problem_of(step)
    data = problem.data
    path = sources.fetch(data.source, sha256=data.sha256, cache=paths.cache(), folder=step.folder, progress=True)
    digest = data.sha256 or digests.of_file(path)
    table = tables.scan(path, datasets.reading(problem), progress=True)
    target = step.artifacts / artifacts.DATASET
    target.mkdir()
    prepared = datasets.prepare(table, problem, target)
    step.table(prepared.profile.table(), artifacts.PROFILE)
    classes = list(prepared.train)
    counts = {"class": classes, "train": list(prepared.train.values()), "holdout": list(prepared.holdout.values())}
    step.table(counts, artifacts.CLASSES)
    inputs.log(step, name=problem.name, digest=digest, source=data.source, context="source", rows=prepared.rows)
    _log(step, problem, prepared, digest, counts)


def _log(step: Step, problem: Problem, prepared: datasets.Prepared, digest: str, counts: dict[str, list]) -> None:
    schema = prepared.schema
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
            "classes": ", ".join(str(label) for label in schema.classes)[:6000],
            "seed": problem.seed,
            "split_by": problem.split.by,
            "holdout": problem.split.holdout,
        },
        metrics={f"rows_{side}_{name}": count for side, counts in _sides(prepared) for name, count in counts},
        tags={
            DATA_DIGEST: digest,
            **{digest_tag(part): digests.of_file(folder / name) for part, name in FILES.items()},
            digest_tag("counts"): digests.of_values(counts),
        },
    )
    notes = [
        f"{prepared.rows:,} rows of `{problem.data.source}`, target `{schema.target}`.",
        f"Train {train:,} and holdout {holdout:,} rows, split by {problem.split.by}; {len(schema.columns)} columns, "
        f"{len(schema.classes)} classes.",
    ]
    if problem.data.duplicates == "drop":
        notes.append(f"{prepared.duplicates:,} duplicates dropped.")
    if prepared.without_target:
        lost = f"{prepared.without_target:,} of {prepared.rows:,} rows have no target and were left out"
        lost += f": {prepared.target_missing}" * bool(prepared.target_missing)
        notes.append(f"{lost}.")
        print(f"  note: {lost}", flush=True)
    notes += [f"Dropped `{name}`: {reason}." for name, reason in problem.data.drop.items()]
    notes += [f"Look at this: {hint}." for hint in prepared.profile.hints()]
    for hint in prepared.profile.hints():
        print(f"  hint: {hint}", flush=True)
    summary = (
        f"{train:,} train and {holdout:,} holdout rows, {len(schema.columns)} columns, {len(schema.classes)} classes"
    )
    step.finish(f"etl {problem.name}", summary, "\n\n".join(notes))


def _sides(prepared: datasets.Prepared):
    names = class_names.in_metrics([*prepared.train, *prepared.holdout])
    for side, counts in (("train", prepared.train), ("holdout", prepared.holdout)):
        yield side, [(names[label], count) for label, count in counts.items()]
