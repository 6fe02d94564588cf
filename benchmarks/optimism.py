"""How far the reported score of a champion is above its true one, by the rule that chooses the champion.

    python benchmarks/optimism.py [--tables 200] [--rows 500] [--workers 2]

Tables of ten columns are made: of pure noise, where no model is worth more than a ROC AUC of 0.5, and of a weak signal.
A fifth of the rows is held out, and a dozen candidates are cross-validated on the others, as a chain does it
(tabular/data/folds.py, tabular/model/cross_validation.py). Then, of each table:

- the best on the holdout wins, and its score there is reported: the rule until 2026-11-27;
- the best on the folds wins, and its score on the holdout is reported, which has chosen nothing: the rule since then
  (steps/evaluation/candidates.py). Beside it, what the folds themselves say of the winner.

True is what the winner scores on many rows more of the same kind. Prints the means over the tables, with their standard
errors.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from tabular.data import folds
from tabular.data.datasets import Column
from tabular.model import cross_validation, training
from tabular.model.tasks import Classification
from tabular.sections.models import Model

METRIC = "roc_auc"
FRESH = 20_000  # rows for the true score
FOLDS = 5
COLUMNS = tuple(Column(f"x{number}", "double", "number") for number in range(10))
TASK = Classification(2, positive=1)
KINDS = ("noise", "weak signal")
BOOSTED = {"n_estimators": 30, "learning_rate": 0.1, "min_child_samples": 10}
MODELS: Sequence[tuple[str, dict[str, Any]]] = (
    ("sklearn.linear_model.LogisticRegression", {"C": 0.01}),
    ("sklearn.linear_model.LogisticRegression", {"C": 1.0}),
    ("sklearn.naive_bayes.GaussianNB", {}),
    ("sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis", {"reg_param": 0.1}),
    ("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 15}),
    ("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 50}),
    ("sklearn.tree.DecisionTreeClassifier", {"max_depth": 3}),
    ("sklearn.tree.DecisionTreeClassifier", {"max_depth": 6}),
    ("sklearn.ensemble.ExtraTreesClassifier", {"n_estimators": 10, "min_samples_leaf": 5}),
    ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 10, "min_samples_leaf": 5}),
    ("lightgbm.LGBMClassifier", {**BOOSTED, "num_leaves": 4}),
    ("lightgbm.LGBMClassifier", {**BOOSTED, "num_leaves": 15}),
)


@dataclass(frozen=True)
class Report:
    """What a rule reports of its winner, and what the winner is worth."""

    rule: str
    reported: float
    true: float


def main() -> None:
    """Simulate, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{options.tables} tables of {options.rows} rows each, {len(MODELS)} candidates: means (standard errors)\n")
    print("| tables | wins, and is reported by | reported | reported less true | true |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(options.workers) as pool:
        for kind in KINDS:
            tables = [*pool.map(partial(simulated, kind, options.rows), range(options.tables), chunksize=5)]
            for reports in zip(*tables, strict=True):
                print(f"| {kind} | {line(reports)} |", flush=True)
            before, after, _ = zip(*tables, strict=True)
            gains = [new.true - old.true for old, new in zip(before, after, strict=True)]
            print(f"| {kind} | the second winner's true score less the first's | | | {mean(gains)} |")


def line(reports: Sequence[Report]) -> str:
    """The means of a rule, as cells."""
    reported, true = ([getattr(one, name) for one in reports] for name in ("reported", "true"))
    over = [one.reported - one.true for one in reports]
    return " | ".join([reports[0].rule, mean(reported), mean(over), mean(true)])


def mean(values: Sequence[float]) -> str:
    """A mean with its standard error."""
    return f"{np.mean(values):.4f} ({np.std(values, ddof=1) / np.sqrt(len(values)):.4f})"


def simulated(kind: str, rows: int, seed: int) -> list[Report]:
    """Of one table, what each rule reports."""
    generator = np.random.default_rng([KINDS.index(kind), seed])
    X, y = made(kind, rows, generator)
    (split, *_) = folds.cut(y, None, by="random", folds=FOLDS, seed=seed)  # the holdout, cut as folds are
    X_train, y_train = X.iloc[split.fit], y[split.fit]
    cuts = folds.cut(y_train, None, by="random", folds=FOLDS, seed=seed)
    on_folds, on_holdout, fitted = [], [], []
    for one in candidates(seed):
        found = cross_validation.cross_validate(one, X_train, y_train, cuts, threads=1, names=[METRIC])
        on_folds.append(found.summary()[f"cv_{METRIC}_mean"])
        fitted.append(training.fit(one, X_train, y_train, threads=1))
        on_holdout.append(scored(one, fitted[-1], X.iloc[split.score], y[split.score]))
    before, after = int(np.argmax(on_holdout)), int(np.argmax(on_folds))
    fresh = made(kind, FRESH, generator)
    true = {at: scored(candidates(seed)[at], fitted[at], *fresh) for at in {before, after}}
    return [
        Report("the best on the holdout, by the holdout", on_holdout[before], true[before]),
        Report("the best on the folds, by the holdout", on_holdout[after], true[after]),
        Report("the best on the folds, by the folds", on_folds[after], true[after]),
    ]


def candidates(seed: int) -> list[training.Candidate]:
    """The candidates."""
    models = [Model(estimator=estimator, params=params) for estimator, params in MODELS]
    return [
        training.Candidate(f"model_{number}", model, {}, COLUMNS, TASK, seed) for number, model in enumerate(models)
    ]


def scored(candidate: training.Candidate, fitted: training.Fitted, X: pd.DataFrame, y: np.ndarray) -> float:
    """What a fitted candidate scores."""
    return cross_validation.score(candidate, y, fitted.outputs(X), [METRIC])[METRIC]


def made(kind: str, rows: int, generator: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of ten columns, and their classes, on which four of the columns bear a little, or none."""
    X = generator.normal(size=(rows, len(COLUMNS)))
    signal = 0.3 * X[:, 0] + 0.3 * X[:, 1] + 0.4 * X[:, 2] * X[:, 3]
    logits = signal if kind == "weak signal" else np.zeros(rows)
    y = (generator.random(rows) < 1 / (1 + np.exp(-logits))).astype(int)
    return pd.DataFrame(X, columns=[column.name for column in COLUMNS]), y


if __name__ == "__main__":
    main()
