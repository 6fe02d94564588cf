"""One search by one of the ways that benchmarks/search.py compares: run by it, in a process of its own.

    python benchmarks/searchers.py {ours,chain,flaml,optuna,tutorial} --dataset RUN --seconds 30 --seed 0

RUN is a run of etl in the store that MLFLOW_TRACKING_URI names. The last line of stdout is the outcome as JSON.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import racers
from mlflow import MlflowClient
from racers import CORES
from sklearn.metrics import roc_auc_score


class Clock:
    """The seconds that LightGBM is at work, in this process and those forked off it."""

    def __init__(self) -> None:
        # a file, since a lock would stay closed behind a trial that was ended while it held it
        self._calls = tempfile.TemporaryFile("ab+", buffering=0)  # noqa: SIM115  (as long as the process)
        self._is_inside = False
        for kind, names in ((lightgbm.Dataset, ["construct"]), (lightgbm.Booster, ["__init__", "update", "predict"])):
            for name in names:
                setattr(kind, name, self._timed(getattr(kind, name)))

    @property
    def seconds(self) -> float:
        """So far."""
        self._calls.seek(0)
        return float(np.frombuffer(self._calls.read()).sum())

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:  # one of these calls another
                return method(*args, **kwargs)
            self._is_inside, started = True, time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                self._is_inside = False
                self._calls.write(np.float64(time.perf_counter() - started).tobytes())

        return timed


@dataclass
class Rows:
    """A table as the peers take it: frames with categories as pandas has them, and labels 0 and 1, or numbers."""

    X: pd.DataFrame
    y: np.ndarray
    X_holdout: pd.DataFrame
    y_holdout: np.ndarray
    raw_holdout: pd.DataFrame  # as a logged model takes it
    is_number: bool

    def score(self, answers: np.ndarray) -> float:
        """What answers for the holdout are worth: the ROC AUC, or of numbers the RMSE."""
        if self.is_number:
            return float(np.sqrt(np.mean((answers - self.y_holdout) ** 2)))
        return float(roc_auc_score(self.y_holdout, answers))


@dataclass
class Found:
    """What a search came to."""

    promised: float
    trials: int
    threads: int  # that LightGBM worked with at a time, in each process
    answers: Callable[[Rows], np.ndarray]  # for the holdout: probabilities of the positive class, or numbers
    beside: dict[str, float]  # seconds in MLflow and in Hyperopt, where they are known


def load(dataset: str) -> Rows:
    """The rows of a run of etl."""
    from steps.model.served import as_features
    from steps.run import lookup

    run = MlflowClient().get_run(dataset)
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    schema = lookup.schema(run, folder)
    frames, labels, raw = {}, {}, {}
    for part in ("train", "holdout"):
        rows = lookup.rows(run, part, schema, folder)
        frames[part] = as_features(rows.frame, [vars(column) for column in schema.columns])
        labels[part] = (rows.y == schema.positive).astype(int) if schema.classes else rows.y
        raw[part] = rows.frame
    names = [column.name for column in schema.columns if column.kind == "category"]
    kinds = racers.categories(frames["train"][names])
    frames = {part: frame.astype(kinds) for part, frame in frames.items()}
    sides = (frames["train"], labels["train"], frames["holdout"], labels["holdout"])
    return Rows(*sides, raw["holdout"], not schema.classes)


def ours(rows: Rows, seed: int, seconds: float, dataset: str) -> Found:
    """The step hpo; the fit is that of train."""
    from steps import hpo
    from steps.run import artifacts, shell
    from tabular.model import training

    client = MlflowClient()
    sys.argv = ["steps", f"--dataset={dataset}", "--model=lightgbm"]
    try:
        shell.run("hpo", hpo.hpo, lambda _: None)
    except SystemExit as ended:
        if ended.code:
            raise
    experiment = client.get_run(dataset).info.experiment_id
    asked = "tags.`mlflow.project.entryPoint` = 'hpo'"
    (run,) = client.search_runs([experiment], asked, order_by=["attributes.start_time DESC"], max_results=1)
    (work,) = hpo._HELD
    best = json.loads(Path(run.info.artifact_uri.removeprefix("file://"), artifacts.BEST_PARAMS).read_text())["params"]

    def probabilities(rows: Rows) -> np.ndarray:
        fitted = training.fit(work.candidate(best), work.rows.X, work.rows.y, threads=CORES)
        return fitted.outputs(rows.X_holdout)[:, work.rows.schema.positive]

    found = run.data.metrics
    beside = {name: found[f"{name}_seconds"] for name in ("log", "suggest")}
    return Found(found["best_cv_roc_auc"], int(found["trials_ended"]), 1, probabilities, beside)


def chain(rows: Rows, seed: int, seconds: float, dataset: str) -> Found:
    """The whole chain with its default models; the one with the best cross-validated score."""
    from steps.run import artifacts

    project = Path(__file__).resolve().parent.parent
    problem = Path("problem.yaml").resolve()
    words = [sys.executable, "-m", "steps", "main", f"--problem={problem}"]
    subprocess.run(words, check=True, cwd=project, stdout=subprocess.DEVNULL)
    client = MlflowClient()
    experiment = client.get_run(dataset).info.experiment_id
    asked = "tags.`mlflow.project.entryPoint` = 'main'"
    (run,) = client.search_runs([experiment], asked, order_by=["attributes.start_time DESC"], max_results=1)
    board = json.loads(Path(run.info.artifact_uri.removeprefix("file://"), artifacts.LEADERBOARD).read_text())
    candidates = [dict(zip(board["columns"], row, strict=True)) for row in board["data"]]
    best = min((one for one in candidates if one["gate"] != "failed"), key=lambda one: one["cv_rmse_mean"])
    uri = client.get_run(best["run"]).data.tags["tabular.model_uri"]

    def answers(rows: Rows) -> np.ndarray:
        return mlflow.pyfunc.load_model(uri).predict(rows.raw_holdout)["prediction"].to_numpy()

    trials = client.search_runs([experiment], "tags.`mlflow.project.entryPoint` = 'hpo'", max_results=1)
    return Found(best["cv_rmse_mean"], int(trials[0].data.metrics["trials_ended"]), CORES, answers, {})


def flaml(rows: Rows, seed: int, seconds: float, dataset: str) -> Found:
    """FLAML's AutoML, LightGBM alone, or of numbers all its estimators; it fits its best on all rows by itself."""
    asked = {"task": "classification", "metric": "roc_auc", "estimator_list": ["lgbm"]}
    if rows.is_number:
        asked = {"task": "regression", "metric": "rmse", "estimator_list": "auto"}
    about = {"time_budget": seconds, "seed": seed, "log_file_name": "flaml.log", "log_type": "all"}
    automl = racers.searched(rows.X, rows.y, **asked, **about)
    trials = sum(1 for line in Path("flaml.log").read_text().splitlines() if '"record_id"' in line)
    if rows.is_number:
        return Found(automl.best_loss, trials, CORES, lambda rows: automl.predict(rows.X_holdout), {})
    return Found(1 - automl.best_loss, trials, CORES, lambda rows: automl.predict_proba(rows.X_holdout)[:, 1], {})


