"""Which models are worth their seconds as candidates: alone, and in a blend of all.

    python benchmarks/candidates.py --problem problems/diamonds.yaml --data diamonds.csv.gz [--rows 10000]
        [--models default best] [--also more.yaml] [--leave-out ridge] [--folds 5] [--seed 0]

The table is cut by the problem's own rule, of the rows to learn from a sample is taken, and the problem's models are
replaced by those of presets, and of a YAML ({name: model}). Nothing is searched at random: of the model's own
parameters and the points that its search begins with, those that are the best on other folds are taken. Each is
cross-validated, and fitted on all rows.

Prints for each model its metric out of fold and on the holdout, seconds of the cross-validation and of the last fit,
and bytes as it is stored; then the same metric of a blend of all models, and of the blends that lack one: what they
lose on the holdout is what this model gives to the blend. A blend is chosen by the answers out of fold as the
chain's is.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import yaml

from steps.model import flavor, own_features
from steps.model.served import as_features
from tabular.data import datasets, folds, tables
from tabular.data.sources import local
from tabular.defaults import PRESETS
from tabular.metrics.lookup import CLASSIFICATION, sign
from tabular.model import blending, cross_validation, estimators, intervals, training
from tabular.model.tasks import Classification, Regression, Task
from tabular.problem import Problem, build
from tabular.search.racing import TrialRunner, parts
from tabular.search.search import Point


@dataclass
class Rows:
    """A data set: rows to learn from, and those held out."""

    schema: datasets.Schema
    task: Task
    X: Any
    y: np.ndarray
    key: np.ndarray | None
    X_held: Any
    y_held: np.ndarray


@dataclass
class Measured:
    """What a model answered out of fold and for the holdout, and what it cost."""

    out_of_fold: np.ndarray
    held: np.ndarray
    told: dict[str, float]


def main() -> None:
    """Measure each model, and the blends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--models", nargs="*", default=["best"], choices=PRESETS)
    parser.add_argument("--also", type=Path)
    parser.add_argument("--leave-out", nargs="*", default=[])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="to append the figures to")
    options = parser.parse_args()
    problem = asked(options)
    with tempfile.TemporaryDirectory() as folder:
        rows = load(problem, options.data, options.rows, Path(folder))
    metric = problem.search.metric
    print(f"{problem.name}: {len(rows.y):,} rows to learn from, {len(rows.y_held):,} held out, {metric}", flush=True)
    found, cuts = {}, folds.cut(rows.y, rows.key, by=rows.schema.split_by, folds=options.folds, seed=problem.seed)
    for name in problem.models:
        try:
            found[name] = measured(problem, name, rows, cuts, options.threads)
        except Exception as error:  # as a chain does, it goes on without
            print(f"  {name:<24} failed: {error}", flush=True)
            continue
        print(f"  {name:<24} {described(found[name].told)}", flush=True)
    tell_blends(problem, rows, cuts, found, options.json)


def asked(options: argparse.Namespace) -> Problem:
    """The problem, with the models that are asked for."""
    values = yaml.safe_load(options.problem.read_text(encoding="utf-8"))
    task = build({**values, "models": "default"}, str(options.problem)).task or CLASSIFICATION
    models = {name: model for preset in options.models for name, model in PRESETS[preset][task].items()}
    if options.also is not None:
        models |= yaml.safe_load(options.also.read_text(encoding="utf-8"))[task]
    kept = {name: model for name, model in models.items() if name not in options.leave_out}
    return build({**values, "task": task, "models": kept, "seed": options.seed}, str(options.problem))


def load(problem: Problem, data: Path | None, most: int, folder: Path) -> Rows:
    """The problem's data set, of which at most so many rows are to learn from and four times as many are held out."""
    kind, _, name = problem.data.source.partition(":")
    path = data or (local.write_sklearn_set(name, folder) if kind == "sklearn" else Path(problem.data.source))
    schema = datasets.prepare(tables.scan(path, datasets.reading(problem)), problem, folder).schema
    train, held = (datasets.load(folder / f"{part}.parquet", schema) for part in ("train", "holdout"))
    columns = [vars(column) for column in schema.columns]
    generator = np.random.default_rng(problem.seed)
    some, few = (np.sort(generator.permutation(len(side.y))[:n]) for side, n in ((train, most), (held, 4 * most)))
    task: Task = Regression(problem.data.target_transform)
    if schema.classes:
        task = Classification(len(schema.classes), schema.positive)
    X, X_held = (as_features(rows.frame.iloc[at], columns) for rows, at in ((train, some), (held, few)))
    key = None if train.key is None else train.key[some]
    return Rows(schema, task, X, train.y[some], key, X_held, held.y[few])


def candidate(problem: Problem, name: str, rows: Rows) -> tuple[training.Candidate, Rows]:
    """A model of the problem, and the rows as it learns from them: with the columns that it wants of dates."""
    given = (f"models.{name}", rows.schema.columns, rows.schema.classes, rows.schema.positive)
    model = estimators.in_terms_of_data(problem.models[name], *given)
    X, X_held = (own_features.with_dates(of, rows.schema, model.preprocessing.dates) for of in (rows.X, rows.X_held))
    one = training.Candidate(name, model, {}, rows.schema.features, rows.task, problem.seed)
    return one, replace(rows, X=X, X_held=X_held)


