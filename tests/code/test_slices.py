"""Slices: the parts of the rows that are looked at by themselves."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.errors import UserError
from tabular.evaluation import slices
from tabular.evaluation.bootstrap import interval, resampled
from tabular.metrics.classification import as_predictions, classification_metrics

VALUES = st.one_of(st.none(), st.sampled_from(["a", "b", "c"])), st.one_of(st.none(), st.floats(-1e6, 1e6))


@given(st.lists(st.tuples(*VALUES), min_size=1, max_size=60))
@settings(deadline=None)
def test_each_row_is_in_one_slice_of_a_column(rows: list[tuple[str | None, float | None]]) -> None:
    frame = pd.DataFrame(rows, columns=["word", "number"]).astype({"number": "float64"})
    for column in frame:
        found = slices.cut(frame, [column])
        assert sorted(np.concatenate([one.rows for one in found])) == list(range(len(frame)))
        assert len({one.value for one in found}) == len(found)


def test_a_number_of_many_values_is_cut_into_quarters() -> None:
    found = slices.cut(pd.DataFrame({"age": np.arange(100.0)}), ["age"])
    assert [len(one.rows) for one in found] == [24, 25, 25, 26]
    assert found[0].name == "age = 0 to 24"


def test_a_number_of_few_values_is_cut_by_them() -> None:
    found = slices.cut(pd.DataFrame({"stars": [1.0, 2.0, 2.0, np.nan]}), ["stars"])
    assert {one.value: len(one.rows) for one in found} == {"1": 1, "2": 2, "missing": 1}


def test_a_date_is_cut_into_quarters() -> None:
    days = pd.date_range("2021-01-01", periods=40)
    found = slices.cut(pd.DataFrame({"day": days}), ["day"])
    assert len(found) == 4
    assert found[-1].value.endswith("2021-02-09")


def test_a_column_that_is_not_there_is_named_with_the_one_that_may_be_meant() -> None:
    with pytest.raises(UserError, match=r"evaluation\.slices: .* no column 'hotl', did you mean 'hotel'"):
        slices.cut(pd.DataFrame({"hotel": ["a"]}), ["hotl"])


def test_a_slices_metrics_are_those_of_its_rows_and_the_worst_comes_first() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 200)
    wrong = np.repeat([0.05, 0.4, 0.2, 0.0], [60, 60, 60, 20])
    p = np.where(generator.random(200) < wrong, 1 - y, y) * 0.8 + 0.1
    frame = pd.DataFrame({"who": np.repeat(["good", "bad", "fair", "few"], [60, 60, 60, 20])})
    answers = as_predictions(y, np.column_stack([1 - p, p]), classes=2)
    found = slices.score(slices.cut(frame, ["who"]), answers, ["accuracy", "roc_auc"], seed=0)
    assert [one.slice.value for one in found] == ["bad", "fair", "good", "few"]
    rows = found[0].slice.rows
    alone = classification_metrics(y[rows], answers.probabilities[rows], classes=[0, 1], names=["accuracy", "roc_auc"])
    assert found[0].metrics == alone
    assert found[0].interval.low < found[0].metrics["accuracy"] < found[0].interval.high
    assert slices.worst(found, "accuracy") == found[0]


def by_group(groups: int, each: int = 40) -> tuple[Any, np.ndarray]:
    """Answers of which all of a group are right, or all are wrong; and the groups."""
    group = np.repeat(np.arange(groups), each)
    y = np.arange(len(group)) % 2
    right = np.where(group % 3 == 0, 1 - y, y)
    p = 0.1 + 0.8 * right
    return as_predictions(y, np.column_stack([1 - p, p]), classes=2), group


def test_where_rows_of_a_group_are_alike_a_slices_interval_is_that_of_whole_groups() -> None:
    answers, group = by_group(12)
    frame = pd.DataFrame({"who": np.where(group < 6, "some", "others")})
    found = slices.score(slices.cut(frame, ["who"]), answers, ["accuracy"], seed=0, groups=group)
    by_rows = slices.score(slices.cut(frame, ["who"]), answers, ["accuracy"], seed=0)
    for one, narrow in zip(found, by_rows, strict=True):
        width, chance = (each.interval.high - each.interval.low for each in (one, narrow))
        assert width > 3 * chance  # 6 groups of 40 rows that are all alike: the root of 40 times as wide
        rows = one.slice.rows
        alone = resampled({"": answers.taken(rows)}, ["accuracy"], seed=0, groups=group[rows], resamples=500)
        assert one.interval == interval(alone[""]["accuracy"])


def test_a_slice_of_one_group_has_no_interval() -> None:
    answers, group = by_group(2)
    frame = pd.DataFrame({"who": group.astype(str)})
    for one in slices.score(slices.cut(frame, ["who"]), answers, ["accuracy"], seed=0, groups=group):
        assert one.slice.is_judged
        assert np.isnan([one.interval.low, one.interval.high]).all()


def test_of_many_categories_the_commonest_are_slices_and_the_others_are_one() -> None:
    ids = [f"id {number}" for number in range(200)]
    frame = pd.DataFrame({"id": [*ids, *ids[:99]], "town": ["Aix"] * 299})
    found = slices.cut(frame, ["id", "town"])
    assert {one.value: len(one.rows) for one in found if not one.is_rest} == dict.fromkeys(ids[:99], 2) | {"Aix": 299}
    (rest,) = [one for one in found if one.is_rest]
    assert (rest.name, sorted(rest.rows)) == ("id = 101 rarer values", list(range(99, 200)))
    (note,) = slices.notes(found)
    assert note.endswith("of 'id' the 99 commonest values are a slice each, the 101 rarer values one")


def test_as_many_categories_as_there_may_be_slices_are_a_slice_each() -> None:
    found = slices.cut(pd.DataFrame({"id": [f"id {n}" for n in range(slices.MOST_OF_A_COLUMN)]}), ["id"])
    assert len(found) == slices.MOST_OF_A_COLUMN
    assert slices.notes(found) == []


def test_the_interval_of_a_large_slice_is_of_some_of_its_rows_and_its_metrics_of_all() -> None:
    answers, group = by_group(60)
    frame = pd.DataFrame({"who": np.where(group < 50, "many", "few")})
    whole, some = (
        {
            one.slice.value: one
            for one in slices.score(slices.cut(frame, ["who"]), answers, ["accuracy"], seed=0, **about)
        }
        for about in ({}, {"most_rows": 400})
    )
    assert [some[name].metrics for name in whole] == [one.metrics for one in whole.values()]
    assert some["few"].interval == whole["few"].interval
    width, chance = (one["many"].interval.high - one["many"].interval.low for one in (some, whole))
    assert width > 1.5 * chance


@pytest.mark.parametrize(
    ("rows", "grouped", "said"),
    [
        (20_000, False, ""),
        (20_001, False, "those of a slice of at most 20,000 of its rows, the figures themselves of all rows"),
        (
            300_000,
            True,
            "of about 200,000 of the 300,000 rows, drawn at random, those of a slice of at most 20,000 of its "
            "rows, the figures themselves of all rows",
        ),
    ],
)
def test_it_is_said_of_which_rows_intervals_are(rows: int, grouped: bool, said: str) -> None:
    assert slices.sampled(rows, "rows", sliced=True, grouped=grouped) == said
