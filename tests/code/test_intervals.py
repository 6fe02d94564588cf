"""Prediction intervals: they hold the share of rows that they say, and are no wider than they need to be."""

import json
from itertools import pairwise
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tabular.errors import UserError
from tabular.model import intervals
from tabular.model.intervals import Intervals, coverage_of, learn

Array = np.ndarray
few = settings(max_examples=10)
KINDS = ("even", "uneven", "skewed")
PLAIN = "symmetric"


def scored(kind: str, rows: int, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """True values, predictions that are right but for the errors, columns and folds of rows."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(rows, 3))
    errors = {
        "even": generator.normal(size=rows),
        "uneven": np.exp(1.2 * X[:, 0]) * generator.normal(size=rows),
        "skewed": generator.exponential(size=rows) - 1,
        "skewed downwards": 1 - generator.exponential(size=rows),
    }
    predicted = 10 * X[:, 1]
    return predicted + errors[kind], predicted, X, np.arange(rows) % 5


def learnt(table: tuple[Array, Array, Array, Array], **about: Any) -> Intervals:
    return learn(*table, **{"seed": 0, "threads": 1, **about})


def held(found: Intervals, table: tuple[Array, Array, Array, Array], coverage: float) -> tuple[float, float]:
    y, predicted, X, _ = table
    return coverage_of(y, *found.ends(predicted, found.scales(X, threads=1), coverage))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_other_rows_lie_in_them_as_often_as_they_say(kind: str, level: float) -> None:
    covered = held(learnt(scored(kind, 2000)), scored(kind, 20_000, seed=1), level)[0]
    assert covered == pytest.approx(level, abs=0.025)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "tables"), [(40, 100), (200, 15)])
@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_give_intervals_that_hold_what_they_say_on_average(kind: str, rows: int, tables: int) -> None:
    found = [held(learnt(scored(kind, rows, seed)), scored(kind, 500, seed + 1000), 0.9)[0] for seed in range(tables)]
    assert 0.88 < np.mean(found) < 0.93


def test_errors_that_a_column_tells_the_size_of_are_scaled_and_the_intervals_are_narrower() -> None:
    found = learnt(scored("uneven", 1000))
    assert found.scale is not None
    assert found.widths[found.form] < 0.8 * found.widths[PLAIN]
    y, predicted, X, _ = others = scored("uneven", 5000, seed=1)
    assert held(found, others, 0.9)[1] < 0.8 * found.widths[PLAIN]
    low, high = found.ends(predicted, found.scales(X, threads=1), 0.9)
    is_restless = X[:, 0] > np.median(X[:, 0])
    half = found.widths[PLAIN] / 2
    plain = coverage_of(y[is_restless], predicted[is_restless] - half, predicted[is_restless] + half)[0]
    scaled = coverage_of(y[is_restless], low[is_restless], high[is_restless])[0]
    assert plain + 0.03 < scaled < 0.92


@pytest.mark.parametrize("seed", range(5))
def test_errors_of_one_size_have_the_plain_intervals(seed: int) -> None:
    y, predicted, *_ = table = scored("even", 600, seed)
    found = learnt(table)
    assert (found.form, found.scale) == (PLAIN, None)
    absolute = np.sort(np.abs(y - predicted))
    assert found.high[found.coverage.index(0.9)] == absolute[int(np.ceil(601 * 0.9)) - 1]
    assert found.low == tuple(-offset for offset in found.high)


@pytest.mark.parametrize(("kind", "share"), [("skewed", "10%"), ("skewed downwards", "90%")])
def test_skewed_errors_have_the_narrower_side_where_they_are_dense(kind: str, share: str) -> None:
    found = learnt(scored(kind, 2000))
    assert found.form == f"two-sided, {share} of the misses below"
    assert found.widths[found.form] < 0.95 * found.widths[PLAIN]


def test_a_form_is_left_for_a_notably_narrower_one_alone() -> None:
    plain, scaled = intervals._Form(None), intervals._Form(None, is_scaled=True)
    sided, both = intervals._Form(0.5), intervals._Form(0.1, is_scaled=True)
    asked = {
        plain: {plain: 1.0, scaled: 0.97, sided: 0.99},
        scaled: {plain: 1.0, scaled: 0.9, sided: 1.0, both: 0.88},
        both: {plain: 1.0, scaled: 0.9, sided: 1.0, both: 0.85},
        sided: {plain: 1.0, sided: 0.9, both: 0.89},
    }
    assert [intervals._chosen(widths, 1000) for widths in asked.values()] == list(asked)
    assert intervals._chosen({plain: 1.0, scaled: 0.97}, 1_000_000) == scaled  # of so many rows it is no chance


@few
@given(
    kind=st.sampled_from([*KINDS, "skewed downwards"]),
    rows=st.integers(20, 300),
    seed=st.integers(0, 99),
    level=st.floats(0.05, 0.9),
)
def test_an_interval_of_more_coverage_holds_that_of_less_and_each_its_prediction(
    kind: str, rows: int, seed: int, level: float
) -> None:
    y, predicted, X, _ = table = scored(kind, rows, seed)
    found = learnt(table, level=level)
    assert level in found.coverage
    assert list(found.coverage) == sorted(set(found.coverage))
    scales = found.scales(X, threads=1)
    ends = [found.ends(predicted, scales, coverage) for coverage in np.linspace(0.001, found.coverage[-1], 50)]
    assert all((low <= predicted).all() and (predicted <= high).all() for low, high in ends)
    for (low, high), (lower, higher) in pairwise(ends):
        assert (lower <= low).all()
        assert (high <= higher).all()
    assert coverage_of(y, *ends[-1])[0] >= found.coverage[-1] - 2 / rows


@few
@given(seed=st.integers(0, 99), rows=st.integers(20, 150), kind=st.sampled_from(KINDS))
def test_the_order_of_rows_of_one_scale_says_nothing(seed: int, rows: int, kind: str) -> None:
    table = scored(kind, rows, seed)
    order = np.random.default_rng(seed).permutation(rows)
    mixed = tuple(part[order] for part in table)
    weights = np.random.default_rng(seed).uniform(0.5, 2, rows)
    for one, other in ((None, None), (weights, weights[order])):
        assert learnt(table, weights=one).high == learnt(mixed, weights=other).high  # type: ignore[arg-type]


@few
@given(seed=st.integers(0, 99), kind=st.sampled_from(KINDS))
def test_weights_of_whole_numbers_are_repeated_rows_but_for_what_few_rows_are_worth(seed: int, kind: str) -> None:
    table = scored(kind, 300, seed)
    times = np.random.default_rng(seed).integers(0, 4, 300)
    repeated = tuple(np.repeat(part, times, axis=0) for part in table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_scale_model", lambda *_, **__: None)  # its leaves go by rows, not by weights
        weighted = learnt(table, weights=times.astype(float))
        worth = float(times.sum()) ** 2 / float((times**2).sum())
        patch.setattr(intervals._Rows, "worth", worth)
        told = learnt(repeated)  # type: ignore[arg-type]
    assert (weighted.coverage, weighted.form) == (told.coverage, told.form)
    assert (weighted.low, weighted.high) == (told.low, told.high)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [1.0, 0.3, 1000.0])
def test_equal_weights_are_none(kind: str, weight: float) -> None:
    table = scored(kind, 400)
    weighted, without = learnt(table, weights=np.full(400, weight)), learnt(table)
    assert weighted.widths == pytest.approx(without.widths)
    assert {**weighted.as_dict(), "widths": {}} == {**without.as_dict(), "widths": {}}


def test_weights_cover_the_rows_that_they_stand_for() -> None:
    y, predicted, X, fold = table = scored("uneven", 4000)
    weights = np.exp(X[:, 0])  # the restless ones count more
    others = scored("uneven", 40_000, seed=1)
    worth = np.exp(others[2][:, 0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_scale_model", lambda *_, **__: None)
        weighted, without = learnt(table, weights=weights), learnt(table)
    found = [coverage_of(others[0], *one.ends(others[1], None, 0.9), worth)[0] for one in (weighted, without)]
    assert found[1] < 0.8
    assert found[0] == pytest.approx(0.9, abs=0.02)
    assert learn(y, predicted, X, fold, weights=weights, seed=0, threads=1).scale is not None


def test_a_rows_own_residual_has_no_say_in_its_scale() -> None:
    def scales(y: Array) -> Array:
        _, predicted, X, fold = table
        counts = np.ones(len(y))
        rows = intervals._Rows(y - predicted, counts, counts)
        model = intervals._scale_model(rows, X, np.arange(len(y)), fold, seed=0, threads=1)
        assert model is not None
        return model.rows().scales

    table = scored("uneven", 600)
    y, predicted, _, fold = table
    above = np.abs(y - predicted) > np.median(np.abs(y - predicted)) + 0.01
    # the median stays, as the unit of all scales
    changed = np.where((fold == 2) & above, predicted + 50 * (y - predicted), y)
    before, after = scales(y), scales(changed)
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert (before[fold != 2] != after[fold != 2]).any()


@pytest.mark.parametrize("as_matrix", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix])
def test_the_number_of_threads_and_the_format_of_the_matrix_change_nothing(as_matrix: Any) -> None:
    y, predicted, X, fold = scored("uneven", 3000)
    first = learn(y, predicted, X, fold, seed=3, threads=1)
    assert first.scale is not None
    assert learn(y, predicted, as_matrix(X), fold, seed=3, threads=2) == first
    one, two = (first.scales(as_matrix(X).tocsr() if hasattr(as_matrix(X), "tocsr") else X, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_values_give_the_same_intervals_without_this_repository(kind: str) -> None:
    _, predicted, X, _ = table = scored(kind, 500)
    found = learnt(table)
    told = json.loads(json.dumps(found.as_dict()))
    assert Intervals.from_dict(told) == found
    scale: Any = 1.0
    if told["scale"] is not None:
        scale = np.maximum(told["floor"], lightgbm.Booster(model_str=told["scale"]).predict(X))
    low, high = found.ends(predicted, found.scales(X, threads=1), 0.85)
    np.testing.assert_array_equal(low, predicted + scale * np.interp(0.85, told["coverage"], told["low"]))
    np.testing.assert_array_equal(high, predicted + scale * np.interp(0.85, told["coverage"], told["high"]))


def test_more_coverage_than_so_few_rows_allow_is_refused_with_the_most_that_they_do() -> None:
    found = learnt(scored("even", 50))
    assert found.coverage[-1] == 0.98
    for asked in (0.99, 1.0, 0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match=r"^coverage: .*at most 0\.98, [^\n]*$"):
            found.ends(np.zeros(1), None, asked)
    assert np.isfinite(found.ends(np.zeros(1), None, 0.98)).all()


def test_a_level_that_so_few_rows_do_not_allow_is_refused_with_one_that_they_do() -> None:
    table = scored("even", 20)
    with pytest.raises(UserError, match=r"^evaluation\.coverage: 0\.99 is too much for 20 rows .*at most 0\.952$"):
        learnt(table, level=0.99)
    assert learnt(table, level=0.952).coverage[-1] == 0.952


def test_a_prediction_that_is_not_finite_is_refused() -> None:
    y, predicted, X, fold = scored("even", 50)
    predicted[7] = np.inf
    with pytest.raises(UserError, match=r"evaluation\.coverage: 1 predictions are not finite"):
        learn(y, predicted, X, fold, seed=0, threads=1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("right", [1.0, 0.7, 0.3])
def test_targets_that_are_mostly_predicted_rightly_have_intervals_too(right: float) -> None:
    y, predicted, X, fold = scored("uneven", 800)
    y = np.where(np.random.default_rng(0).random(800) < right, predicted, y)
    found = learn(y, predicted, X, fold, seed=0, threads=1)
    low, high = found.ends(predicted, found.scales(X, threads=1), 0.9)
    assert np.isfinite(low).all()
    assert coverage_of(y, low, high)[0] >= 0.9 - 0.01
    assert (right == 1.0) == (coverage_of(y, low, high)[1] == 0)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_unit_of_the_target_changes_the_unit_of_the_intervals_alone(unit: float) -> None:
    y, predicted, X, fold = scored("uneven", 600)
    found = learn(y * unit, predicted * unit, X, fold, seed=0, threads=1)
    usual = learn(y, predicted, X, fold, seed=0, threads=1)
    assert found.form == usual.form
    np.testing.assert_allclose(found.high, np.multiply(usual.high, unit), rtol=1e-6)


def test_outliers_do_not_decide_the_scale() -> None:
    y, predicted, X, fold = scored("uneven", 1000)
    y[:5] += 1e9
    found = learn(y, predicted, X, fold, seed=0, threads=1)
    assert found.scale is not None
    assert held(found, scored("uneven", 5000, seed=1), 0.9)[0] == pytest.approx(0.91, abs=0.025)


def test_what_intervals_hold_is_a_share_and_a_mean_width() -> None:
    y, low, high = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.5, 2.0, 0.0]), np.array([1.0, 3.5, 4.0, 3.0])
    assert coverage_of(y, low, high) == (0.5, 1.5)
    assert coverage_of(y, low, high, np.array([0.0, 0.0, 1.0, 3.0])) == (0.25, 2.75)