def optuna(rows: Rows, seed: int, seconds: float, dataset: str) -> Found:
    """Optuna's stepwise tuner on a random quarter, early stopping as in its documentation; then a fit on all rows."""
    from optuna.logging import disable_default_handler
    from optuna_integration import lightgbm as tuned
    from sklearn.model_selection import train_test_split

    disable_default_handler()
    X, X_valid, y, y_valid = train_test_split(rows.X, rows.y, test_size=0.25, stratify=rows.y, random_state=seed)
    params = {"objective": "binary", "metric": "auc", "verbosity": -1, "num_threads": CORES, "seed": seed}
    tuner = tuned.LightGBMTuner(
        params, tuned.Dataset(X, y), valid_sets=[tuned.Dataset(X_valid, y_valid)], num_boost_round=1000,
        callbacks=[lightgbm.early_stopping(50, verbose=False)], time_budget=seconds, optuna_seed=seed,
        show_progress_bar=False,
    )  # fmt: skip
    tuner.run()
    iterations = tuner.get_best_booster().best_iteration

    def probabilities(rows: Rows) -> np.ndarray:
        booster = lightgbm.train(tuner.best_params, lightgbm.Dataset(rows.X, rows.y), iterations)
        return booster.predict(rows.X_holdout)

    return Found(tuner.best_score, len(tuner.study.trials), CORES, probabilities, {})


