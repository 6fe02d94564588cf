"""A model whose packages are not the lock's has no hashes: terminal, notes and card say so."""

import pytest
import yaml

from steps.run import environment
from tests.earlier import PROBLEM, TABLE, customers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]

YAML = """
name: small
data: {source: table.csv, target: left, positive: "yes"}
models:
  forest: {estimator: sklearn.ensemble.RandomForestClassifier, params: {n_estimators: 10}}
  logistic_regression: {estimator: sklearn.linear_model.LogisticRegression}
search: {metric: log_loss, folds: 2}
gate: {require: {log_loss: {max: 10}}}
registry: {name: unlocked}
"""
SAID = "its requirements have no hashes (scipy 1.0.0 is not the lock's)"


@pytest.fixture
def other_scipy(monkeypatch):
    """An environment with a package that is not the lock's, in this test alone."""
    here = environment.installed()
    with monkeypatch.context() as patch:
        patch.setattr(environment, "installed", lambda: {**here, "scipy": "1.0.0"})
        environment.beside_the_lock.cache_clear()
        yield
    environment.beside_the_lock.cache_clear()


@pytest.mark.usefixtures("other_scipy")
def test_train_blend_the_evaluation_and_the_card_say_that_a_model_has_no_hashes(store):
    (store.folder / PROBLEM).write_text(YAML)
    customers(300, seed=1).to_csv(store.folder / TABLE, index=False)
    dataset = store.step("etl", problem=PROBLEM).id
    trained = [store.step("train", dataset=dataset, model=name) for name in yaml.safe_load(YAML)["models"]]
    models = ",".join(one.id for one in trained)
    blended = store.step("blend", dataset=dataset, models=models)
    for ended in (*trained, blended):
        assert ended.status == 0, ended.stderr
        assert SAID in ended.tags["tabular.summary"]
        assert SAID in ended.tags["mlflow.note.content"]
        assert ended.tags["tabular.unlocked"] == "scipy 1.0.0 is not the lock's"
    evaluated = store.step("evaluate", dataset=dataset, models=models, blend=blended.id)
    assert evaluated.status == 0, evaluated.stderr
    for name in ("forest", "logistic_regression", "blend"):
        assert f"- {name}: {SAID}" in evaluated.tags["mlflow.note.content"]
    registered = store.step("register", evaluation=evaluated.id)
    assert registered.status == 0, registered.stderr
    assert SAID in store.client.get_model_version_by_alias("unlocked", "champion").description
