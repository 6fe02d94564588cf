"""A sample of the rows to fit on: of each class, over the whole time, whole groups; and of none where all are asked."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.model.dataset import DataSet
from tabular.data.samples import drawn
from tabular.problem import parse

N = 10_000


def table() -> tuple[np.ndarray, np.ndarray]:
    """Class codes, of which the last is rare, and times without an order."""
    draw = np.random.default_rng(1)
    y = draw.choice(3, N, p=[0.7, 0.2995, 0.0005])
    return y, draw.permutation(N).astype(float)


def test_all_rows_are_given_back_as_they_are_where_no_more_are_there() -> None:
    among = np.array([5, 3, 9])
    assert drawn(among, np.zeros(10, int), None, by="random", most=3, seed=0) is among


def test_each_class_has_its_share_and_a_rare_one_a_row() -> None:
    y, _ = table()
    sample = drawn(np.arange(N), y, None, by="random", most=1000, seed=0)
    assert len(np.unique(sample)) == 1000
    expected = 1000 * np.bincount(y) / N
    np.testing.assert_allclose(np.bincount(y[sample]), np.maximum(1, expected), atol=1)


def test_numbers_are_drawn_over_their_whole_range() -> None:
    y = np.random.default_rng(1).lognormal(sigma=2, size=N)
    sample = drawn(np.arange(N), y, None, by="random", most=1000, seed=0)
    places = np.argsort(np.argsort(y))[sample]
    assert (np.bincount(places // 1000) == 100).all()


def test_by_time_the_sample_is_drawn_over_the_whole_time() -> None:
    y, times = table()
    sample = drawn(np.arange(N), y, times, by="time", most=1000, seed=0)
    tenths = np.bincount((times[sample] // 1000).astype(int))
    assert len(sample) == 1000
    np.testing.assert_allclose(tenths, 100, atol=15)
    for code in (0, 1):
        of_class = times[sample][y[sample] == code]
        assert np.ptp(of_class) > 0.98 * N


def test_by_group_whole_groups_are_drawn() -> None:
    groups = np.random.default_rng(1).integers(0, 50, N)
    sample = drawn(np.arange(N), np.zeros(N, int), groups, by="group", most=1000, seed=0)
    assert 700 < len(sample) <= 1000
    assert np.array_equal(sample, np.flatnonzero(np.isin(groups, groups[sample])))


@pytest.mark.parametrize("seed", range(4))
def test_a_group_of_more_rows_than_are_asked_for_is_not_drawn(seed: int) -> None:
    groups = np.repeat(np.arange(12), [900, 800, *[10] * 10])
    sample = drawn(np.arange(1_800), np.zeros(1_800, int), groups, by="group", most=100, seed=seed)
    assert np.array_equal(sample, np.arange(1_700, 1_800))


def test_of_groups_that_are_all_too_large_the_smallest_is_drawn() -> None:
    groups = np.repeat(np.arange(3), [300, 200, 400])
    sample = drawn(np.arange(900), np.zeros(900, int), groups, by="group", most=100, seed=0)
    assert np.array_equal(sample, np.arange(300, 500))


def test_another_seed_draws_other_rows_and_the_same_seed_the_same() -> None:
    y, _ = table()
    first, again, other = (drawn(np.arange(N), y, None, by="random", most=500, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(
    st.lists(st.integers(1, 400), min_size=2, max_size=40), st.integers(40, 2000), st.sampled_from(["random", "time"])
)
def test_no_more_rows_are_drawn_than_asked_and_none_twice(counts: list[int], most: int, by: str) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    sample = drawn(np.arange(len(y)), y, np.arange(len(y))[::-1], by=by, most=most, seed=3)  # type: ignore[arg-type]
    assert len(np.unique(sample)) == len(sample) == min(most, len(y))
    assert len(np.unique(y[sample])) == len(counts)


@pytest.mark.parametrize("by", ["random", "time", "group"])
def test_only_the_rows_that_are_given_are_drawn(by: str) -> None:
    y, times = table()
    among = np.flatnonzero(times < 5000)
    sample = drawn(among, y, times // 100, by=by, most=300, seed=0)  # type: ignore[arg-type]
    assert set(sample) <= set(among)


@pytest.mark.parametrize("by", ["random", "time"])
def test_each_fold_learns_from_a_sample_and_scores_all_its_rows(by: str) -> None:
    nothing: Any = None
    y, times = table()
    problem = parse("{name: p, data: {source: a.csv, target: y}, search: {folds: 4}}", "p.yaml")
    key = None if by == "random" else times
    schema: Any = SimpleNamespace(split_by=by)
    whole, sampled = (DataSet(nothing, schema, *[nothing] * 3, y, key, "", most=most) for most in (None, 1000))
    for cut in (DataSet.folds, DataSet.folds_to_choose):
        for fold, all_rows in zip(cut(sampled, problem), cut(whole, problem), strict=True):
            assert len(fold.fit) == 1000 < len(all_rows.fit)
            assert set(fold.fit) <= set(all_rows.fit)
            np.testing.assert_array_equal(fold.score, all_rows.score)
