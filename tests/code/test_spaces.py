"""Search spaces: what Hyperopt draws from them, and the way back."""

from typing import Any

import numpy as np
import pytest
from hyperopt import space_eval
from hyperopt.pyll import stochastic
from hypothesis import given
from hypothesis import strategies as st

from tabular.search.spaces import flat, labelled, to_hyperopt
from tabular.sections.models import Choice, Model, Option, Range, Space, hyperparameters

SPACE: Space = {
    "leaves": Range(type="int", low=4, high=64, log=True),
    "share": Range(type="float", low=0.3, high=1.0, step=0.1),
    "bins": Range(type="int", low=16, high=256, step=16),
    "rate": Range(type="float", low=0.01, high=0.3, log=True),
    "kind": Choice(
        type="choice",
        options=[
            "plain",
            Option(value="dart", space={"drop": Range(type="float", low=0.05, high=0.5)}),
            Option(
                value="bags",
                space={
                    "drop": Range(type="float", low=0.6, high=0.9),
                    "of": Choice(
                        type="choice", options=[None, Option(value=3, space={"deep": Range(type="int", low=1, high=9)})]
                    ),
                },
            ),
        ],
    ),
}


def drawn(seed: int) -> dict[str, Any]:
    return flat(stochastic.sample(to_hyperopt(SPACE), np.random.default_rng(seed)))


def test_the_names_of_a_space_are_those_below_its_options_too() -> None:
    assert hyperparameters(SPACE) == ["leaves", "share", "bins", "rate", "kind", "drop", "of", "deep"]


@given(st.integers(0, 10_000))
def test_a_point_goes_to_hyperopt_and_back_as_it_is(seed: int) -> None:
    params = drawn(seed)
    labels = {label: value for label, value in labelled(SPACE, params).items() if value is not None}
    again = flat(space_eval(to_hyperopt(SPACE), labels))
    assert (
        again == pytest.approx(params)
        if not any(value is None for value in params.values())
        else again.keys() == params.keys()
    )


@given(st.integers(0, 10_000))
def test_what_stands_below_an_option_comes_with_it_alone(seed: int) -> None:
    params = drawn(seed)
    assert ("drop" in params) == (params["kind"] != "plain")
    assert ("of" in params) == (params["kind"] == "bags")
    assert ("deep" in params) == (params.get("of") == 3)
    if params["kind"] == "dart":
        assert 0.05 <= params["drop"] <= 0.5


def test_lists_may_be_options_and_come_back_as_they_were_written() -> None:
    layers = Choice(type="choice", options=[[32, 16], Option(value=[[1, 2], [3]]), 8])
    found = [
        flat(stochastic.sample(to_hyperopt({"layers": layers}), np.random.default_rng(seed)))["layers"]
        for seed in range(20)
    ]
    assert {repr(one) for one in found} == {"[32, 16]", "[[1, 2], [3]]", "8"}
    assert labelled({"layers": layers}, {"layers": [[1, 2], [3]]}) == {"layers": 1}


@given(st.integers(0, 10_000))
def test_a_step_draws_its_multiples_within_the_ends(seed: int) -> None:
    params = drawn(seed)
    assert params["share"] == pytest.approx(round(params["share"] * 10) / 10)
    assert 0.3 <= params["share"] <= 1.0
    assert params["bins"] % 16 == 0
    assert 16 <= params["bins"] <= 256
    assert type(params["bins"]) is type(params["leaves"]) is int


@pytest.mark.parametrize(
    "dimension",
    [
        Range(type="int", low=20, high=60, step=20),
        Range(type="int", low=-2, high=2),
        Range(type="float", low=-0.2, high=0.2, step=0.1),
    ],
)
def test_each_value_of_a_range_with_steps_is_drawn_as_often(dimension: Range) -> None:
    generator = np.random.default_rng(0)
    found = [flat(stochastic.sample(to_hyperopt({"n": dimension}), generator))["n"] for _ in range(500)]
    values = np.arange(dimension.low, dimension.high + 0.01, dimension.step or 1)
    counts = [sum(abs(value - one) < 1e-9 for one in found) for value in values]
    assert sum(counts) == 500
    assert min(counts) > 0.7 * 500 / len(values)


def test_what_lies_outside_is_moved_to_the_end_and_what_is_missing_to_the_middle() -> None:
    labels = labelled(SPACE, {"leaves": 500, "rate": 0.001, "kind": "none such"})
    assert (labels["leaves"], labels["rate"], labels["kind"]) == (64, 0.01, 0)
    assert labels["share"] == pytest.approx(0.6)
    assert labels["kind=1/drop"] is None


@pytest.mark.parametrize(
    "estimator",
    [
        "lightgbm.LGBMClassifier",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.linear_model.LogisticRegression",
    ],
)
def test_a_default_space_has_points_to_begin_with_that_lie_in_it(estimator: str) -> None:
    model = Model.model_validate({"estimator": estimator, "space": "default"})
    assert model.start
    for point in model.start:
        assert list(point) == list(model.space)
        for name, dimension in model.space.items():
            if isinstance(dimension, Range):
                assert dimension.low <= point[name] <= dimension.high  # type: ignore[operator]
            else:
                assert point[name] in dimension.options


def test_what_a_problem_fixes_is_not_searched_by_default() -> None:
    model = Model.model_validate(
        {"estimator": "lightgbm.LGBMClassifier", "params": {"num_leaves": 9}, "space": "default"}
    )
    assert model.params == {"subsample_freq": 1, "num_leaves": 9}
    assert "num_leaves" not in model.space
    assert all("num_leaves" not in point for point in model.start)
