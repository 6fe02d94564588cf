"""LightGBM on rows that are read in batches: the same bins, and the same models, as of all rows at once."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabular.data.datasets import Column
from tabular.data.folds import Fold
from tabular.model import binned, training
from tabular.model.binned import Batch, BinnedRows, Coded, in_the_way
from tabular.model.formats import booster_text
from tabular.model.tasks import Classification, Regression, Task
from tabular.model.training import Candidate
from tabular.sections.models import Model

ROWS = 3_000
COLUMNS = (
    Column("amount", "double", "number"),
    Column("word", "string", "category"),
    Column("count", "double", "number"),
    Column("gap", "string", "category"),
    Column("code", "double", "category"),
)
TASKS: dict[str, Task] = {"Classifier": Classification(3, 2), "Regressor": Regression("log1p")}
SAMPLED = {"num_leaves": 9, "colsample_bytree": 0.6, "subsample": 0.7, "subsample_freq": 1, "min_child_samples": 200}


def features() -> pd.DataFrame:
    """Few values a column, so that each has a bin of its own, whatever rows the bins are cut of."""
    draw = np.random.default_rng(0)
    words, gaps = draw.choice(["red", "green", "blue"], ROWS).astype(object), draw.choice(["a", "b"], ROWS)
    made = {
        "amount": draw.normal(size=ROWS).round(1),
        "word": words,
        "count": np.where(draw.random(ROWS) < 0.1, np.nan, draw.integers(0, 30, ROWS)),
        "gap": np.where(draw.random(ROWS) < 0.1, np.nan, gaps.astype(object)),
        "code": draw.choice([7.0, 3.0, 20.0], ROWS),
    }
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in made.items()})


@dataclass
class InBatches:
    """Rows of a frame as those of a file are read, in batches of other sizes than LightGBM asks for."""

    frame: pd.DataFrame
    rows: int = 700

    def batches(self, names: Collection[str] | None = None) -> Iterator[Batch]:
        for start in range(0, len(self.frame), self.rows):
            part = self.frame.iloc[start : start + self.rows]
            batch: dict[str, Any] = {}
            for column in COLUMNS:
                if names is None or column.name in names:
                    values = part[column.name].to_numpy()
                    batch[column.name] = Coded(*pd.factorize(values)) if column.kind == "category" else values
            yield batch

    def at(self, rows: Any) -> Any:
        return self.frame.iloc[rows]

    def and_then(self, other: Any) -> Any:
        return InBatches(pd.concat([self.frame, other.frame], ignore_index=True), self.rows)


def candidate(kind: str, how: dict[str, Any], **params: Any) -> Candidate:
    own = {"n_estimators": 15, **params}
    model = Model.model_validate({"estimator": f"lightgbm.LGBM{kind}", "params": own, "preprocessing": how})
    return Candidate("m", model, {}, COLUMNS, TASKS[kind], seed=3)


def target(kind: str, X: pd.DataFrame) -> Any:
    signal = X["amount"] + (X["word"] == "red") + X["count"].fillna(40) / 20
    signal += np.random.default_rng(1).normal(size=ROWS)
    codes = np.digitize(signal, [1.2, 2.4])
    return codes if kind == "Classifier" else np.exp(signal.to_numpy())


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("how", [{}, {"missing": "impute"}, {"categories": "native"}], ids=str)
@pytest.mark.parametrize("params", [{}, SAMPLED], ids=["usual", "sampled"])
def test_a_final_fit_is_the_same_byte_by_byte(
    kind: str, how: dict[str, Any], params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binned._Encoded, "batch_size", 512)
    X, one = features(), candidate(kind, how, **params)
    y, weights = target(kind, X), np.random.default_rng(2).uniform(0.5, 2, ROWS)
    rows = BinnedRows(InBatches(X), X.shape)
    for of_rows in (None, weights):
        memory = training.fit(one, X, y, threads=1, weights=of_rows)
        bins = training.fit(one, rows, y, threads=1, weights=of_rows)
        assert booster_text(bins.estimator) == booster_text(memory.estimator)
        assert np.array_equal(bins.outputs(X), memory.outputs(X))


def test_bins_are_cut_by_the_same_sampled_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binned._Encoded, "batch_size", 512)
    X = features()
    X["amount"] = np.random.default_rng(4).normal(size=ROWS)  # more values than bins
    y, one = target("Regressor", X), candidate("Regressor", {}, subsample_for_bin=500)
    rows = BinnedRows(InBatches(X), X.shape)
    memory, bins = (training.fit(one, of, y, threads=1) for of in (X, rows))
    assert booster_text(bins.estimator) == booster_text(memory.estimator)


def test_rows_that_follow_others_are_learnt_from_too() -> None:
    X, one = features(), candidate("Classifier", {})
    y = target("Classifier", X)
    parts = [BinnedRows(InBatches(part.reset_index(drop=True)), part.shape) for part in (X[:2000], X[2000:])]
    memory, bins = (training.fit(one, of, y, threads=1) for of in (X, parts[0].and_then(parts[1])))
    assert booster_text(bins.estimator) == booster_text(memory.estimator)


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_learnt_of_a_fold_is_the_same_where_the_bins_are(kind: str) -> None:
    X, one = features(), candidate(kind, {}, min_data_in_bin=1)
    y = target(kind, X)
    generator = np.random.default_rng(5)
    weights, order = generator.uniform(0.5, 2, ROWS), generator.permutation(ROWS)
    fold = Fold(np.sort(order[:2000]), order[2000:])  # scored rows come in any order
    rows = BinnedRows(InBatches(X), X.shape)
    about: dict[str, Any] = {"threads": 1, "curves": True, "weights": weights}
    memory, bins = (training.on_fold(one, of, y, fold, **about) for of in (X, rows))
    assert bins.outputs == pytest.approx(memory.outputs, abs=1e-9)
    assert bins.curves["iteration"] == memory.curves["iteration"]
    for side in ("training", "validation"):
        assert bins.curves[side] == pytest.approx(memory.curves[side], abs=1e-9)
    assert np.array_equal(bins.weights, memory.weights)  # type: ignore[arg-type]


@pytest.mark.parametrize("params", [{}, {"class_weight": {0: 1.0, 1: 2.0, 2: 3.0}}], ids=["usual", "weighted"])
def test_a_fold_without_a_class_gives_it_no_probability(params: dict[str, Any]) -> None:
    X, one = features(), replace(candidate("Classifier", {}, min_data_in_bin=1), params=params)
    y = target("Classifier", X)
    fold = Fold(np.flatnonzero(y != 1), np.arange(ROWS))
    memory, bins = (training.on_fold(one, of, y, fold, threads=1) for of in (X, BinnedRows(InBatches(X), X.shape)))
    assert bins.outputs.shape == (ROWS, 3)
    assert (bins.outputs[:, 1] == 0).all()
    assert bins.outputs == pytest.approx(memory.outputs, abs=1e-9)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({}, ""),
        ({"space": "default"}, ""),
        ({"params": {"n_estimators": 100, "max_bin": 63}}, ""),
        ({"preprocessing": {"missing": "impute", "categories": "native"}}, ""),
        ({"estimator": "lightgbm.LGBMRanker"}, "estimator"),
        ({"params": {"boosting_type": "dart"}}, "params"),
        ({"params": {"num_trees": 100}}, "params"),
        ({"seeds": 2}, "seeds"),
        ({"space": {"max_bin": {"type": "int", "low": 15, "high": 255}}}, "space"),
        ({"preprocessing": {"categories": "target"}}, "preprocessing.categories"),
        ({"preprocessing": {"numbers": "standardize"}}, "preprocessing.numbers"),
        ({"preprocessing": {"texts": {"word": 3}}}, "preprocessing.texts"),
        ({"space": {"preprocessing.categories": {"type": "choice", "options": ["ordinal", "target"]}}},
         "preprocessing.categories"),
    ],
)  # fmt: skip
def test_what_needs_all_rows_at_once_is_named(given: dict[str, Any], key: str) -> None:
    assert in_the_way(Model.model_validate({"estimator": "lightgbm.LGBMClassifier", **given})) == key
