"""The search: the points that it tries, when it ends, and which is best."""

import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.errors import UserError
from tabular.problem import Choice, Range
from tabular.search import Trial, best, search

SPACE: dict[str, Range | Choice] = {
    "leaves": Range(type="int", low=4, high=64, log=True),
    "depth": Range(type="int", low=2, high=9),
    "rate": Range(type="float", low=0.01, high=0.3, log=True),
    "share": Range(type="float", low=0.3, high=1.0),
    "kind": Choice(type="choice", options=["gini", None, 3, True]),
}


def run(
    objective: Any = None,
    space: Any = SPACE,
    *,
    trials: int = 8,
    seed: int = 0,
    greater_is_better: bool = True,
    timeout: float | None = None,
) -> list[Trial]:
    def flat(number: int, params: dict[str, Any]) -> float:
        return params.get("share", 0.0)

    return search(
        objective or flat, space, greater_is_better=greater_is_better, trials=trials, timeout=timeout, seed=seed
    )


def test_the_same_seed_makes_the_same_trials() -> None:
    assert run(seed=5, trials=25) == run(seed=5, trials=25)


def test_another_seed_makes_other_trials() -> None:
    assert run(seed=5)[0].params != run(seed=6)[0].params


def test_a_shorter_search_is_the_beginning_of_a_longer_one() -> None:
    assert run(trials=24)[:22] == run(trials=22)


def test_trials_are_as_many_as_asked_for_and_numbered() -> None:
    assert [trial.number for trial in run(trials=11)] == list(range(11))


def test_the_objective_is_told_the_number_of_its_trial() -> None:
    seen: list[int] = []
    run(lambda number, params: float(seen.append(number) or 0), trials=4)
    assert seen == [0, 1, 2, 3]


@given(st.integers(0, 50), st.integers(-5, 20), st.integers(1, 30), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_whole_number_is_whole_and_within_its_bounds(seed: int, low: int, width: int, log: bool) -> None:
    low = max(low, 1) if log else low
    space = {"n": Range(type="int", low=low, high=low + width, log=log)}
    for trial in run(lambda number, params: params["n"], space, seed=seed, trials=6):
        assert type(trial.params["n"]) is int
        assert low <= trial.params["n"] <= low + width


def test_both_ends_of_a_range_of_whole_numbers_are_tried() -> None:
    space = {"n": Range(type="int", low=1, high=3)}
    tried = {trial.params["n"] for trial in run(lambda number, params: 0.0, space, trials=30)}
    assert tried == {1, 2, 3}


@given(st.integers(0, 50), st.floats(0.001, 10), st.floats(0.5, 100), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_number_is_within_its_bounds(seed: int, low: float, width: float, log: bool) -> None:
    space = {"x": Range(type="float", low=low, high=low + width, log=log)}
    for trial in run(lambda number, params: params["x"], space, seed=seed, trials=6):
        assert low * (1 - 1e-12) <= trial.params["x"] <= (low + width) * (1 + 1e-12)


def test_a_log_range_is_drawn_evenly_by_order_of_magnitude() -> None:
    space = {"x": Range(type="float", low=1e-4, high=1.0, log=True)}
    small = [trial.params["x"] < 1e-2 for trial in run(lambda number, params: 0.0, space, trials=60)]
    assert 0.25 < sum(small) / len(small) < 0.75


def test_a_choice_is_one_of_its_options_as_it_was_written() -> None:
    space = {"kind": Choice(type="choice", options=["gini", None, 3, True])}
    tried = {repr(trial.params["kind"]) for trial in run(lambda number, params: 0.0, space, trials=40)}
    assert tried == {"'gini'", "None", "3", "True"}


def test_parameters_come_in_the_order_of_the_space() -> None:
    assert all(list(trial.params) == list(SPACE) for trial in run(trials=3))


def test_a_search_ends_with_the_trial_under_way_when_its_time_is_over() -> None:
    started = time.perf_counter()
    made = run(lambda number, params: time.sleep(0.3) or 0.0, trials=50, timeout=1)
    assert 1 <= len(made) < 10
    assert time.perf_counter() - started < 4


def test_a_search_makes_at_least_one_trial() -> None:
    assert len(run(timeout=1e-9, trials=3)) >= 1


@pytest.mark.parametrize("greater_is_better", [True, False])
def test_a_known_optimum_is_found_roughly(greater_is_better: bool) -> None:
    sign = -1 if greater_is_better else 1

    def bowl(number: int, params: dict[str, Any]) -> float:
        return sign * ((params["a"] - 2) ** 2 + (params["b"] + 1) ** 2)

    space = {name: Range(type="float", low=-5, high=5) for name in ("a", "b")}
    made = run(bowl, space, trials=60, greater_is_better=greater_is_better)
    found = best(made, greater_is_better=greater_is_better).params
    assert math.hypot(found["a"] - 2, found["b"] + 1) < 1


def test_of_equal_trials_the_first_is_the_best() -> None:
    trials = [Trial(0, {}, 0.5), Trial(1, {}, 0.7), Trial(2, {}, 0.7)]
    assert best(trials, greater_is_better=True).number == 1
    assert best(trials[1:] + trials[:1], greater_is_better=False).number == 0


def test_a_trial_without_a_score_is_told() -> None:
    with pytest.raises(UserError, match="trial 0 has no score"):
        run(lambda number, params: math.nan)


def test_an_error_of_the_objective_is_not_swallowed() -> None:
    def broken(number: int, params: dict[str, Any]) -> float:
        raise UserError("models.a: refuses to fit")

    with pytest.raises(UserError, match="refuses to fit"):
        run(broken)
