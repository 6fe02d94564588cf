"""How much memory a fit needs, and what is estimated before it begins.

    python benchmarks/fit_memory.py [--rows 100000] [--kind sklearn.ensemble] [--columns 16,6]

For each kind of estimator that `tabular/model/memory.py` has figures of, a process of its own encodes made rows and
fits on them; what it held at most (VmHWM) is told beside the estimate. `--columns` are numbers and categories. Linux
only.
"""

import argparse
import gc
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from tabular.data import size
from tabular.data.datasets import Column
from tabular.model import memory, training
from tabular.model.estimators import is_regressor, load_class, takes_sparse
from tabular.model.tasks import Classification, Regression
from tabular.sections.models import Model

# Estimator, its parameters, and how many rows are fitted of those asked for: some take long.
FITS = (
    ("sklearn.linear_model.LogisticRegression", {"max_iter": 50}, 1.0),
    ("sklearn.linear_model.Ridge", {}, 1.0),
    ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 10, "min_samples_leaf": 2}, 0.5),
    ("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 5, "min_samples_leaf": 2, "max_features": 0.33}, 0.2),
    ("sklearn.ensemble.ExtraTreesClassifier", {"n_estimators": 10, "min_samples_leaf": 2}, 0.5),
    ("sklearn.tree.DecisionTreeClassifier", {}, 1.0),
    ("sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 20}, 1.0),
    ("lightgbm.LGBMClassifier", {"n_estimators": 20}, 1.0),
    ("sklearn.neural_network.MLPClassifier", {"max_iter": 2, "batch_size": 512, "early_stopping": True}, 0.5),
    ("sklearn.neighbors.KNeighborsClassifier", {"algorithm": "kd_tree"}, 0.5),
)


def main() -> None:
    """Measure each fit in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", default="16,6")
    parser.add_argument("--kind", default="", help="only estimators whose import path begins with it")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    numbers, categories = map(int, options.columns.split(","))
    if options.one is not None:
        measure(*FITS[options.one], options.rows, numbers, categories)
        return
    told = "  ".join(f"{name:>19}" for name in ("encoding", "fit", "whole"))
    print(f"{'estimator':34} {'rows':>9} {'encoded':>8}  {told}  estimate / measured")
    # else what is freed may be kept for later, and counts
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    for place, (path, *_) in enumerate(FITS):
        if path.startswith(options.kind):
            words = [
                sys.executable,
                __file__,
                f"--rows={options.rows}",
                f"--columns={options.columns}",
                f"--one={place}",
            ]
            subprocess.run(words, check=True, env=environment)


def measure(path: str, params: dict, share: float, rows: int, numbers: int, categories: int) -> None:
    """Fit on made rows, and print what that needed beside them."""
    rows = int(share * rows)
    size.LARGE_CELLS = 0  # as on a large table, of which alone memory is estimated
    X, y, columns = made(rows, numbers, categories)
    is_number = is_regressor(load_class(path, "estimator", ("fit", "predict")))
    task = Regression() if is_number else Classification(2, 1)
    y = y if is_number else (y > 0).astype(np.int64)
    candidate = training.Candidate("mine", Model(estimator=path, params=params), {}, columns, task, 0)
    training.fit(candidate, X.iloc[:500], y[:500], threads=1)  # what it imports does not count
    estimator = training.unfitted(candidate, threads=1)
    estimate = memory.Estimate(candidate, X)
    gc.collect()
    begun = held("VmRSS", anew=True)
    _, encoded = training.encode(candidate, X, y, sparse=takes_sparse(estimator))
    encoding = held("VmHWM") - begun
    before = held("VmRSS", anew=True)
    training.fit_encoded(candidate, estimator, encoded, y, threads=1)
    fit = held("VmHWM") - before
    found, need = (encoding, fit, max(encoding, before - begun + fit)), estimate.of(rows)
    told = [
        f"{in_mb(one)} / {in_mb(other)}"
        for one, other in zip((need.encoding, need.fit, need.whole), found, strict=True)
    ]
    cells = "  ".join(f"{one:>19}" for one in told)
    ratio = need.whole / found[-1]
    print(f"{path.rpartition('.')[2]:34} {rows:9,} {estimate.shape.columns:8}  {cells}  {ratio:5.2f}", flush=True)


def made(rows: int, numbers: int, categories: int) -> tuple[pd.DataFrame, np.ndarray, tuple[Column, ...]]:
    """Rows of numbers and of categories with 30 values each, and a number that three of them tell something of."""
    generator = np.random.default_rng(0)
    towns = np.array([f"town {place}" for place in range(30)], dtype=object)
    frame = {f"x{place}": generator.normal(size=rows) for place in range(numbers)}
    frame |= {f"c{place}": towns[generator.integers(0, 30, rows)] for place in range(categories)}
    X = pd.DataFrame(frame)
    y = (X["x0"] + X["x1"] * X["x2"] + generator.normal(size=rows)).to_numpy()
    kinds = [("double", "number") if name.startswith("x") else ("string", "category") for name in X]
    return X, y, tuple(Column(name, *kind) for name, kind in zip(X, kinds, strict=True))


def held(what: str, *, anew: bool = False) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since it was counted anew."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(rf"^{what}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024


def in_mb(size: float) -> str:
    """Bytes in MB."""
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
