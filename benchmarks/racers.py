"""The peers of benchmarks/race.py: run by it, each in an environment that has nothing of this repository.

    python benchmarks/racers.py {flaml,autogluon_medium,autogluon_best} --rows FOLDER --target NAME
        --task {classification,regression} --seconds 60 --seed 0 --answers FILE

FOLDER holds train.csv and unseen.csv, which lacks the target. Answers are written as a CSV: a column for each class
with its probability, or a column `prediction`. The last line of stdout says as JSON what was promised, when the model
was there, what it is, and the system's version.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

CORES = 2  # that each system is given
# By the number of classes, None of a number: the metric as it is optimised by each system.
FLAML = {2: "roc_auc", None: "rmse"}
AUTOGLUON = {2: "roc_auc", None: "root_mean_squared_error"}
OF_MORE_CLASSES = {"flaml": "roc_auc_ovr", "autogluon": "roc_auc_ovr_macro"}


@dataclass(frozen=True)
class Asked:
    """What is learnt from which rows, and how long."""

    train: pd.DataFrame
    target: str
    is_number: bool
    seconds: float
    seed: int

    @property
    def classes(self) -> int | None:
        """The number of classes; None of a number."""
        return None if self.is_number else int(self.train[self.target].nunique())


@dataclass(frozen=True)
class Model:
    """What a system came to: its own estimate of its score, what won, and how it is asked."""

    promised: float
    name: str
    answers: Callable[[pd.DataFrame], pd.DataFrame]
    version: str


def flaml(asked: Asked) -> Model:
    """FLAML with all estimators that its `auto` knows."""
    X, y = asked.train.drop(columns=asked.target), asked.train[asked.target]
    kinds = categories(X)
    metric = FLAML.get(asked.classes, OF_MORE_CLASSES["flaml"])
    task = "regression" if asked.is_number else "classification"
    automl = searched(
        X.astype(kinds), y, task=task, metric=metric, estimator_list="auto", time_budget=asked.seconds, seed=asked.seed
    )
    promised = automl.best_loss if asked.is_number else 1 - automl.best_loss

    def answers(rows: pd.DataFrame) -> pd.DataFrame:
        if asked.is_number:
            return pd.DataFrame({"prediction": automl.predict(rows.astype(kinds))})
        return pd.DataFrame(automl.predict_proba(rows.astype(kinds)), columns=automl.classes_)

    return Model(promised, automl.best_estimator, answers, version("flaml"))


def searched(X: pd.DataFrame, y: Any, **about: Any) -> Any:
    """FLAML's AutoML after its search, fitted on all rows, as it does by itself."""
    from flaml.automl import AutoML

    automl = AutoML()
    automl.fit(X, y, n_jobs=CORES, verbose=0, **about)
    return automl


def categories(train: pd.DataFrame) -> dict[str, pd.CategoricalDtype]:
    """The categories of the columns of texts, by which FLAML and LightGBM take them; others become missing."""
    texts = train.select_dtypes(exclude=["number", "bool", "datetime", "category"])
    return {name: pd.CategoricalDtype(texts[name].dropna().unique()) for name in texts}


def autogluon(preset: str) -> Callable[[Asked], Model]:
    """AutoGluon with one of its presets; it has seeds of its own."""

    def learn(asked: Asked) -> Model:
        from autogluon.tabular import TabularPredictor

        kinds = {2: "binary", None: "regression"}
        about = {
            "problem_type": kinds.get(asked.classes, "multiclass"),
            "eval_metric": AUTOGLUON.get(asked.classes, OF_MORE_CLASSES["autogluon"]),
        }
        predictor = TabularPredictor(asked.target, path="autogluon", verbosity=2, **about)
        predictor.fit(asked.train, presets=preset, time_limit=asked.seconds, num_cpus=CORES, num_gpus=0)
        best = predictor.leaderboard().set_index("model").loc[predictor.model_best]
        promised = -best["score_val"] if asked.is_number else best["score_val"]

        def answers(rows: pd.DataFrame) -> pd.DataFrame:
            if asked.is_number:
                return predictor.predict(rows).to_frame("prediction")
            return predictor.predict_proba(rows, as_multiclass=True)

        return Model(float(promised), predictor.model_best, answers, version("autogluon.tabular"))

    return learn


PEERS = {
    "flaml": flaml,
    "autogluon_medium": autogluon("medium_quality"),
    "autogluon_best": autogluon("best_quality"),
}


def main() -> None:
    """Learn, answer, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=PEERS)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    train = pd.read_csv(options.rows / "train.csv")
    model = PEERS[options.system](
        Asked(train, options.target, options.task == "regression", options.seconds, options.seed)
    )
    fitted = time.time()
    unseen = pd.read_csv(options.rows / "unseen.csv").astype(train.drop(columns=options.target).dtypes, errors="ignore")
    model.answers(unseen).to_csv(options.answers, index=False)
    print(json.dumps({"promised": model.promised, "fitted": fitted, "model": model.name, "version": model.version}))


if __name__ == "__main__":
    main()
