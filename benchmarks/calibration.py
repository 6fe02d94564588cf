"""What calibration does to the candidates of a problem, on rows that nothing has learnt from.

    python benchmarks/calibration.py --data hotel_bookings.csv.zip [--problem problems/hotel_bookings.yaml]

The table is cut by the problem's own rule. Each model is cross-validated with the problem's own hyperparameters
(nothing is searched), calibrated by what its folds answered, and fitted on all training rows; then its answers for the
holdout are scored as they are, and calibrated by each method. What `search.calibrate: auto` chooses is marked; it sees
no row of the holdout.

Prints the log loss, the calibration error with its 95 % interval, and the ROC AUC.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from steps.model.served import as_features
from tabular.data import datasets, folds, tables
from tabular.evaluation import bootstrap
from tabular.metrics.classification import CALIBRATION_ERROR
from tabular.metrics.lookup import scores
from tabular.model import calibration, cross_validation, training
from tabular.model.estimators import in_terms_of_data
from tabular.model.tasks import Classification
from tabular.problem import Problem, read

PROBLEM = Path(__file__).resolve().parent.parent / "problems" / "hotel_bookings.yaml"


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--problem", type=Path, default=PROBLEM)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    problem = read(options.problem)
    with tempfile.TemporaryDirectory() as folder:
        prepared = datasets.prepare(tables.scan(options.data), problem, Path(folder))
        train, holdout = (datasets.load(Path(folder) / f"{name}.parquet", prepared.schema) for name in PARTS)
    print(f"{len(train.y):,} rows to learn from, {len(holdout.y):,} held out; log loss, calibration error (95 %)")
    for name in problem.models:
        measure(problem, prepared.schema, name, train, holdout, options.threads)


PARTS = ("train", "holdout")


def measure(problem: Problem, schema: datasets.Schema, name: str, train: Any, holdout: Any, threads: int) -> None:
    """Print the lines of a model."""
    columns = [vars(column) for column in schema.columns]
    X, X_held = (as_features(rows.frame, columns) for rows in (train, holdout))
    task = Classification(len(schema.classes), schema.positive)
    given = (f"models.{name}", schema.columns, schema.classes, schema.positive)
    model = in_terms_of_data(problem.models[name], *given)
    one = training.Candidate(name, model, {}, schema.features, task, problem.seed, calibrate="auto")
    cuts = folds.cut(train.y, train.key, by=schema.split_by, folds=problem.search.folds, seed=problem.seed)
    result = cross_validation.cross_validate(one, X, train.y, cuts, threads=threads)
    found, chosen = result.out_of_fold, result.calibration
    raw = training.fit(one, X, train.y, threads=threads).outputs(X_held)
    print(f"{name}, {len(found.rows):,} rows out of fold: {show(task, train.y[found.rows], found.outputs)}")
    for method in calibration.METHODS:
        started = time.perf_counter()
        about = {"how": method, "positive": task.positive}
        learnt = calibration.learn(found.outputs, train.y[found.rows], found.fold, **about)
        seconds = time.perf_counter() - started
        mark = "*" if method == chosen.method else " "
        of_folds = f"cross-fitted {learnt.calibration.losses[method]:.4f}, {learnt.calibration.errors['after']:.4f}"
        of_holdout = show(task, holdout.y, learnt.calibration.apply(raw))
        print(f"  {mark} {method:>8}: holdout {of_holdout}; {of_folds}; {seconds:.2f} s", flush=True)


def show(task: Classification, y: np.ndarray, probabilities: np.ndarray) -> str:
    """The log loss, and the calibration error with its interval."""
    predictions = task.predictions(y, probabilities)
    values = scores(predictions, ["log_loss", CALIBRATION_ERROR, "roc_auc"])
    ends = bootstrap.wide_interval(predictions, CALIBRATION_ERROR, seed=0)
    error = f"{values[CALIBRATION_ERROR]:.4f} ({ends.low:.4f} to {ends.high:.4f})"
    return f"{values['log_loss']:.4f}, {error}, ROC AUC {values['roc_auc']:.4f}"


if __name__ == "__main__":
    main()
