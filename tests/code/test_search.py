"""The search: the points that it tries, when it ends, and which is best."""

import math
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.errors import OutOfMemoryError, UserError
from tabular.search.search import Evaluation, Point, Trial, best, search
from tabular.sections.models import Choice, Range

SPACE: dict[str, Range | Choice] = {
    "leaves": Range(type="int", low=4, high=64, log=True),
    "depth": Range(type="int", low=2, high=9),
    "rate": Range(type="float", low=0.01, high=0.3, log=True),
    "share": Range(type="float", low=0.3, high=1.0),
    "kind": Choice(type="choice", options=["gini", None, 3, True]),
}


START = {"leaves": 31, "depth": 20, "rate": 0.1, "share": 1.0, "kind": "gini"}


def run(
    score: Callable[[dict[str, Any]], float] = lambda params: params.get("share", 0.0),
    space: Any = SPACE,
    *,
    start: Mapping[str, Any] | None = None,
    trials: int = 8,
    seed: int = 0,
    workers: int = 1,
    **options: Any,
) -> list[Trial]:
    first = start if start is not None else START if space is SPACE else {}
    with ThreadPoolExecutor(workers) as executor:
        return search(
            lambda point: Evaluation(score(dict(point.params))),
            space,
            start=[first],
            trials=trials,
            seed=seed,
            executor=executor,
            at_once=lambda: workers,
            **options,
        )


def test_the_same_seed_makes_the_same_trials() -> None:
    assert run(seed=5, trials=25) == run(seed=5, trials=25)


def test_another_seed_makes_other_trials() -> None:
    assert run(seed=5)[1].params != run(seed=6)[1].params


def test_a_shorter_search_is_the_beginning_of_a_longer_one() -> None:
    assert run(trials=24)[:22] == run(trials=22)


def test_trials_are_as_many_as_asked_for_and_numbered() -> None:
    assert [trial.number for trial in run(trials=11)] == list(range(11))


def test_the_first_trial_is_the_start_even_where_it_lies_outside_of_the_space() -> None:
    assert run()[0].params == START


def test_what_the_start_lacks_is_left_to_the_estimator() -> None:
    made = run(start={"rate": 0.2}, trials=25)
    assert made[0].params == {"rate": 0.2}
    assert made[24].params.keys() == SPACE.keys()


@pytest.mark.slow
@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=4, deadline=None)
def test_workers_and_delays_change_no_trial(seed: int, max_pending: int, workers: int) -> None:
    def late(params: dict[str, Any]) -> float:
        time.sleep(random.uniform(0, 0.01))
        return params["share"]

    assert run(late, seed=seed, max_pending=max_pending, workers=workers, trials=25) == run(
        seed=seed, max_pending=max_pending, trials=25
    )


def test_the_trials_are_told_in_their_order() -> None:
    told: list[Trial] = []
    assert run(workers=3, max_pending=3, trials=12, tell=told.append) == told


