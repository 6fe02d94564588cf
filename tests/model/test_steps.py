"""A model with transformers of the problem's and columns of the user's own: stored without pickle, asked alone."""

from dataclasses import replace
from pathlib import Path

import made
import mlflow
import numpy as np
import pytest
from mlflow.models import get_model_info

from steps.model import flavor, own_features
from tabular.data import datasets, own_code
from tabular.errors import CandidateError, UserError
from tabular.model import importances, training
from tabular.sections.models import Model

STEPS = [
    {"transformer": "sklearn.feature_selection.SelectKBest", "params": {"k": 5}},
    {"transformer": "sklearn.decomposition.PCA", "params": {"n_components": 3}},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> made.Data:
    return made.prepare(made.table(120), tmp_path_factory.mktemp("data"))


def candidate(data: made.Data, kind: str, steps: list) -> training.Candidate:
    usual = made.candidate(data, kind)
    estimator, params = made.ESTIMATORS[kind]
    values = {"estimator": estimator, "params": params, "preprocessing": {"steps": steps}}
    return replace(usual, model=Model.model_validate(values), columns=data.schema.features)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["logistic_regression", "lightgbm"])
def test_steps_are_stored_with_the_model_and_answer_the_same(
    kind: str, data: made.Data, tracking: str, tmp_path: Path
) -> None:
    fitted = training.fit(candidate(data, kind, STEPS), data.X, data.y, threads=1)
    info = made.log(fitted, data, tmp_path / "model")
    model = mlflow.pyfunc.load_model(info.model_uri)
    answer = model.predict(data.frame)["probability_yes"]
    np.testing.assert_array_equal(answer, fitted.outputs(data.X)[:, 1])
    again = training.fit(candidate(data, kind, STEPS), data.X, data.y, threads=2)
    assert made.digest(again, data, tmp_path / "again") == made.digest(fitted, data, tmp_path / "once")
    names = importances.importances(fitted.preprocessor, fitted.estimator)
    assert names is None or list(names[1]) == ["pca0", "pca1", "pca2"]


def test_steps_are_fitted_on_the_rows_that_are_fitted_alone(data: made.Data) -> None:
    half = data.X.iloc[:60]
    fitted = training.fit(candidate(data, "logistic_regression", STEPS[1:]), half, data.y[:60], threads=1)
    encoded = fitted.preprocessor[0].transform(half)
    np.testing.assert_allclose(fitted.preprocessor[1].mean_, encoded.mean(axis=0))


def test_a_step_that_refuses_the_rows_is_told_as_the_candidates(data: made.Data) -> None:
    steps = [{"transformer": "sklearn.decomposition.PCA", "params": {"n_components": 500}}]
    with pytest.raises(CandidateError, match=r"^models\.lightgbm\.preprocessing\.steps: sklearn.decomposition.PCA"):
        training.fit(candidate(data, "lightgbm", steps), data.X, data.y, threads=1)


CODE = """
def make(rows):
    return rows[[]].assign(rich=rows["amount"] > 50, where=rows["town"].str[:1], year=rows["since"].dt.year)
"""


@pytest.mark.slow
def test_a_model_makes_the_users_own_columns_and_runs_no_other_code(
    data: made.Data, tracking: str, tmp_path: Path
) -> None:
    columns = [("rich", "double", "number"), ("where", "string", "category"), ("year", "double", "number")]
    code = own_code.meaning(CODE, "f.py", "make")
    own = datasets.Own("make", code, tuple(datasets.Column(*one) for one in columns))
    schema = replace(data.schema, own=own)
    assert datasets.Schema.from_json(schema.to_json()) == schema
    X = own_features.as_features(data.frame, schema)
    assert list(X) == [column.name for column in schema.features]
    whole = replace(data, schema=schema, X=X)
    fitted = training.fit(candidate(whole, "logistic_regression", []), X, data.y, threads=1)
    info = made.log(fitted, whole, tmp_path / "model")
    model = mlflow.pyfunc.load_model(info.model_uri)
    answer = model.predict(data.frame)["probability_yes"]
    np.testing.assert_array_equal(answer, fitted.outputs(X)[:, 1])
    alone = model.predict(data.frame.head(1))["probability_yes"]
    np.testing.assert_allclose(alone, answer[:1], rtol=1e-12)
    assert get_model_info(info.model_uri).signature.inputs.input_names() == list(data.frame)

    local = Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / "copy")))
    recorded = {"code": flavor.digest_of_code(), "learnt": flavor.digest_of_parts(local / flavor.PARTS)}
    flavor.load(str(local), tmp_path, **recorded)
    (local / flavor.PARTS / "own_features.py").write_text(code.replace("50", "51"))
    with pytest.raises(UserError, match="carries parts of digest"):
        flavor.load(str(local), tmp_path, **recorded)


@pytest.mark.slow
def test_what_the_users_code_imports_is_among_the_requirements(data: made.Data) -> None:
    fitted = training.fit(candidate(data, "logistic_regression", []), data.X, data.y, threads=1)
    own = datasets.Own("make", "import yaml, re\n", ())
    more = set(flavor.packages(fitted, own)) - set(flavor.packages(fitted))
    assert more == {"PyYAML"}
