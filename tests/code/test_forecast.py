"""How long a search is said to take, and when that is said again."""

import pytest

from tabular.search.forecast import Forecast, in_words, limited
from tabular.search.search import Trial


def forecast(**parts: float) -> Forecast:
    about = {"trials": 10, "given": 1, "at_once": 2, "fit": 60.0, "after": lambda fit: 3 * fit}
    return Forecast(**{**about, **parts})  # type: ignore[arg-type]


def trial(seconds: float, *, whole: bool = True) -> Trial:
    return Trial(0, {}, 0.5, is_complete=whole, seconds=seconds)


def test_a_third_of_the_trials_that_are_not_given_is_expected_to_be_whole() -> None:
    assert forecast().left() == pytest.approx((1 + 9 / 3) * 60 / 2 + 3 * 60)


def test_no_more_trials_are_expected_than_there_will_be() -> None:
    assert forecast(trials=2, given=5).left() == pytest.approx(2 * 60 / 2 + 3 * 60)


def test_what_was_expected_is_not_said_again() -> None:
    made = forecast()
    made.left()
    assert made.changed(trial(60.0), 30.0) is None
    assert made.changed(trial(2.0, whole=False), 32.0) is None


def test_a_fit_that_takes_four_times_as_long_is_said_once() -> None:
    made = forecast()
    made.left()
    left = made.changed(trial(240.0), 120.0)
    assert left == pytest.approx(9 / 3 * 240 / 2 + 3 * 240)
    assert made.changed(trial(240.0), 240.0) is None


def test_a_few_seconds_more_or_less_are_not_said() -> None:
    made = forecast(fit=0.5)
    made.left()
    assert made.changed(trial(0.1), 6.0) is None
    assert made.changed(trial(0.1), 7.0) is None
    assert made.changed(trial(0.1), 14.0) is not None


def test_a_search_that_ends_before_its_trials_have_says_when() -> None:
    assert limited(2_400.0, 60.0) == " (it ends after 60 s)"
    assert limited(50.0, 60.0) == limited(50.0, float("inf")) == ""


@pytest.mark.parametrize(("seconds", "words"), [(4.2, "4 s"), (99, "99 s"), (100, "2 minutes"), (3_600, "60 minutes")])
def test_many_seconds_are_minutes(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