@given(st.integers(0, 50), st.integers(-5, 20), st.integers(1, 30), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_whole_number_is_whole_and_within_its_bounds(seed: int, low: int, width: int, log: bool) -> None:
    low = max(low, 1) if log else low
    space = {"n": Range(type="int", low=low, high=low + width, log=log)}
    for trial in run(lambda params: params.get("n", 0), space, seed=seed, trials=6)[1:]:
        assert type(trial.params["n"]) is int
        assert low <= trial.params["n"] <= low + width


def test_both_ends_of_a_range_of_whole_numbers_are_tried() -> None:
    space = {"n": Range(type="int", low=1, high=3)}
    tried = {trial.params["n"] for trial in run(lambda params: 0.0, space, trials=30)[1:]}
    assert tried == {1, 2, 3}


@given(st.integers(0, 50), st.floats(0.001, 10), st.floats(0.5, 100), st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_number_is_within_its_bounds(seed: int, low: float, width: float, log: bool) -> None:
    space = {"x": Range(type="float", low=low, high=low + width, log=log)}
    for trial in run(lambda params: params.get("x", 0), space, seed=seed, trials=6)[1:]:
        assert low * (1 - 1e-12) <= trial.params["x"] <= (low + width) * (1 + 1e-12)


def test_a_log_range_is_drawn_evenly_by_order_of_magnitude() -> None:
    space = {"x": Range(type="float", low=1e-4, high=1.0, log=True)}
    small = [trial.params["x"] < 1e-2 for trial in run(lambda params: 0.0, space, trials=60)[1:]]
    assert 0.25 < sum(small) / len(small) < 0.75


def test_a_choice_is_one_of_its_options_as_it_was_written() -> None:
    space = {"kind": Choice(type="choice", options=["gini", None, 3, True])}
    tried = {repr(trial.params["kind"]) for trial in run(lambda params: 0.0, space, trials=40)[1:]}
    assert tried == {"'gini'", "None", "3", "True"}


def test_parameters_come_in_the_order_of_the_space() -> None:
    assert all(list(trial.params) == list(SPACE) for trial in run(trials=3))


def test_a_search_ends_when_its_time_is_over() -> None:
    evaluated: list[Any] = []
    made = run(lambda params: evaluated.append(params) or 0.0, trials=50, is_over=lambda trials: len(evaluated) >= 4)
    assert 4 <= len(made) <= 5  # one may have been under way


def test_a_search_makes_at_least_one_trial() -> None:
    assert len(run(is_over=lambda trials: True, trials=3)) >= 1


def test_a_known_optimum_is_found_roughly() -> None:
    def bowl(params: dict[str, Any]) -> float:
        return -((params["a"] - 2) ** 2) - (params["b"] + 1) ** 2

    space = {name: Range(type="float", low=-5, high=5) for name in ("a", "b")}
    found = best(run(bowl, space, start={"a": 0.0, "b": 0.0}, trials=60)).params
    assert math.hypot(found["a"] - 2, found["b"] + 1) < 1


def test_of_equal_trials_the_first_is_the_best() -> None:
    assert best([Trial(0, {}, 0.5), Trial(1, {}, 0.7), Trial(2, {}, 0.7)]).number == 1


def test_one_that_failed_or_was_pruned_is_never_the_best() -> None:
    failed = Trial(0, {}, None, is_complete=False, reason="no")
    pruned = Trial(1, {}, 0.9, is_complete=False)
    assert best([failed, pruned, Trial(2, {}, -0.7)]).number == 2


def test_a_trial_that_fails_has_a_reason_and_the_search_goes_on() -> None:
    def picky(params: dict[str, Any]) -> float:
        if params["share"] > 0.6:
            raise UserError("models.a: refuses to fit")
        return params["share"]

    made = run(picky, trials=30)
    assert len(made) == 30
    reasons = {trial.reason for trial in made if trial.score is None}
    assert reasons == {"models.a: refuses to fit"}
    assert all(not trial.reason for trial in made if trial.score is not None)


def test_a_search_whose_trials_all_fail_says_the_reason_of_the_first() -> None:
    with pytest.raises(UserError, match="all 4 trials failed: it has no score"):
        run(lambda params: math.nan, trials=4)


@pytest.mark.slow
def test_a_killed_process_ends_the_search_in_one_line() -> None:
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawned) as executor, pytest.raises(OutOfMemoryError) as told:
        search(die, SPACE, start=[START], trials=3, seed=0, executor=executor)
    assert "was killed; if memory ran out, give the model fewer rows (its key `rows`)" in str(told.value)


def die(point: Point) -> Evaluation:
    os._exit(1)


@given(st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=6, deadline=None)
def test_a_trial_is_given_those_that_its_suggestion_saw(max_pending: int, workers: int) -> None:
    asked: dict[float, Point] = {}

    def noted(point: Point) -> Evaluation:
        time.sleep(random.uniform(0, 0.01))
        asked[point.params["share"]] = point
        return Evaluation(point.params["share"])

    with ThreadPoolExecutor(workers) as executor:
        made = search(noted, SPACE, start=[START], trials=14, seed=0, executor=executor, max_pending=max_pending)
    for number, trial in enumerate(made):
        point = asked[trial.params["share"]]
        assert point.seen == tuple(made[: max(0, number - max_pending + 1)])
        assert point.is_given == (number == 0)


def test_a_trial_that_was_pruned_is_told_as_the_best_and_what_it_was_worse_by() -> None:
    parts = iter([(0.5, 0.7), (0.6, 0.9), (0.4,), (0.7, 0.6)])

    def raced(point: Point) -> Evaluation:
        found = next(parts)
        return Evaluation(sum(found) / len(found), found, is_complete=len(found) == 2)

    with ThreadPoolExecutor(1) as executor:
        made = search(raced, SPACE, start=[START], trials=4, seed=0, executor=executor)
    assert [trial.score for trial in made] == pytest.approx([0.6, 0.75, 0.75 + 0.4 - 0.6, 0.65])
    assert [trial.is_complete for trial in made] == [True, True, False, True]
    assert best(made).number == 1


def test_several_points_to_begin_with_are_tried_in_their_order() -> None:
    start = [START, {"share": 0.5, "more": 7}, {"leaves": 9}]
    with ThreadPoolExecutor(1) as executor:
        made = search(lambda point: Evaluation(0.5), SPACE, start=start, trials=5, seed=0, executor=executor)
    assert [trial.params for trial in made[:3]] == start