def tutorial(rows: Rows, seed: int, seconds: float, dataset: str) -> Found:
    """The loop of the tutorials: fmin, a nested run a trial, cross_val_score of a fresh estimator."""
    from hyperopt import STATUS_OK, Trials, fmin, hp, space_eval, tpe
    from sklearn.model_selection import cross_val_score

    space = {
        "num_leaves": hp.choice("num_leaves", range(20, 150)),
        "learning_rate": hp.loguniform("learning_rate", np.log(0.01), np.log(0.3)),
        "n_estimators": hp.choice("n_estimators", range(50, 500)),
        "min_child_samples": hp.choice("min_child_samples", range(5, 100)),
        "colsample_bytree": hp.uniform("colsample_bytree", 0.5, 1.0),
    }
    kind, scoring = lightgbm.LGBMClassifier, "roc_auc"
    if rows.is_number:
        kind, scoring = lightgbm.LGBMRegressor, "neg_root_mean_squared_error"
    logging = 0.0

    def objective(params: dict[str, Any]) -> dict[str, Any]:
        nonlocal logging
        started = time.perf_counter()
        with mlflow.start_run(nested=True):
            mlflow.log_params(params)
            logging += time.perf_counter() - started
            model = kind(**params, random_state=seed, n_jobs=CORES, verbose=-1)
            score = cross_val_score(model, rows.X, rows.y, cv=5, scoring=scoring).mean()
            started = time.perf_counter()
            mlflow.log_metric(scoring, score)
        logging += time.perf_counter() - started
        return {"loss": -score, "status": STATUS_OK}

    trials = Trials()
    with mlflow.start_run():
        best = fmin(
            objective, space, algo=tpe.suggest, timeout=seconds, trials=trials, rstate=np.random.default_rng(seed),
            show_progressbar=False, verbose=False,
        )  # fmt: skip

    def answers(rows: Rows) -> np.ndarray:
        model = kind(**space_eval(space, best), random_state=seed, n_jobs=CORES, verbose=-1).fit(rows.X, rows.y)
        return model.predict(rows.X_holdout) if rows.is_number else model.predict_proba(rows.X_holdout)[:, 1]

    promised = min(trials.losses()) if rows.is_number else -min(trials.losses())
    return Found(promised, len(trials.trials), CORES, answers, {"log": logging})


WAYS = {way.__name__: way for way in (ours, chain, flaml, optuna, tutorial)}


def main() -> None:
    """Search, fit, ask the holdout, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows = load(options.dataset)
    mlflow.set_experiment("tutorial")
    if options.way in ("ours", "chain"):
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        os.environ["MLFLOW_EXPERIMENT_NAME"] = "benchmark"
        mlflow.set_experiment("benchmark")
    clock = Clock()
    started = time.perf_counter()
    found = WAYS[options.way](rows, options.seed, options.seconds, options.dataset)
    seconds, inside = time.perf_counter() - started, clock.seconds
    started = time.perf_counter()
    holdout = rows.score(found.answers(rows))
    print(
        json.dumps(
            {
                "promised": found.promised,
                "holdout": holdout,
                "trials": found.trials,
                "seconds": seconds,
                "fit": time.perf_counter() - started,
                "outside": max(0.0, 1 - inside * found.threads / (seconds * CORES)),
                "beside": found.beside,
            }
        )
    )


if __name__ == "__main__":
    main()
