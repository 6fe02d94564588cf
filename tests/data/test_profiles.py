"""Profiles: what is counted batch by batch is what the column holds, and what looks wrong is hinted at."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.data import counts
from tabular.data.datasets import Column, Schema
from tabular.data.profiles import Profile


def profile(*batches: list[Any]) -> Profile:
    """A profile of one column, `x`, that comes in batches."""
    kind = pa.array([value for batch in batches for value in batch]).type
    dtype = "string" if kind == pa.string() else "double"
    made = Profile(Schema((Column("x", dtype, "number"),), "y", ("a", "b"), 1, "random"))  # type: ignore[arg-type]
    for batch in batches:
        made.add(pa.record_batch([pa.array(batch, kind)], names=["x"]))
    return made


def row(*batches: list[Any]) -> dict[str, Any]:
    return {name: values[0] for name, values in profile(*batches).table().items()}


def hint(*batches: list[Any]) -> str:
    """The hint at the column, or nothing."""
    (*found,) = profile(*batches).hints()
    assert len(found) <= 1
    return found[0].text if found else ""


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8), min_size=1, max_size=5))
@settings(deadline=None)
def test_texts_are_counted_over_all_batches(batches: list[list[str]]) -> None:
    counted = Counter(text for batch in batches for text in batch)
    found = row(*batches)
    assert (found["values"], found["more_values"]) == (len(counted), False)
    assert counted[found["commonest"]] == max(counted.values())
    assert found["share"] == pytest.approx(max(counted.values()) / counted.total(), abs=1e-4)


def test_past_the_most_values_the_count_is_said_to_be_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_VALUES", 3)
    found = row(["a", "b"], ["c", "d", "e"], ["f"])
    assert (found["values"], found["more_values"]) == (3, True)


def test_past_the_most_values_the_share_of_the_commonest_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_VALUES", 2)
    found = row(["a", "b"], ["c", "d", "b"], ["b", "e", "f"])
    assert (found["commonest"], found["share"]) == ("b", 0.375)


def test_texts_that_differ_in_every_row_are_hinted_at_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_VALUES", 30)
    batches = [[f"guest {place}-{row}" for row in range(20)] for place in range(4)]
    assert "'x' has another value in every row" in hint(*batches)


@pytest.mark.parametrize("again", [3, 150])
def test_texts_of_which_hardly_one_comes_again_are_taken_for_ids_and_others_are_not(again: int) -> None:
    batches = [f"guest {row}" for row in range(100)], [f"guest {row}" for row in range(100, 200)]
    assert "'x' has another value in nearly every row" in hint(*batches, [f"guest {again}"])
    assert hint(*batches, [f"guest {again + row}" for row in range(20)]) == ""


@pytest.mark.parametrize("texts", [["12", "3,5", "1,25"], ["1.250,50", "-0,5"], ["1 250,5", "7"]])
def test_numbers_with_a_decimal_comma_are_hinted_at(texts: list[str]) -> None:
    shown = next(text for text in texts if "," in text)
    assert hint(texts * 5) == f"'x' has texts such as {shown!r}: numbers? {counts.DECIMAL_POINT}"


@pytest.mark.parametrize("texts", [["1.234.567", "950"], ["12 345", "1 200"], ["1'250", "30"]])
def test_numbers_with_another_mark_between_thousands_are_hinted_at(texts: list[str]) -> None:
    assert (
        hint(texts * 5) == f"'x' has texts such as {texts[0]!r}: numbers? write them without a mark between thousands"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("31/12/2024", "1.2.24", "31-12-2024 10:30", "2024/12/31", "2024-12", "2024-12-31 3:05 PM"),
        *("Mar-2018", "Mar 3, 2018", "3 March 2018", "03-MAR-18"),
    ],
)
def test_dates_in_another_form_are_hinted_at(text: str) -> None:
    assert hint([text] * 5) == f"'x' has texts such as {text!r}: dates? write them as 2024-12-31"


@pytest.mark.parametrize(
    "texts",
    [["00123", "00124"], ["a,b", "c"], ["1,2,3", "4"], ["1.2.3", "1.2.4"], ["1/2", "3/4"], ["2018-19", "Mark 12"]],
)
def test_codes_and_lists_are_taken_neither_for_numbers_nor_for_dates(texts: list[str]) -> None:
    assert hint(texts * 5) == ""


@pytest.mark.parametrize("value", ["town", 3.0])
def test_a_column_of_one_value_is_hinted_at(value: Any) -> None:
    assert hint([value] * 5, [value] * 30) == "'x' has one value only: it says nothing"


@pytest.mark.parametrize("value", ["belted", 3.0])
def test_a_column_of_one_value_that_some_rows_lack_says_something(value: Any) -> None:
    assert hint([value] * 5, [value, None] * 15) == ""


MARKED = {
    "below 0 alone": ([-999.0, 20.0, 59.0], "'x' are -999, far from all others (20 to 59)"),
    "far above": ([9999.0, 1.0, 365.0], "'x' are 9999, far from all others (1 to 365)"),
    "far below": ([-99.0, -30.5, 40.0], "'x' are -99, far from all others (-30.5 to 40)"),
    "near others": ([999.0, 980.0, 15.0], ""),
    "near others below 0": ([-99.0, -80.0, 15.0], ""),
    "an ordinary number": ([-998.0, 20.0, 59.0], ""),
}


@pytest.mark.parametrize(("values", "says"), MARKED.values(), ids=MARKED)
def test_a_number_far_from_others_that_often_means_missing_is_hinted_at(values: list[float], says: str) -> None:
    told = hint(values[1:] * 9, [*values, None] * 9)
    assert (told.startswith(f"9 cells of {says}: if missing is meant, say data.missing: ")) if says else told == ""
    assert hint(values[1:] * 9, values, values[1:] * 900) == ""  # in one row


def test_numbers_that_are_rounded_are_hinted_at() -> None:
    assert "more than 15 digits" in hint([1.0, 2.0**60])


@pytest.mark.parametrize("values", [["a", "b"] * 15, [1.0, 2.0]])
def test_ordinary_columns_are_not_hinted_at(values: list[Any]) -> None:
    assert hint(values) == ""
