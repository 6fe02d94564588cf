"""With which trial a search ends: the best of those for which there is time."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from steps.search.choice import Choice
from steps.search.limits import Limits
from tabular.search.search import Trial


class Work:
    """The work of a search, each of whose trials takes its `seconds` to be cross-validated."""

    def seconds_to_cross_validate(self, trial: Trial) -> float:
        """As many as the trial took."""
        return trial.seconds

    def seconds_to_train(self, trials: Sequence[Trial]) -> list[float]:
        """None."""
        return [0.0] * len(trials)


def trial(number: int, score: float | None, seconds: float, *, complete: bool = True) -> Trial:
    return Trial(number, {}, score, is_complete=complete and score is not None, seconds=seconds)


def limits(left: float, **about: Any) -> Limits:
    """The limits of a search with so many seconds left."""
    return Limits(100, left, time.perf_counter(), **about)


def choice(left: float, **about: Any) -> Choice:
    return Choice(limits(left, **about), Work())  # type: ignore[arg-type]


CHEAP, DEAR = trial(0, 0.8, 10.0), trial(1, 0.9, 50.0)


def test_a_better_trial_that_takes_too_long_to_cross_validate_does_not_end_the_search() -> None:
    made = choice(40.0)
    assert not made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP
    made.limits = limits(10.0)
    assert made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP


def test_the_search_ends_in_time_for_the_best_trial_even_if_there_is_more_for_another() -> None:
    made = choice(60.0)
    assert not made.is_over([CHEAP, DEAR])
    made.limits = limits(45.0)
    assert made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is DEAR


def test_where_there_is_time_for_none_the_one_that_takes_least_is_chosen() -> None:
    made = choice(5.0)
    assert made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP


@pytest.mark.parametrize("left", [float("inf"), 5.0])
def test_a_pruned_trial_is_chosen_only_where_none_is_complete(left: float) -> None:
    pruned = trial(2, 0.95, 1.0, complete=False)
    made = choice(left)
    made.is_over([CHEAP, pruned])
    assert made.of([CHEAP, pruned]) is CHEAP
    alone = choice(left)
    alone.is_over([pruned])
    assert alone.of([pruned]) is pruned


def test_a_search_whose_trials_have_all_failed_so_far_goes_on() -> None:
    made = choice(5.0)
    failed = trial(0, None, 0.0)
    assert not made.is_over([failed])
    assert not made.is_over([failed, trial(1, 0.7, 1.0)])
    assert made.number == 1


def test_a_replay_ends_with_the_trial_of_then() -> None:
    made = choice(float("inf"), chosen=0)
    assert not made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP


def test_without_a_limit_the_best_is_chosen() -> None:
    made = choice(float("inf"))
    assert not made.is_over([CHEAP])
    assert not made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is DEAR
