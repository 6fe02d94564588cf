"""What columns add to answers, drawn by the values of each."""

import warnings

import numpy as np
import pytest

from tabular.plots import contribution_plots
from tests.drawn import HARD_NAMES, assert_drawn, text_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def columns(rows, seed=0):
    """Numbers, some of them missing, and categories; and what each adds, the strongest first."""
    generator = np.random.default_rng(seed)
    number = generator.normal(size=rows)
    number[::5] = np.nan
    town = np.array([None if row % 7 == 0 else f"town {row % 12}" for row in range(rows)], dtype=object)
    values = {"number": number, "town": town, "empty": np.full(rows, np.nan), "$x_1": np.arange(rows, dtype=float)}
    added = {name: generator.normal(size=rows) / (place + 1) for place, name in enumerate(values)}
    return values, {**added, "made of several": generator.normal(size=rows)}


def draw(values, added, title="What is added"):
    return contribution_plots.contributions_by_value(values, added, scale="log odds of yes", title=title)


@pytest.mark.parametrize("rows", [1, 500])
def test_each_column_whose_values_are_known_has_a_panel(rows, tmp_path):
    values, added = columns(rows)
    figure = draw(values, added)
    assert_drawn(figure, tmp_path)
    said = text_of(figure)
    assert [panel.get_title(loc="left") for panel in figure.axes if panel.axison] == [
        "number",
        "town",
        "empty",
        r"\$x_1",
    ]
    assert "log odds of yes" in said
    assert "(missing)" in said
    assert ("and 5 more" in said) == (rows == 500)
    assert len({panel.get_xlim() for panel in figure.axes if panel.axison}) == 1, "columns are compared"


def test_each_row_is_a_point_at_what_is_added():
    values, added = columns(200)
    number, town = draw(values, added).axes[:2]
    points = np.concatenate([np.column_stack(line.get_data()) for line in number.lines[1:]])
    assert sorted(points[:, 0]) == pytest.approx(sorted(added["number"]))
    known = ~np.isnan(values["number"])
    assert {tuple(point) for point in points} >= set(zip(added["number"][known], values["number"][known], strict=True))
    first = np.array([str(value) for value in values["town"]])
    label = town.get_yticklabels()[1].get_text()
    x, y = town.lines[2].get_data()
    assert sorted(x) == pytest.approx(sorted(added["town"][first == label]))
    assert {*y} == {1}


def test_nothing_added_is_said(tmp_path):
    values, added = columns(20)
    figure = draw(values, {name: np.zeros(20) for name in added})
    assert "No column adds anything" in text_of(figure)
    assert_drawn(figure, tmp_path)


@pytest.mark.parametrize("name", HARD_NAMES)
def test_hard_names_are_drawn(name, tmp_path):
    values, added = columns(20)
    assert_drawn(draw({name: values["town"]}, {name: added["town"]}), tmp_path)
