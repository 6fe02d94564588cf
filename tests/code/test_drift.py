"""The population stability index, the bins that it is counted in, and its picture."""

import dataclasses
import datetime as dt
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tabular.data.datasets import Column
from tabular.evaluation import drift
from tabular.evaluation.drift import Shift, by_chance, population_stability_index, tally
from tabular.plots import drift_plots
from tests.drawn import HARD_NAMES, assert_drawn, text_of

counts = arrays.arrays(np.int64, st.shared(st.integers(2, 12), key="bins"), elements=st.integers(0, 10_000))
some_counts = counts.filter(lambda drawn: drawn.sum() > 0)
NUMBER, CATEGORY = Column("x", "double", "number"), Column("x", "string", "category")


@given(some_counts, st.integers(1, 1000))
def test_equal_shares_have_index_zero_whatever_the_rows(found, times):
    assert population_stability_index(found, found * times) == pytest.approx(0, abs=1e-12)


@given(some_counts, some_counts)
def test_the_index_is_symmetric_and_not_negative(before, now):
    value = population_stability_index(before, now)
    assert value >= 0
    assert value == pytest.approx(population_stability_index(now, before), abs=1e-12)


@given(some_counts, some_counts)
def test_the_order_of_the_bins_does_not_matter(before, now):
    turned = population_stability_index(before[::-1], now[::-1])
    assert turned == pytest.approx(population_stability_index(before, now), abs=1e-12)


@given(st.integers(10, 90), st.lists(st.integers(0, 90), min_size=2, max_size=8, unique=True))
def test_the_index_grows_the_further_the_rows_move(share, moves):
    before = np.array([1000 * share, 100_000 - 1000 * share])
    further = sorted({min(move, share) for move in moves})
    found = [population_stability_index(before, before + 1000 * move * np.array([-1, 1])) for move in further]
    assert found == sorted(found)
    assert len(set(found)) == len(found)


def test_the_index_is_that_of_the_formula():
    assert population_stability_index(np.array([50, 50]), np.array([100, 300])) == pytest.approx(0.25 * np.log(3))


def test_an_empty_bin_has_a_great_share_of_the_index_and_no_infinite_one():
    assert 4 < population_stability_index(np.array([0, 500, 500]), np.array([500, 500, 0])) < 10


def test_without_rows_there_is_no_index():
    assert np.isnan(population_stability_index(np.array([0, 0]), np.array([1, 2])))


@pytest.mark.parametrize(("before", "now"), [(72, 500), (300, 100), (5000, 300), (20_000, 20_000)])
def test_about_one_of_twenty_samples_of_one_population_is_above_a_limit_of_95_percent(before, now):
    generator = np.random.default_rng(1)
    shares = np.array([0.5, 0.2, 0.15, 0.1, 0.03, 0.02])
    drawn = [(generator.multinomial(before, shares), generator.multinomial(now, shares)) for _ in range(400)]
    above = np.mean([population_stability_index(*pair) > by_chance(*pair, 0.95) for pair in drawn])
    assert 0.015 < above < 0.085


@pytest.mark.parametrize("now", [drift.LARGE, 100 * drift.LARGE])
@pytest.mark.parametrize(
    "shares", [np.full(12, 1 / 12), np.array([0.5, 0.4, 0.089, 0.01, 0.001]), np.array([0.997, 0.003])]
)
def test_where_samples_are_large_enough_not_to_be_drawn_the_limits_agree(shares, now, monkeypatch):
    pair = [np.random.default_rng(1).multinomial(rows, shares) for rows in (drift.LARGE, now)]
    found = by_chance(*pair, 0.999)
    monkeypatch.setattr(drift, "LARGE", np.inf)
    assert by_chance(*pair, 0.999) == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize(("before", "now"), [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([3, 0], [5, 0])])
def test_where_no_shift_can_be_chance_makes_none(before, now):
    assert by_chance(np.array(before), np.array(now), 0.99) == 0


# --- bins ------------------------------------------------------------------------------------------------------------


def batches(values, size=7, name="x"):
    """An array as batches of a few rows."""
    table = pa.table({name: values})
    return lambda: table.to_batches(max_chunksize=size)


def counted(column, values, now=None):
    """The bins of a column's values by their names, with the rows of these or of other values; none empty."""
    before = tally(batches(values), [column], len(values))
    after = drift.Tally(before.bins)
    for batch in batches(values if now is None else now)():
        after.add(batch)
    pairs = zip(before.bins["x"].names, after.counts["x"].tolist(), strict=True)
    return {name: count for name, count in pairs if count}


floats = st.floats(-1e9, 1e9, allow_nan=False) | st.sampled_from([0.0, 1.0, 2.0])


@given(st.lists(st.none() | floats, min_size=1, max_size=60), st.lists(st.none() | floats, max_size=60))
def test_every_number_is_in_one_bin(before, now):
    found = counted(NUMBER, pa.array(before, pa.float64()), pa.array(now, pa.float64()))
    assert sum(found.values()) == len(now)
    assert found.get("missing", 0) == now.count(None)


