"""Errors: the words that they share are one line, whatever they are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular.errors import first_line, listed, nearest


@given(st.text(max_size=600))
def test_the_first_line_of_any_error_is_one_short_line_with_words_in_it(text: str) -> None:
    line = first_line(ValueError(text))
    assert line.strip()
    assert len(line.splitlines()) == 1
    assert len(line) <= 300


@pytest.mark.parametrize("text", ["", "\n", " \n\t "])
def test_an_error_that_says_nothing_is_called_by_its_type(text: str) -> None:
    assert first_line(KeyboardInterrupt(text)) == "KeyboardInterrupt"


def test_the_first_line_with_words_is_taken() -> None:
    assert first_line(ValueError("\n  no such thing  \nmore")) == "no such thing"


def test_a_near_name_is_offered() -> None:
    assert nearest("chrun", ["age", "churn"]) == ", did you mean 'churn'?"


def test_no_name_is_offered_where_none_is_near() -> None:
    assert nearest("xyz", ["age", "churn"]) == ""


def test_a_long_list_of_names_is_cut() -> None:
    assert listed(["a", "b", "c"], most=2) == "'a', 'b' and 1 more"
