"""What models do less of on wide tables, and that they do it there alone."""

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from steps.model import own_features
from steps.model.dataset import DataSet
from steps.model.own_features import with_shared_texts
from tabular.data.datasets import Column
from tabular.defaults import MODELS, SPACES
from tabular.errors import UserError
from tabular.model.estimators import build
from tabular.model.model_checks import check
from tabular.model.wide_tables import bounded, is_wide, on_wide
from tabular.problem import parse
from tabular.sections.models import Model

LIGHTGBM, FOREST = "lightgbm.LGBMClassifier", "sklearn.ensemble.RandomForestClassifier"


def model(estimator: str = LIGHTGBM, **parts: Any) -> Model:
    return Model.model_validate({"estimator": estimator, "space": "default", **parts})


def rows(rows: int, columns: int) -> DataSet:
    nothing: Any = None
    return DataSet(nothing, nothing, nothing, nothing, SimpleNamespace(shape=(rows, columns)), nothing, None, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "wide"),
    [
        ((16_000, 3_000), True),
        ((20_000, 500), True),
        ((20_000, 499), False),
        ((19_999, 500), False),
        ((160, 20_000), False),
        ((10_000_000, 30), False),
    ],
)
def test_a_table_is_wide_by_its_columns_and_its_cells(size: tuple[int, int], wide: bool) -> None:
    assert is_wide(*size) is wide


def test_a_default_search_of_lightgbm_tries_small_trees_of_few_columns_and_bins() -> None:
    found = on_wide(model())
    assert found.params == {"subsample_freq": 1, "max_bin": 63}
    assert {name: found.space[name].high for name in ("num_leaves", "colsample_bytree")} == {  # type: ignore[union-attr]
        "num_leaves": 63,
        "colsample_bytree": 0.4,
    }
    assert found.start == [{**SPACES[LIGHTGBM]["start"][0], "num_leaves": 63, "colsample_bytree": 0.4}]
    others = set(found.space) - {"num_leaves", "colsample_bytree"}
    assert {name: found.space[name] for name in others} == {name: model().space[name] for name in others}


def test_the_default_forest_has_larger_leaves_and_smaller_samples() -> None:
    found = on_wide(Model.model_validate(MODELS["classification"]["random_forest"]))
    assert found.params == {"n_estimators": 200, "min_samples_leaf": 10, "max_samples": 0.5}


@pytest.mark.parametrize("estimator", [path for path in SPACES if find_spec(path.partition(".")[0]) is not None])
def test_what_is_tried_on_a_wide_table_can_be_made(estimator: str) -> None:
    build(on_wide(model(estimator)), {}, where="models.m", seed=0, threads=1)


@pytest.mark.parametrize(
    "given",
    [
        {"estimator": FOREST, "params": {"n_estimators": 200, "min_samples_leaf": 2}},
        {"estimator": LIGHTGBM, "params": {"num_leaves": 300}},
        {"estimator": LIGHTGBM, "space": {"num_leaves": {"type": "int", "low": 2, "high": 512}}},
        MODELS["classification"]["logistic_regression"],
    ],
)
def test_what_a_problem_gives_a_model_itself_stays(given: dict[str, Any]) -> None:
    made = Model.model_validate(given)
    assert on_wide(made) == made


@pytest.mark.parametrize("name", ["max_bin", "max_bins"])
def test_what_is_named_beside_a_default_space_stays(name: str) -> None:
    point = {"num_leaves": 400, "learning_rate": 0.1}
    made = model(params={name: 255, "colsample_bytree": 1.0}, start=[point])
    found = on_wide(made)
    assert (found.params, found.space, found.start) == (made.params, made.space, [point])
    assert found.wide == {}


def test_the_first_point_is_brought_down_too() -> None:
    most = {"num_leaves": 63, "colsample_bytree": 0.4, "max_features": 0.1}
    point = {"num_leaves": 31, "colsample_bytree": 1.0, "max_features": "sqrt", "subsample": 1.0}
    assert bounded(point, most) == {**point, "colsample_bytree": 0.4}


def problem_with(**parts: Any) -> Any:
    import yaml

    models = {"m": {"estimator": LIGHTGBM, "space": "default", **parts}}
    data = {"source": "sklearn:iris", "target": "target"}
    return parse(yaml.safe_dump({"name": "flowers", "data": data, "models": models}), "flowers.yaml")


def test_a_data_set_has_its_models_lighter_only_if_it_is_wide_and_says_so() -> None:
    problem = problem_with()
    assert rows(16_000, 3_000).model(problem, "m") == on_wide(problem.models["m"])
    assert rows(16_000, 3_000).told_of_wide(problem, "m") == (
        "lighter on a wide table of 16,000 rows and 3,000 columns: max_bin=63 num_leaves=63 colsample_bytree=0.4"
    )
    assert rows(16_000, 300).model(problem, "m") is problem.models["m"]
    assert rows(16_000, 300).told_of_wide(problem, "m") == ""
    assert rows(16_000, 3_000).told_of_wide(problem_with(wide={}), "m") == ""


@pytest.mark.parametrize("most", [8, "many", True])
def test_what_leaves_nothing_to_search_is_refused(most: object) -> None:
    with pytest.raises(UserError, match=r"wide.num_leaves: .* above its low"):
        problem_with(wide={"num_leaves": most})


def test_a_name_that_the_class_does_not_have_is_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match=r"models.m.wide.*no parameter 'numm_leaves'"):
        check(problem_with(wide={"numm_leaves": 3}).models, "classification")


def test_the_frozen_problem_is_read_as_it_was_written() -> None:
    problem = problem_with(params={"num_leaves": 9})
    assert parse(problem.to_yaml(), "again.yaml").models == problem.models
    assert problem.models["m"].wide == {"max_bin": 63, "colsample_bytree": 0.4}
    assert not np.any(["num_leaves" in point for point in problem.models["m"].start])


def test_texts_of_a_wide_table_are_shared_and_the_same() -> None:
    texts = ["".join(["to", end]) for end in ("wn", "wer", "wn")]
    before = pd.DataFrame({"a": [*texts, np.nan], "b": [1.5, np.nan, 2.0, 3.0]}).astype({"a": object})
    found = with_shared_texts(before)
    pd.testing.assert_frame_equal(found, before)
    assert found["a"].iloc[0] is found["a"].iloc[2]
    assert before["a"].iloc[0] is not before["a"].iloc[2]


def test_features_of_a_wide_table_are_made_a_few_columns_at_a_time_and_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = pd.DataFrame({f"x{place}": [1.0, 2.0, np.nan] for place in range(5)}).assign(town=["a", "b", None])
    columns = tuple(
        Column(name, "string" if name == "town" else "double", "category" if name == "town" else "number")
        for name in frame
    )
    schema: Any = SimpleNamespace(columns=columns, own=None)
    whole = own_features.as_features(frame, schema)
    monkeypatch.setattr(own_features.wide_tables, "is_wide", lambda rows, columns: True)
    monkeypatch.setattr(own_features.wide_tables, "COLUMNS_AT_ONCE", 2)
    pd.testing.assert_frame_equal(own_features.as_features(frame, schema), whole)
