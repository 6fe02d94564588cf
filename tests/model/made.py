"""A small made table with a column of every kind, and candidates fitted on it, for the tests of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from steps.model import flavor
from steps.model.served import as_features
from steps.run.step import Step
from tabular import problem
from tabular.data import datasets, folds, tables
from tabular.model import cross_validation, intervals, tasks, training
from tabular.sections.models import Model

ESTIMATORS = {
    "logistic_regression": ("sklearn.linear_model.LogisticRegression", {"max_iter": 500}),
    "random_forest": ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 20, "min_samples_leaf": 2}),
    "lightgbm": ("lightgbm.LGBMClassifier", {"n_estimators": 20, "subsample_freq": 1, "subsample": 0.8}),
}
EXPERIMENT = "models"
LABELS = {2: ["no", "yes"], 3: ["high", "low", "medium"]}


@dataclass(frozen=True)
class Data:
    """Training rows as train has them: raw, as features, and their classes."""

    schema: datasets.Schema
    frame: pd.DataFrame
    X: pd.DataFrame
    y: np.ndarray


def table(rows: int = 240, *, classes: int = 2, seed: int = 0) -> pd.DataFrame:
    """Rows whose class follows `amount` most, then `town` and `member`; every feature is missing somewhere."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": generator.normal(50, 20, rows).round(2),
            "visits": generator.integers(0, 9, rows),
            "agent": generator.choice([3, 14, 159], rows),
            "town": generator.choice(["Évora", "Lisboa", "Porto"], rows),
            "member": generator.random(rows) < 0.5,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(0, 900, rows), unit="D"),
        }
    )
    score = (frame["amount"] - 50) / 20 + (frame["town"] == "Porto") + 0.8 * frame["member"]
    score += generator.normal(0, 0.4, rows)
    codes = np.searchsorted(np.quantile(score, np.arange(1, classes) / classes), score)
    frame = frame.astype({"visits": object, "agent": object, "member": object})
    for place, name in enumerate(frame.columns):
        frame.loc[10 + place, name] = None
    # who says nothing of being a member is none: a server that reads a null as true answers otherwise
    frame.loc[(frame["member"] == False) & (generator.random(rows) < 0.3), "member"] = None  # noqa: E712
    frame["answer"] = [LABELS[classes][code] if classes in LABELS else int(code) for code in codes]
    return frame


def table_of_numbers() -> pd.DataFrame:
    """Rows whose number follows `amount`, and is told the worse the larger `visits` are."""
    generator = np.random.default_rng(4)
    found = table(500)
    amount, visits = (found[name].astype(float).fillna(3) for name in ("amount", "visits"))
    spread = generator.normal(0, 0.02, 500) * (1 + visits) ** 2
    return found.assign(answer=(np.exp(amount / 30 + (found["town"] == "Porto")) + spread).clip(lower=0.01))


def prepare(frame: pd.DataFrame, folder: Path, **sections: Any) -> Data:
    """A table through the same doors as in the chain: CSV, scan, prepare, load."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "table.csv", index=False)
    values = {
        "name": "made",
        "data": {"source": "table.csv", "target": "answer", "types": {"agent": "category"}},
        **sections,
    }
    data = problem.build(values, "made")
    prepared = datasets.prepare(tables.scan(folder / "table.csv"), data, folder)
    return loaded(folder, prepared.schema)


def loaded(folder: Path, schema: datasets.Schema) -> Data:
    """The training rows of a prepared data set."""
    rows = datasets.load(folder / "train.parquet", schema)
    return Data(schema, rows.frame, as_features(rows.frame, [vars(column) for column in schema.columns]), rows.y)


def candidate(data: Data, kind: str, *, seed: int = 0, params: Mapping[str, Any] | None = None) -> training.Candidate:
    """One of ESTIMATORS for a data set."""
    estimator, own = ESTIMATORS[kind]
    return training.Candidate(
        name=kind,
        model=Model(estimator=estimator, params=dict(own)),
        params=params or {},
        columns=data.schema.columns,
        task=tasks.Classification(len(data.schema.classes), data.schema.positive),
        seed=seed,
    )


def fit(data: Data, kind: str, *, seed: int = 0, threads: int = 1, **params: Any) -> training.Fitted:
    """Fit one of ESTIMATORS on a data set's rows."""
    return training.fit(candidate(data, kind, seed=seed, params=params), data.X, data.y, threads=threads)


def digest(fitted: training.Fitted, data: Data, folder: Path) -> str:
    """What a fitted model has learnt, as a digest of its parts."""
    folder.mkdir(parents=True)
    return flavor.digest_of_parts(flavor.write(fitted, data.schema, folder).parts)


def _ridge(data: Data) -> training.Candidate:
    model = Model(estimator="sklearn.linear_model.Ridge")
    return training.Candidate("ridge", model, {}, data.schema.columns, tasks.Regression("log"), seed=0)


def ridge(data: Data) -> training.Fitted:
    """Fit a ridge regression on a data set's rows, on the logarithm of the number."""
    return training.fit(_ridge(data), data.X, data.y, threads=1)


def intervals_of(fitted: training.Fitted, data: Data, coverage: float) -> intervals.Intervals:
    """Intervals of a regressor, learnt from how far a simple model of folds is off; their widths are scaled."""
    simple = _ridge(data)
    cuts = folds.cut(data.y, None, by="random", folds=3, seed=0)
    found = cross_validation.cross_validate(simple, data.X, data.y, cuts, threads=1).out_of_fold
    assert found is not None
    X_encoded = fitted.preprocessor.transform(data.X.iloc[found.rows])
    about: dict[str, Any] = {"level": coverage, "seed": 0, "threads": 1}
    learnt = intervals.learn(data.y[found.rows], found.outputs[:, 0], X_encoded, found.fold, **about)
    assert learnt.scale is not None, learnt.form
    return learnt


def log(fitted: training.Fitted, data: Data, folder: Path, **about: Any) -> LoggedModel:
    """Log a fitted model to the store that is set, in a run of its own."""
    folder.mkdir(parents=True)
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    with mlflow.start_run(experiment_id=experiment.experiment_id) as run:
        info = run.info
        step = Step("train", {}, info.run_id, info.experiment_id, folder, MlflowClient(), info.artifact_uri)
        step.log(params={"a": 1})
        return flavor.log(step, fitted, data.schema, data.frame.head(3), name="model", tags={"b": "2"}, **about)
