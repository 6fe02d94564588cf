"""With which trial a search ends: the best of those for which there is time."""

from types import SimpleNamespace
from typing import Any

import pytest

from steps.hpo import _Choice
from tabular.search.search import Trial


class Clock:
    """The limits of a search, of whose trials each needs its `seconds` to be cross-validated."""

    def __init__(self, left: float, chosen: int | None = None) -> None:
        self.left, self.chosen = left, chosen

    def slack(self, work: Any, trials: Any) -> dict[int, float]:
        """What is left after each."""
        return {trial.number: self.left - trial.seconds for trial in trials}


def trial(number: int, score: float | None, seconds: float, *, complete: bool = True) -> Trial:
    return Trial(number, {}, score, is_complete=complete and score is not None, seconds=seconds)


def choice(left: float, **about: Any) -> tuple[Any, _Choice]:
    clock: Any = Clock(left, **about)
    return clock, _Choice(clock, SimpleNamespace())  # type: ignore[arg-type]


CHEAP, DEAR = trial(0, 0.8, 10.0), trial(1, 0.9, 50.0)


def test_a_better_trial_that_takes_too_long_to_cross_validate_does_not_end_the_search() -> None:
    clock, made = choice(40.0)
    assert not made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP
    clock.left = 10.0
    assert made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP


def test_the_search_ends_in_time_for_the_best_trial_even_if_there_is_more_for_another() -> None:
    clock, made = choice(60.0)
    assert not made.is_over([CHEAP, DEAR])
    clock.left = 45.0
    assert made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is DEAR


def test_where_there_is_time_for_none_the_one_that_takes_least_is_chosen() -> None:
    _, made = choice(5.0)
    assert made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP


@pytest.mark.parametrize("left", [float("inf"), 5.0])
def test_a_pruned_trial_is_chosen_only_where_none_is_complete(left: float) -> None:
    pruned = trial(2, 0.95, 1.0, complete=False)
    _, made = choice(left)
    made.is_over([CHEAP, pruned])
    assert made.of([CHEAP, pruned]) is CHEAP
    _, alone = choice(left)
    alone.is_over([pruned])
    assert alone.of([pruned]) is pruned


def test_a_search_whose_trials_have_all_failed_so_far_goes_on() -> None:
    _, made = choice(5.0)
    failed = trial(0, None, 0.0)
    assert not made.is_over([failed])
    assert not made.is_over([failed, trial(1, 0.7, 1.0)])
    assert made.number == 1


def test_a_replay_ends_with_the_trial_of_then() -> None:
    _, made = choice(float("inf"), chosen=0)
    assert not made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is CHEAP


def test_without_a_limit_the_best_is_chosen() -> None:
    _, made = choice(float("inf"))
    assert not made.is_over([CHEAP])
    assert not made.is_over([CHEAP, DEAR])
    assert made.of([CHEAP, DEAR]) is DEAR
