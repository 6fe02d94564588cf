"""Preprocessors: rows of numbers and categories as estimators take them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular.data.datasets import Column
from tabular.defaults import MODELS
from tabular.errors import UserError
from tabular.model import importances
from tabular.model.estimators import resolve
from tabular.model.model_checks import check
from tabular.model.preprocessors import preprocessor
from tabular.sections.models import Model, Preprocessing

LOGISTIC, _, LIGHTGBM = (model["estimator"] for model in MODELS["classification"].values())
COLUMNS = (
    Column("amount", "double", "number"),
    Column("member", "boolean", "number"),
    Column("town", "string", "category"),
    Column("agent", "double", "category"),
)


def dense(found: Any) -> np.ndarray:
    return found.toarray() if hasattr(found, "toarray") else found


numbers = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6))
texts = st.one_of(st.just(np.nan), st.sampled_from(["Évora", "Porto", "Lisboa", "new", "", " "]), st.text(max_size=3))


@st.composite
def frames(draw: st.DrawFn, least: int = 1) -> pd.DataFrame:
    rows = draw(st.integers(least, 12))
    drawn = {
        column.name: draw(st.lists(texts if column.dtype == "string" else numbers, min_size=rows, max_size=rows))
        for column in COLUMNS
    }
    types = {column.name: object if column.dtype == "string" else float for column in COLUMNS}
    return pd.DataFrame(drawn).astype(types)


ways = st.builds(
    Preprocessing,
    categories=st.sampled_from(["onehot", "ordinal"]),
    numbers=st.sampled_from(["standardize", "quantile", "as_is"]),
    missing=st.sampled_from(["impute", "keep"]),
)


@pytest.mark.slow
@given(frames(), frames(), ways)
def test_rows_with_values_never_seen_have_as_many_features_as_those_fitted(
    fitted: pd.DataFrame, rows: pd.DataFrame, how: Preprocessing
) -> None:
    features = preprocessor(COLUMNS, how, rows=len(fitted)).fit(fitted)
    assert features.transform(rows).shape == (len(rows), len(features.get_feature_names_out()))


@given(frames(), frames(), ways.filter(lambda how: how.missing == "impute"))
def test_imputed_features_are_never_missing(fitted: pd.DataFrame, rows: pd.DataFrame, how: Preprocessing) -> None:
    assert np.isfinite(dense(preprocessor(COLUMNS, how, rows=len(fitted)).fit(fitted).transform(rows))).all()


@pytest.mark.slow
@given(frames(least=3), ways)
def test_a_rows_features_do_not_depend_on_the_rows_beside_it(fitted: pd.DataFrame, how: Preprocessing) -> None:
    features = preprocessor(COLUMNS, how, rows=len(fitted)).fit(fitted)
    alone = [dense(features.transform(fitted.iloc[[row]])) for row in range(len(fitted))]
    assert np.array_equal(dense(features.transform(fitted)), np.vstack(alone), equal_nan=True)


@given(frames(), frames(), st.sampled_from(["number", "category"]), ways)
def test_columns_may_all_be_of_one_kind(
    fitted: pd.DataFrame, rows: pd.DataFrame, kind: str, how: Preprocessing
) -> None:
    columns = [column for column in COLUMNS if column.kind == kind]
    features = preprocessor(columns, how).fit(fitted)
    assert features.transform(rows).shape[0] == len(rows)


def test_preprocessing_takes_columns_by_name_and_passes_over_others() -> None:
    frame = pd.DataFrame({"amount": [1.0, 2.0], "member": [0.0, 1.0], "town": ["a", "b"], "agent": [1.0, 2.0]})
    frame["town"] = frame["town"].astype(object)
    features = preprocessor(COLUMNS, Preprocessing(categories="ordinal", numbers="as_is", missing="keep")).fit(frame)
    other = frame.assign(more=1)[["agent", "more", "town", "member", "amount"]]
    assert np.array_equal(features.transform(frame), features.transform(other))


def test_rare_categories_share_a_column_beyond_a_hundred() -> None:
    frame = pd.DataFrame({"town": [f"t{row // 2}" for row in range(600)]}, dtype=object)
    features = preprocessor([COLUMNS[2]], Preprocessing(categories="onehot")).fit(frame)
    assert len(features.get_feature_names_out()) == 100


@pytest.mark.parametrize("sparse", [True, False])
def test_features_of_many_categories_are_sparse_where_the_estimator_takes_it(sparse: bool) -> None:
    frame = pd.DataFrame({"town": [f"t{row % 50}" for row in range(200)]}, dtype=object)
    found = preprocessor([COLUMNS[2]], Preprocessing(categories="onehot"), sparse=sparse).fit_transform(frame)
    assert hasattr(found, "toarray") == sparse


def test_missing_and_never_seen_are_told_apart_where_they_are_codes() -> None:
    fitted = pd.DataFrame({"town": ["a", "b", np.nan]}, dtype=object)
    features = preprocessor([COLUMNS[2]], Preprocessing(categories="ordinal", missing="impute")).fit(fitted)
    asked = pd.DataFrame({"town": ["a", np.nan, "z"]}, dtype=object)
    assert features.transform(asked).ravel().tolist() == [0, -2, -1]


PCA = "sklearn.decomposition.PCA"


def with_steps(*steps: Any, estimator: str = LOGISTIC, **how: Any) -> Model:
    return Model.model_validate({"estimator": estimator, "preprocessing": {"steps": list(steps), **how}})


def test_steps_come_after_the_encoding_in_their_order_and_have_the_problems_seed() -> None:
    poly = {"transformer": "sklearn.preprocessing.PolynomialFeatures", "params": {"interaction_only": True}}
    made_of = preprocessor(COLUMNS, resolve(with_steps(poly, PCA)), seed=7)
    assert [type(step).__name__ for _, step in made_of.steps] == ["ColumnTransformer", "PolynomialFeatures", "PCA"]
    assert made_of[1].interaction_only
    assert made_of[2].random_state == 7


def test_missing_values_are_imputed_before_a_step_that_refuses_them() -> None:
    scale = "sklearn.preprocessing.MaxAbsScaler"
    assert resolve(with_steps(PCA, estimator=LIGHTGBM)).missing == "impute"
    assert resolve(with_steps(scale, estimator=LIGHTGBM)).missing == "keep"
    assert resolve(with_steps(PCA, estimator=LIGHTGBM, missing="keep")).missing == "keep"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("sklearn.decomposition.PCB", "has no 'PCB', did you mean 'PCA'"),
        ("no_such.Step", "cannot be imported"),
        (LOGISTIC, "is no transformer"),
        ({"transformer": PCA, "params": {"n_component": 2}}, "has no parameter 'n_component', did you mean"),
    ],
)
def test_a_step_that_cannot_be_made_is_told_with_its_key(step: Any, said: str) -> None:
    with pytest.raises(UserError, match=r"^models\.mine\.preprocessing\.steps\.0") as caught:
        check({"mine": with_steps(step)}, "classification")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["standardize", "quantile", "as_is"])
def test_columns_of_numbers_that_are_encoded_a_few_at_a_time_are_the_same(number: Any) -> None:
    generator = np.random.default_rng(0)
    X = pd.DataFrame({f"x{place}": generator.normal(place, 3, 90) for place in range(7)})
    X.iloc[3, 2], X["town"] = np.nan, generator.choice(["u", "v"], 90)
    kinds = {name: ("string", "category") if name == "town" else ("double", "number") for name in X}
    columns = [Column(name, *kind) for name, kind in kinds.items()]
    how = Preprocessing(categories="onehot", numbers=number, missing="impute")
    whole, parts = (preprocessor(columns, how, at_once=at_once, rows=90).fit(X) for at_once in (None, 3))
    assert whole.transform(X).tobytes() == parts.transform(X).tobytes()
    assert len(parts.transformers_) == 4
    names = [importances._feature_names(one) for one in (whole, parts)]
    assert names[0] == names[1]
