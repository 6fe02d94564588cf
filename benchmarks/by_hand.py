"""What a person would write without Tabular, for benchmarks/size.py: each is a process of its own, timed from within.

    python benchmarks/by_hand.py copy TABLE.csv
    python benchmarks/by_hand.py bookings TABLE.csv --trials 5
    python benchmarks/by_hand.py fits TABLE.parquet --fits fits.json

`copy` writes a CSV as Parquet by pyarrow, as a stream; `bookings` does the work of a chain on a table in the shape of
the hotel bookings with pandas and LightGBM; `fits` does the fits of a search on the training rows of a data set again.
The last line that is printed is JSON: the seconds of each part.
"""

import argparse
import itertools
import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

FOLDS = 3
# What problems/hotel_bookings.yaml drops.
DROPPED = ["reservation_status", "reservation_status_date", "assigned_room_type", "booking_changes"]
DROPPED += ["required_car_parking_spaces", "days_in_waiting_list", "arrival_date_year"]


def main() -> None:
    """Do one kind of work, and print its seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["copy", "bookings", "fits"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--fits", type=Path)
    options = parser.parse_args()
    if options.work == "copy":
        found = copy(options.path)
    elif options.work == "bookings":
        found = bookings(options.path, options.trials)
    else:
        found = fits(options.path, json.loads(options.fits.read_text(encoding="utf-8")))
    print(json.dumps(found))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


def copy(path: Path) -> dict[str, float]:
    """Write a CSV as Parquet, block by block."""
    import pyarrow.parquet as pq
    from pyarrow import csv

    seconds: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        _timed(seconds, "copy"),
        csv.open_csv(path) as blocks,
        pq.ParquetWriter(Path(folder) / "copy.parquet", blocks.schema) as file,
    ):
        for block in blocks:
            file.write_batch(block)
    return seconds


def bookings(path: Path, trials: int) -> dict[str, float]:
    """Read, drop duplicates, split by time, search with folds cut in time, fit the best on all, score the holdout."""
    import lightgbm
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    seconds: dict[str, float] = {}
    with _timed(seconds, "etl"):
        frame = pd.read_csv(path).drop_duplicates()
        day = pd.to_datetime(
            frame["arrival_date_year"].astype(str)
            + frame["arrival_date_month"]
            + frame["arrival_date_day_of_month"].astype(str).str.zfill(2),
            format="%Y%B%d",
        )
        frame = frame.iloc[np.argsort(day.to_numpy(), kind="stable")].drop(columns=DROPPED)
        y = frame.pop("is_canceled").to_numpy()
        named = [*frame.select_dtypes(exclude="number").columns, "agent", "company"]
        frame = frame.astype(dict.fromkeys(named, "category"))
        cut = int(len(frame) * 0.8)
    generator = np.random.default_rng(0)
    tried: list[tuple[float, dict[str, Any], int]] = []
    with _timed(seconds, "hpo"):
        edges = np.linspace(cut / 2, cut, FOLDS + 1).astype(int)
        for _ in range(trials):
            params = {
                "num_leaves": int(generator.integers(15, 128)),
                "learning_rate": float(10 ** generator.uniform(-2, -0.7)),
                "min_child_samples": int(generator.integers(5, 100)),
            }
            scores, rounds = [], []
            for start, end in pairwise(edges):
                model = lightgbm.LGBMClassifier(**params, n_estimators=5000, n_jobs=-1, verbose=-1)
                held = {"eval_X": (frame.iloc[start:end],), "eval_y": (y[start:end],)}
                stop = [lightgbm.early_stopping(60, verbose=False)]
                model.fit(frame.iloc[:start], y[:start], **held, eval_metric="auc", callbacks=stop)
                scores.append(model.best_score_["valid_0"]["auc"])
                rounds.append(model.best_iteration_)
            tried.append((float(np.mean(scores)), params, int(np.mean(rounds))))
    _, params, rounds_of_best = max(tried, key=lambda one: one[0])
    with _timed(seconds, "train"):
        model = lightgbm.LGBMClassifier(**params, n_estimators=rounds_of_best, n_jobs=-1, verbose=-1)
        model.fit(frame.iloc[:cut], y[:cut])
    with _timed(seconds, "evaluate"):
        auc = float(roc_auc_score(y[cut:], model.predict_proba(frame.iloc[cut:])[:, 1]))
    return {**seconds, "holdout roc_auc": auc}


def fits(path: Path, asked: dict[str, Any]) -> dict[str, float]:
    """The fits of a search once more: of each trial as many as it had, fold by fold, with as many iterations.

    Parameters
    ----------
    path
        The training rows, as etl has written them.
    asked
        `target`, `folds`, and `trials`: of each its `params`, its `iterations` and its `fits`.

    """
    import lightgbm
    import pandas as pd
    from sklearn.model_selection import StratifiedKFold

    seconds: dict[str, float] = {}
    frame = pd.read_parquet(path)
    y = frame.pop(asked["target"]).to_numpy()
    for name in frame.columns:
        if pd.api.types.is_datetime64_any_dtype(frame[name]):
            frame[name] = frame[name].astype("int64") / 1e6
        elif not pd.api.types.is_numeric_dtype(frame[name]):
            frame[name] = frame[name].astype("category")
    folds = list(StratifiedKFold(asked["folds"], shuffle=True, random_state=0).split(frame, y))
    warnings.filterwarnings("ignore", "Overriding the parameters")
    of_bins = {"verbose": -1, "feature_pre_filter": False}
    with _timed(seconds, "fits"):
        whole = lightgbm.Dataset(frame, y, free_raw_data=False, params=of_bins).construct()
        for trial in asked["trials"]:
            params = {"subsample_freq": 1, **trial["params"], "objective": "binary", "verbose": -1}
            for fit, score in itertools.islice(itertools.cycle(folds), trial["fits"]):
                model = lightgbm.train(params, whole.subset(fit), trial["iterations"])
                model.predict(frame.iloc[score])
    return seconds


if __name__ == "__main__":
    main()