def measured(problem: Problem, name: str, rows: Rows, cuts: Sequence[folds.Fold], threads: int) -> Measured:
    """Cross-validate a model, fit it on all rows, ask it for those held out, and store it."""
    one, rows = candidate(problem, name, rows)
    one = replace(one, params=chosen(problem, one, rows, threads))
    started = time.perf_counter()
    found = cross_validation.cross_validate(one, rows.X, rows.y, cuts, threads=threads).out_of_fold
    cross_validated = time.perf_counter()
    fitted = training.fit(one, rows.X, rows.y, threads=threads)
    seconds = time.perf_counter() - cross_validated
    held = fitted.outputs(rows.X_held)
    told = {
        "out of fold": score(problem, rows.task, rows.y[found.rows], found.outputs),
        "holdout": score(problem, rows.task, rows.y_held, held),
        "cv seconds": cross_validated - started,
        "fit seconds": seconds,
        "bytes": stored(rows, fitted),
    }
    return Measured(found.outputs, held, told)


def chosen(problem: Problem, one: training.Candidate, rows: Rows, threads: int) -> dict[str, Any]:
    """Of the model's own hyperparameters and its points to start from, those that are the best on other folds."""
    if not one.model.space:
        return {}
    others = folds.cut(rows.y, rows.key, by=rows.schema.split_by, folds=len(CHOOSING), seed=problem.seed + 1)
    runner = TrialRunner(one, rows.X, rows.y, parts(others, latest_first=False, seed=0), problem.search.metric)
    points = [estimators.defaults(one.model), *one.model.start]
    found = [(point, runner.run(Point(point, is_given=True), threads=threads)) for point in points]
    best, evaluated = max(found, key=lambda pair: pair[1].score)
    return {**best, **evaluated.found}


CHOOSING = range(3)


def stored(rows: Rows, fitted: training.Fitted) -> int:
    """How many bytes the model is, as a chain stores it."""
    with tempfile.TemporaryDirectory() as folder:
        ends = None if rows.schema.classes else intervals.Intervals((0.5,), (0.0,), (0.0,), None, 0.0, "", {})
        about = {} if ends is None else {"intervals": ends, "coverage": 0.5}
        made = flavor.write(fitted, rows.schema, Path(folder), **about).parts
        return sum(path.stat().st_size for path in made.iterdir())


def score(problem: Problem, task: Task, y: np.ndarray, outputs: np.ndarray) -> float:
    """The problem's metric."""
    metric = problem.search.metric
    one = training.Candidate("", next(iter(problem.models.values())), {}, (), task, 0)
    return cross_validation.score(one, y, outputs, [metric])[metric]


def blend(problem: Problem, task: Task, y: np.ndarray, answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The weights of models, as the chain's blend chooses them on all rows."""
    found = blending.select(
        np.stack([*answers.values()]), lambda mean: sign(problem.search.metric) * score(problem, task, y, mean)
    )
    return {name: float(weight) for name, weight in zip(answers, found, strict=True) if weight}


def tell_blends(
    problem: Problem, rows: Rows, cuts: Sequence[folds.Fold], found: Mapping[str, Measured], file: Path | None
) -> None:
    """Print what the blend of all is worth, and what it loses without each."""
    y = rows.y[np.concatenate([fold.score for fold in cuts])]

    def worth(names: Sequence[str]) -> tuple[float, dict[str, float]]:
        weights = blend(problem, rows.task, y, {name: found[name].out_of_fold for name in names})
        held = sum(weight * found[name].held for name, weight in weights.items())
        return score(problem, rows.task, rows.y_held, held), weights

    whole, weights = worth([*found])
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
    print(f"  blend of all: holdout {whole:.5g} ({shown})")
    better = sign(problem.search.metric)
    best = max(found, key=lambda name: better * found[name].told["out of fold"])
    print(f"  the best alone: {best}, holdout {found[best].told['holdout']:.5g}")
    gains = {}
    for name in found if len(found) > 1 else ():
        gains[name] = better * (whole - worth([one for one in found if one != name])[0])
        print(f"  without {name:<24} the blend loses {gains[name]:+.5f}", flush=True)
    if file is not None:
        each = {
            name: {**one.told, "weight": weights.get(name, 0.0), "gives": gains.get(name)}
            for name, one in found.items()
        }
        line = {"problem": problem.name, "seed": problem.seed, "rows": len(rows.y), "metric": problem.search.metric}
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps({**line, "blend": whole, "best": best, "models": each}) + "\n")


def described(told: Mapping[str, float]) -> str:
    """The figures of a model on a line."""
    return ", ".join(
        f"{name} {value:,.0f}" if name == "bytes" else f"{name} {value:.5g}" for name, value in told.items()
    )


if __name__ == "__main__":
    main()
