"""Folds: cut as the holdout was, with no row on both sides of one."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tabular.data.folds import Fold, cut
from tabular.errors import UserError

BY = st.sampled_from(["random", "time", "group"])
SEEDS = st.integers(0, 5)
FOLDS = st.integers(2, 5)


def rows(n: int, points: int, seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.permutation(np.arange(n) % classes)
    return y, generator.integers(0, points, n)


def made(by: str, n: int, points: int, folds: int, seed: int) -> tuple[list[Fold], np.ndarray, np.ndarray]:
    """Folds of drawn rows; a case that cannot be cut is another test's."""
    y, key = rows(n, points, seed)
    try:
        return cut(y, None if by == "random" else key, by=by, folds=folds, seed=seed), y, key  # type: ignore[arg-type]
    except UserError:
        assume(False)
        raise


@given(BY, st.integers(40, 120), st.integers(8, 60), FOLDS, SEEDS)
def test_no_row_is_scored_twice(by: str, n: int, points: int, folds: int, seed: int) -> None:
    found, _, _ = made(by, n, points, folds, seed)
    scored = np.concatenate([fold.score for fold in found])
    assert len(found) == folds
    assert len(np.unique(scored)) == len(scored)


@given(st.sampled_from(["random", "group"]), st.integers(40, 120), st.integers(8, 60), FOLDS, SEEDS)
def test_every_row_is_scored_where_folds_are_not_cut_by_time(
    by: str, n: int, points: int, folds: int, seed: int
) -> None:
    found, _, _ = made(by, n, points, folds, seed)
    assert sorted(np.concatenate([fold.score for fold in found])) == list(range(n))


@given(BY, st.integers(40, 120), st.integers(8, 60), FOLDS, SEEDS)
def test_no_fold_scores_a_row_that_it_was_fitted_on(by: str, n: int, points: int, folds: int, seed: int) -> None:
    for fold in made(by, n, points, folds, seed)[0]:
        assert not set(fold.fit) & set(fold.score)


@given(st.integers(40, 200), st.integers(8, 60), FOLDS, SEEDS)
def test_by_time_a_fold_is_fitted_on_what_came_before_and_no_point_is_cut(
    n: int, points: int, folds: int, seed: int
) -> None:
    found, _, key = made("time", n, points, folds, seed)
    for fold in found:
        assert key[fold.fit].max() < key[fold.score].min()


@given(st.integers(40, 200), st.integers(8, 60), FOLDS, SEEDS)
def test_by_time_a_fold_learns_from_all_that_came_before(n: int, points: int, folds: int, seed: int) -> None:
    found, _, key = made("time", n, points, folds, seed)
    for fold in found:
        assert len(fold.fit) == (key < key[fold.score].min()).sum()


@given(st.integers(40, 200), st.integers(20, 60), FOLDS, SEEDS)
def test_by_time_the_latest_rows_are_scored(n: int, points: int, folds: int, seed: int) -> None:
    found, _, key = made("time", n, points, folds, seed)
    assert key[found[-1].score].max() == key.max()


def test_dates_are_cut_as_numbers_are() -> None:
    y, key = rows(100, 40, 0)
    days = np.datetime64("2020-01-01") + key
    for a, b in zip(cut(y, key, by="time", folds=4, seed=0), cut(y, days, by="time", folds=4, seed=0), strict=True):
        assert np.array_equal(a.fit, b.fit) and np.array_equal(a.score, b.score)


@given(st.integers(40, 200), st.integers(8, 60), FOLDS, SEEDS)
def test_no_group_is_on_both_sides_of_a_fold(n: int, points: int, folds: int, seed: int) -> None:
    found, _, key = made("group", n, points, folds, seed)
    for fold in found:
        assert not set(key[fold.fit]) & set(key[fold.score])


@given(st.integers(60, 200), st.integers(2, 4), FOLDS, SEEDS)
def test_at_random_each_fold_has_its_share_of_each_class(n: int, classes: int, folds: int, seed: int) -> None:
    y, _ = rows(n, 2, seed, classes)
    for fold in cut(y, None, by="random", folds=folds, seed=seed):
        counts = np.bincount(y[fold.score], minlength=classes)
        assert np.all(np.abs(counts - np.bincount(y, minlength=classes) / folds) <= 1)


@given(BY, SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_cuts_the_same_folds(by: str, seed: int) -> None:
    first, again = made(by, 100, 40, 4, seed)[0], made(by, 100, 40, 4, seed)[0]
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.fit, b.fit) and np.array_equal(a.score, b.score)


def test_another_seed_cuts_other_folds() -> None:
    y, _ = rows(100, 2, 0)
    first, other = (cut(y, None, by="random", folds=4, seed=seed)[0].score for seed in (0, 1))
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("by", "what"), [("group", "groups"), ("time", "points in time")])
def test_too_few_groups_or_points_in_time_are_told(by: str, what: str) -> None:
    y, key = rows(100, 3, 0)
    with pytest.raises(UserError, match=rf"search\.folds: 3 {what} cannot be cut into 5 folds"):
        cut(y, key, by=by, folds=5, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["random", "group"])
def test_classes_with_fewer_rows_than_folds_are_told(by: str) -> None:
    y = np.array([0, 1] * 3)
    with pytest.raises(UserError, match=rf"^search\.folds: 6 rows cannot be cut by {by}: "):
        cut(y, np.arange(6), by=by, folds=5, seed=0)  # type: ignore[arg-type]


def test_a_fold_of_one_class_is_told_with_its_number() -> None:
    y = np.array([0, 1] * 40 + [1] * 20)
    with pytest.raises(UserError, match="fold 4 of 5, cut by time, would be scored on 10 rows of one class"):
        cut(y, np.arange(100), by="time", folds=5, seed=0)
