"""Whether two results are the same: bit by bit, and in words where they are not."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular.evaluation import equality

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), plain, max_size=4))
def test_what_is_the_same_has_no_difference(values):
    assert equality.differences(equality.leaves(values), equality.leaves(values)) == []


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_one_bit_away_is_another(number):
    assert equality.differences({"a": number}, {"a": math.nextafter(number, math.inf)})


@pytest.mark.parametrize(("then", "now"), [(0.0, -0.0), (1, 1.0), (True, 1), ("1", 1), (None, "none")])
def test_what_only_looks_the_same_is_different(then, now):
    assert equality.differences({"a": then}, {"a": now}) == [f"a: {then} then, {now} now"]


def test_what_only_one_has_is_a_difference():
    assert equality.differences({"a": 1}, {"b": 1}) == ["a: 1 then, none now", "b: none then, 1 now"]


def test_nan_is_the_same_as_nan_in_a_list_too():
    assert equality.differences(equality.leaves({"a": [1.0, math.nan]}), equality.leaves({"a": [1.0, math.nan]})) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (pd.DataFrame({"b": [1.0, 2.0]}), "columns: a then, b now"),
        (pd.DataFrame({"a": [1.0]}), "rows: 2 then, 1 now"),
        (pd.DataFrame({"a": [1, 2]}), "a: float64 then, int64 now"),
        (pd.DataFrame({"a": [1.0, 2.5]}), "a: 1 of 2 rows, first row 1: 2.0 then, 2.5 now"),
    ],
)
def test_a_table_that_differs_is_told_and_where(now, said):
    assert equality.frames(pd.DataFrame({"a": [1.0, 2.0]}), now) == [said]
