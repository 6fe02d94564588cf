"""Whether prediction intervals hold what they say, and how wide they are beside those of plain split conformal.

    python benchmarks/coverage.py [--table diamonds.csv.gz --target price] [--splits 200] [--rows 1000] [--level 0.9]

Of each table, `--splits` times: rows to learn from and rows to be held out are drawn, models of five folds give
predictions out of fold, intervals are learnt from these (tabular/model/intervals.py) and laid around the predictions of
a model of all rows. Beside it, on the same rows: a model of four fifths of the rows, with one width for all from the
absolute residuals of the other fifth (split conformal: J. Lei et al., 2018). The tables: 1,000 rows made with errors of
one size, with errors that grow with a column, and with exponential errors; scikit-learn's diabetes, of which a fifth is
held out; and one of your own, of which as many rows are drawn.

Prints of both the mean coverage of the held-out rows with its standard deviation over the splits, and the mean width;
the ratio of the widths; and which forms of interval were chosen, how often.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from lightgbm import LGBMRegressor
from pyarrow import csv
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import OrdinalEncoder

from tabular.model.intervals import coverage_of, learn

Array = np.ndarray
FOLDS = 5
MADE = {
    "homoscedastic": lambda X, generator: generator.normal(size=len(X)),
    "heteroscedastic": lambda X, generator: 0.7 * np.exp(0.8 * X[:, 0]) * generator.normal(size=len(X)),
    "skewed": lambda X, generator: generator.exponential(1.5, len(X)) - 1.5,
}


@dataclass(frozen=True)
class Split:
    """Of one split: coverage and mean width of our intervals and of split conformal's, and the form that was chosen."""

    ours: tuple[float, float]
    theirs: tuple[float, float]
    form: str


def main() -> None:
    """Measure each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--level", type=float, default=0.9)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    tables: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
        **{name: (partial(made, name, options.rows), boosted) for name in MADE},
        "diabetes": (diabetes, ridge),
    }
    if options.table:
        drawn = partial(of_file, options.table, options.target, options.rows)
        tables[options.table.name.partition(".")[0]] = drawn, boosted
    print(f"{options.level:.0%} intervals, {options.splits} splits: coverage (± standard deviation), mean width")
    with ProcessPoolExecutor(options.workers) as pool:
        for name, (draw, model) in tables.items():
            measured = partial(split, draw, model, options.level)
            show(name, list(pool.map(measured, range(options.splits))))


def show(name: str, splits: list[Split]) -> None:
    """Print a table's line."""
    ours, theirs = (np.array([getattr(one, which) for one in splits]) for which in ("ours", "theirs"))
    columns = [f"{one[:, 0].mean():.2%} (± {one[:, 0].std():.2%}), {one[:, 1].mean():.4g}" for one in (ours, theirs)]
    forms = ", ".join(f"{form} {times}" for form, times in Counter(one.form for one in splits).most_common())
    ratio = ours[:, 1].mean() / theirs[:, 1].mean()
    print(f"{name:>16}: ours {columns[0]}; split conformal {columns[1]}; ratio {ratio:.3f}\n{'':18}{forms}", flush=True)


def split(draw: Callable[..., Any], model: Callable[[], Any], level: float, seed: int) -> Split:
    """One random split of a table."""
    X, y, X_held, y_held = draw(np.random.default_rng(seed))
    out_of_fold, fold = np.empty(len(y)), np.empty(len(y), int)
    for number, (fit, score) in enumerate(KFold(FOLDS, shuffle=True, random_state=seed).split(X)):
        fitted = model().fit(X[fit], y[fit])
        out_of_fold[score], fold[score] = fitted.predict(X[score]), number
    intervals = learn(y, out_of_fold, X, fold, level=level, seed=seed, threads=1)
    predicted = model().fit(X, y).predict(X_held)
    ours = coverage_of(y_held, *intervals.ends(predicted, intervals.scales(X_held, threads=1), level))
    # split conformal calibrates on the last fold, with the last fold's model
    residuals = np.sort(np.abs(y - out_of_fold)[fold == FOLDS - 1])
    half = residuals[int(np.ceil((len(residuals) + 1) * level)) - 1]
    predicted = fitted.predict(X_held)
    return Split(ours, coverage_of(y_held, predicted - half, predicted + half), intervals.form)


def boosted() -> LGBMRegressor:
    """A hundred small trees."""
    about = {"n_jobs": 1, "verbose": -1, "deterministic": True, "force_col_wise": True}
    return LGBMRegressor(n_estimators=100, num_leaves=15, learning_rate=0.08, **about)


def ridge() -> Ridge:
    """A linear model."""
    return Ridge(1e-3)


def made(kind: str, rows: int, generator: np.random.Generator) -> tuple[Array, ...]:
    """Rows of eight columns, of which four bear on the target, and as many held out."""
    X = generator.normal(size=(2 * rows, 8))
    y = 2 * X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3]) + MADE[kind](X, generator)
    return X[:rows], y[:rows], X[rows:], y[rows:]


def diabetes(generator: np.random.Generator) -> tuple[Array, ...]:
    """Four fifths of the 442 rows, and the others."""
    X, y = load_diabetes(return_X_y=True)
    return drawn(X, y, 4 * len(y) // 5, len(y), generator)


def of_file(path: Path, target: str, rows: int, generator: np.random.Generator) -> tuple[Array, ...]:
    """So many rows of a CSV file, and as many held out."""
    X, y = read(path, target)
    return drawn(X, y, rows, 2 * rows, generator)


def drawn(X: Array, y: Array, rows: int, upto: int, generator: np.random.Generator) -> tuple[Array, ...]:
    """A random sample of rows, in two parts."""
    order = generator.permutation(len(y))
    fit, held = order[:rows], order[rows:upto]
    return X[fit], y[fit], X[held], y[held]


@cache
def read(path: Path, target: str) -> tuple[Array, Array]:
    """The columns of a CSV file, texts as the places of their values, and its target."""
    table = csv.read_csv(path)
    columns = [table[name].to_numpy() for name in table.column_names if name != target]
    encoded = [
        OrdinalEncoder().fit_transform(column.reshape(-1, 1))[:, 0] if column.dtype == object else column
        for column in columns
    ]
    return np.column_stack(encoded).astype(float), table[target].to_numpy().astype(float)


if __name__ == "__main__":
    main()
