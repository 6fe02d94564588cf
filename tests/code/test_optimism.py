"""benchmarks/optimism.py: each rule reports its own winner, and the truth is of the model that won."""

import numpy as np
import pytest

from benchmarks import optimism
from benchmarks.optimism import Report


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    """Of one small table of noise."""
    return optimism.simulated("noise", 120, 0)


def test_nothing_on_the_holdout_is_above_the_winner_by_the_holdout(reports: list[Report]) -> None:
    by_holdout, by_folds, _ = reports
    assert by_holdout.reported > by_folds.reported


def test_what_the_folds_have_chosen_has_one_truth_whoever_reports_it(reports: list[Report]) -> None:
    _, on_holdout, on_folds = reports
    assert on_holdout.true == on_folds.true
    assert on_holdout.reported != on_folds.reported


def test_of_noise_the_truth_is_that_of_no_model(reports: list[Report]) -> None:
    assert [one.true for one in reports] == pytest.approx([0.5] * 3, abs=0.02)


def test_the_columns_of_a_weak_signal_bear_on_the_classes_and_those_of_noise_do_not() -> None:
    def difference(kind: str) -> float:
        X, y = optimism.made(kind, 20_000, np.random.default_rng(0))
        return float(X.loc[y == 1, "x0"].mean() - X.loc[y == 0, "x0"].mean())

    assert difference("weak signal") > 0.2
    assert abs(difference("noise")) < 0.05


def test_a_mean_comes_with_its_standard_error() -> None:
    assert optimism.mean([0.0, 0.0, 1.0, 1.0]) == "0.5000 (0.2887)"