@given(st.lists(st.none() | floats, min_size=1, max_size=60))
def test_no_number_is_outside_of_what_it_was_among(values):
    found = counted(NUMBER, pa.array(values, pa.float64()))
    assert not [name for name in found if name.startswith("below") or (name.startswith("above") and " to " not in name)]


def test_numbers_are_cut_between_their_deciles():
    found = counted(NUMBER, pa.array(np.arange(1, 1001, dtype=float)))
    assert list(found.values()) == [100] * 10
    assert list(found)[:2] == ["1 to 100", "above 100 to 200"]


def test_a_number_that_most_rows_have_is_a_bin_of_its_own():
    found = counted(NUMBER, pa.array([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert found == {"0": 95, "above 0 to 5": 5}


def test_numbers_beyond_all_that_there_were_are_bins_of_their_own():
    found = counted(NUMBER, pa.array([5.0] * 50), pa.array([4.0, 5.0, 6.0, 6.0, None]))
    assert found == {"below 5": 1, "5": 1, "above 5": 2, "missing": 1}


def test_a_column_without_values_can_be_compared():
    found = counted(NUMBER, pa.array([None, None], pa.float64()), pa.array([1.0, None]))
    assert found == {"any": 1, "missing": 1}
    assert counted(CATEGORY, pa.array([None], pa.string()), pa.array(["a", None])) == {"(new)": 1, "missing": 1}


def test_dates_are_cut_as_numbers_and_named_as_dates():
    days = pa.array([dt.datetime(2021, 1, 1) + dt.timedelta(days=day) for day in range(10)], pa.timestamp("us"))
    found = counted(Column("x", "datetime", "number"), days)
    assert list(found)[:2] == ["2021-01-01", "above 2021-01-01 to 2021-01-02"]


def test_common_categories_have_names_and_rare_and_new_ones_a_bin_each():
    before = pa.array(["a"] * 600 + ["b"] * 395 + ["c"] * 3 + ["d", None])
    found = counted(CATEGORY, before, pa.array(["a", "c", "d", "d", "new", "newer", None]))
    assert found == {"a": 1, "(rare)": 3, "(new)": 2, "missing": 1}


def test_codes_and_truths_are_categories():
    codes = counted(Column("x", "double", "category"), pa.array([3.0, 14.0, 3.0]), pa.array([3.0, 4.0]))
    assert codes == {"3.0": 1, "(new)": 1}
    truths = counted(Column("x", "boolean", "number"), pa.array([True, False, None]), pa.array([True, True, None]))
    assert truths == {"True": 2, "missing": 1}


def test_of_more_values_than_are_held_rare_and_new_ones_are_one_bin():
    before = pa.array(["common"] * 1000 + [f"v{number}" for number in range(drift.MOST_VALUES + 10)])
    held = tally(batches(before, 5000), [CATEGORY], len(before)).bins["x"]
    assert not held.is_whole
    assert held.count(pa.array(["common", "v1", "another", None])).tolist() == [1, 2, 0, 1]


def test_deciles_of_a_large_table_are_of_a_sample_and_its_rows_are_all_counted(monkeypatch):
    monkeypatch.setattr(drift, "MOST_SAMPLED", 2000)
    values = np.random.default_rng(0).normal(size=50_000)
    found = tally(batches(pa.array(values), 1000), [NUMBER], len(values))
    assert found.counts["x"].sum() == len(values)
    inside = found.counts["x"][1:-2] / len(values)
    assert inside == pytest.approx(np.full(10, 0.1), abs=0.03)


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "towns"])
def test_a_column_with_a_value_of_its_own_in_each_row_is_said_to_be_like_an_id(ids):
    before, later = ([f"c{row if ids else row % 400}" for row in rows] for rows in (range(1000), range(400, 900)))
    found = tally(batches(pa.array(before), 100), [CATEGORY], 1000)
    now = drift.Tally(found.bins)
    now.add(pa.record_batch({"x": pa.array([f"{value}!" for value in later])}))
    (shift,) = drift.shifts(found, now, 1)
    assert shift.verdict == "much"
    assert ("as an id has, which always moves" in shift.said()) == ids
    assert shift.said().startswith(f"PSI {shift.psi:.3f}, the limit is 0.25; ")


@pytest.mark.parametrize(
    ("name", "values", "is_id"),
    [
        ("x", np.arange(1000.0), True),
        ("x", np.random.default_rng(0).permutation(1000) + 7.0, True),
        ("customer_id", np.random.default_rng(0).permutation(1000) * 1013.0, True),
        ("x", np.random.default_rng(0).permutation(1000) * 1013.0, False),
        ("x", np.random.default_rng(0).integers(0, 1000, 1000).astype(float), False),
        ("x", np.random.default_rng(0).normal(size=1000), False),
    ],
    ids=["growing", "from 7 to 1006", "called an id", "amounts", "a number that comes again", "fractions"],
)
def test_numbers_that_name_the_rows_are_said_to_be_like_an_id(name, values, is_id):
    found = tally(batches(values, 100, name), [Column(name, "double", "number")], 1000)
    now = drift.Tally(found.bins)
    now.add(pa.record_batch({name: values + 1e7}))
    (shift,) = drift.shifts(found, now, 1)
    assert shift.verdict == "much"
    assert ("as an id has, which always moves" in shift.said()) == is_id


def test_what_has_moved_much_is_told_with_what_is_like_an_id_last():
    ids = dataclasses.replace(one("id", [5000, 5000], [10, 9990]), names_rows=True)
    found = [ids, one("town", [5000, 5000], [1000, 9000]), one("amount", [5000, 5000], [3200, 6800])]
    assert [shift.column for shift in drift.much(found)] == ["town", "id"]


# --- what is told of it ----------------------------------------------------------------------------------------------


def one(name, before, now, confidence=0.99):
    before, now = np.array(before), np.array(now)
    bins = tuple(f"bin {place}" for place in range(len(before)))
    return Shift(name, population_stability_index(before, now), confidence, bins, before, now)


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        ([5000, 5000], [5000, 5100], "none"),
        ([5000, 5000], [3200, 6800], "some"),
        ([5000, 5000], [1000, 9000], "much"),
        ([50, 50], [2, 8], "as by chance"),
        ([7] * 10, [4] * 6 + [12] * 4, "as by chance"),
    ],
)
def test_a_verdict_goes_by_the_usual_marks_and_not_by_what_chance_does(before, now, verdict):
    assert one("x", before, now).verdict == verdict


