"""What MLflow's autolog logs of a fit, beside what our run of train says of the same fit."""

from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from mlflow.entities import Run
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from tests.running import PROJECT, Store

pytestmark = pytest.mark.slow

PROBLEM = """
name: autolog
data: {source: table.csv, target: %s, drop: {%s: another target}}
models: {%s}
search: {folds: 2%s}
"""
FOREST = "forest: {estimator: sklearn.ensemble.RandomForest%s, params: {n_estimators: 7, min_samples_leaf: 3}}"
CLASSES = FOREST % "Classifier" + ", lightgbm: {estimator: lightgbm.LGBMClassifier, params: {n_estimators: 7}}"
# Names of autolog, and ours for the same value; docs/tracking.md has both lists for people.
OURS = {
    "training_accuracy_score": "training_accuracy",
    "training_roc_auc": "training_roc_auc",
    "training_log_loss": "training_log_loss",
    "training_root_mean_squared_error": "training_rmse",
    "training_mean_absolute_error": "training_mae",
    "training_r2_score": "training_r2",
    "num_boost_round": "n_estimators",
}
LEFT_OUT = {
    *("n_jobs", "num_threads", "verbose", "warm_start", "keep_training_booster", "metric", "objective"),
    *("training_precision_score", "training_recall_score", "training_f1_score", "training_mean_squared_error"),
}
PAGE = (PROJECT / "docs" / "tracking.md").read_text(encoding="utf-8")


@dataclass
class Both:
    """The same fit, as our train logs it and as autolog does."""

    store: Store
    ours: Run
    theirs: Run


def fitted(store: Store, model: str, *, of_numbers: bool) -> tuple[Run, pd.Series, pd.DataFrame]:
    """Our run of train, and the target and the columns of the training rows."""
    (store.folder / "autolog.yaml").write_text(
        PROBLEM % ("amount", "label", FOREST % "Regressor", "")
        if of_numbers
        else PROBLEM % ("label", "amount", CLASSES, ", calibrate: none")
    )
    etl = store.step("etl", problem="autolog.yaml")
    assert etl.status == 0, etl.stderr
    train = store.step("train", dataset=etl.id, model=model)
    assert train.status == 0, train.stderr
    rows = pd.read_parquet(store.artifact(etl.run, "dataset/train.parquet"))
    return train.run, rows.pop("amount" if of_numbers else "label"), rows


def logged(store: Store, estimator, X: pd.DataFrame, y: pd.Series) -> Run:
    """The run of autolog."""
    mlflow.set_tracking_uri(store.uri)
    try:
        mlflow.sklearn.autolog(silent=True, log_models=False)
        mlflow.lightgbm.autolog(silent=True, log_models=False)
        with mlflow.start_run(experiment_id=store.client.get_experiment_by_name("autolog").experiment_id) as run:
            estimator.fit(X, y)
        return store.client.get_run(run.info.run_id)
    finally:
        mlflow.sklearn.autolog(disable=True)
        mlflow.lightgbm.autolog(disable=True)
        mlflow.set_tracking_uri(None)


ESTIMATORS = {
    "forest": RandomForestClassifier(n_estimators=7, min_samples_leaf=3, random_state=0),
    "lightgbm": LGBMClassifier(n_estimators=7, random_state=0, verbose=-1),
    "forest of numbers": RandomForestRegressor(n_estimators=7, min_samples_leaf=3, random_state=0),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def both(request, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("autolog"))
    store.client.create_experiment("autolog", artifact_location=str(store.folder / "autolog"))
    draw = np.random.default_rng(1)
    table = pd.DataFrame(draw.normal(size=(200, 3)), columns=["a", "b", "c"])
    table["amount"] = table["a"] * 2 + draw.normal(size=200)
    table["label"] = np.where(table["amount"] > 0, "yes", "no")
    table.to_csv(store.folder / "table.csv", index=False)
    ours, y, X = fitted(store, request.param.split()[0], of_numbers="numbers" in request.param)
    return Both(store, ours, logged(store, ESTIMATORS[request.param], X, y))


def test_each_parameter_is_ours_or_left_out_for_a_reason(both):
    found = {OURS.get(name, name): value for name, value in both.theirs.data.params.items() if name not in LEFT_OUT}
    assert len(found) > 10
    assert found.items() <= both.ours.data.params.items()


def test_each_metric_of_training_has_the_same_value_in_ours(both):
    theirs = both.theirs.data.metrics
    of_task = {"training_score": "training_r2" if "training_r2_score" in theirs else "training_accuracy"}
    found = {{**OURS, **of_task}[name]: value for name, value in theirs.items() if name not in LEFT_OUT}
    assert {name: both.ours.data.metrics[name] for name in found} == pytest.approx(found, rel=1e-12)
    if "sklearn" in both.theirs.data.tags.get("estimator_class", ""):
        assert len(found) > 2


def test_estimator_and_training_rows_are_told(both):
    tags, told = both.theirs.data.tags, both.ours.data
    assert tags.get("estimator_name", "LGBMClassifier") == told.tags["tabular.model_family"]
    assert tags.get("estimator_class", "lightgbm").split(".")[0] == told.params["estimator"].split(".")[0]
    assert [one.tags[0].value for one in both.ours.inputs.dataset_inputs] == ["training"]


def test_what_is_left_out_stands_in_the_document_with_its_reason():
    section = PAGE.split("## Beside autolog")[1]
    assert [name for name in {*LEFT_OUT, *OURS, "training_score"} if f"`{name}`" not in section] == []