def test_a_shift_says_where_most_rows_went():
    assert one("x", [50, 50, 0], [50, 25, 25]).moved() in ("'bin 1' 50.0% -> 25.0%", "'bin 2' 0.0% -> 25.0%")


def test_shifts_are_told_the_greatest_first():
    columns = [Column(name, "double", "number") for name in ("still", "moved")]
    table = pa.table({"still": np.arange(100.0), "moved": np.arange(100.0)})
    before = tally(table.to_batches, columns, 100)
    now = drift.Tally(before.bins)
    now.add(pa.record_batch({"still": np.arange(100.0), "moved": np.arange(100.0) * 2}))
    assert [found.column for found in drift.shifts(before, now, 2)] == ["moved", "still"]


SHARES = np.array([0.5, 0.2, 0.15, 0.1, 0.03, 0.02])


def told(before, now, columns, seed, *, apart=0.0):
    """The shifts of a table of numbers, and of categories as every other column; the numbers are so far apart."""
    generator = np.random.default_rng(seed)
    asked = [NUMBER if place % 2 == 0 else CATEGORY for place in range(columns)]
    asked = [dataclasses.replace(column, name=f"column {place}") for place, column in enumerate(asked)]

    def made(rows, move):
        return pa.record_batch(
            {
                column.name: generator.normal(move, 1, rows)
                if column.kind == "number"
                else generator.choice(list("abcdef"), rows, p=SHARES[::-1] if move else SHARES)
                for column in asked
            }
        )

    reference, today = made(before, 0), made(now, apart)
    bins = tally(lambda: [reference], asked, before)
    counted = drift.Tally(bins.bins)
    counted.add(today)
    return drift.shifts(bins, counted, columns)


def is_told(shift):
    return shift.verdict in ("some", "much")


@pytest.mark.slow
@pytest.mark.parametrize(  # the long one: these sizes with four columns, and one column of other sizes, stand beside it
    ("before", "now", "columns", "tables"),
    [(72, 500, 1, 200), pytest.param(300, 100, 1, 200, marks=pytest.mark.long), (300, 100, 4, 50)],
)
def test_of_small_tables_like_the_reference_hardly_one_is_said_to_have_moved(before, now, columns, tables):
    moved = [any(map(is_told, told(before, now, columns, seed))) for seed in range(tables)]
    assert np.mean(moved) <= 0.03


@pytest.mark.parametrize(("before", "now"), [(72, 500), (300, 100), (72, 72)])
def test_a_column_that_has_moved_is_told_in_small_tables_too(before, now):
    found = [told(before, now, 4, seed, apart=1.5) for seed in range(5)]
    assert all(is_told(shift) for shifts in found for shift in shifts)


def test_of_many_columns_each_has_to_move_further_than_of_one():
    (alone,), few = told(72, 72, 1, 0), told(72, 72, 20, 0)
    assert min(shift.by_chance for shift in few if shift.column == "column 0") > 1.2 * alone.by_chance


@pytest.fixture
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("every_warning_is_an_error")
@pytest.mark.parametrize("columns", [0, 1, 5, 200])
def test_shifts_of_any_number_of_columns_are_drawn(columns, tmp_path):
    names = [HARD_NAMES[place] if place < len(HARD_NAMES) else f"column {place}" for place in range(columns)]
    inputs = [one(name, [5000, 5000], [5000 - 20 * place, 5000 + 20 * place]) for place, name in enumerate(names)]
    scores = [one("probability_1", [100, 0, 0], [0, 0, 5])] if columns else []
    figure = drift_plots.population_stability(inputs[::-1], scores, title="a $shift$")
    assert_drawn(figure, tmp_path)
    words = text_of(figure)
    assert ("some: 0.1" in words and "much: 0.25" in words) == bool(columns)
