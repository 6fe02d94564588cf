"""Metrics of numbers: those of scikit-learn, of weighted rows those of the rows repeated, and the same in resamples."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.errors import UserError
from tabular.evaluation.bootstrap import draws, interval, resampled
from tabular.evaluation.gate import compare
from tabular.metrics import lookup
from tabular.metrics.classification import METRICS as OF_CLASSES
from tabular.metrics.metric import rounded
from tabular.metrics.regression import METRICS, NumberPredictions, as_predictions, metric, scorer_names, undefined

Array = np.ndarray
# Of scikit-learn's functions, that which our metric is to be; those of intervals have none.
EXPECTED: dict[str, Callable[..., float]] = {
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "median_absolute_error": sk.median_absolute_error,
    "r2": sk.r2_score,
    "mape": sk.mean_absolute_percentage_error,
    "rmsle": sk.root_mean_squared_log_error,
    "pinball_loss_0.9": partial(sk.mean_pinball_loss, alpha=0.9),
    "pinball_loss_.25": partial(sk.mean_pinball_loss, alpha=0.25),
}
NAMES = [*METRICS, "pinball_loss_0.9"]
SCORERS = {
    "neg_root_mean_squared_error": lambda *rows, **how: -sk.root_mean_squared_error(*rows, **how),
    "neg_mean_poisson_deviance": lambda *rows, **how: -sk.mean_poisson_deviance(*rows, **how),
    "explained_variance": sk.explained_variance_score,
    "d2_absolute_error_score": sk.d2_absolute_error_score,
}


@st.composite
def numbers(draw: st.DrawFn, *, least: int = 2, is_weighted: bool | None = None) -> NumberPredictions:
    """Numbers above 0 and predictions of them, with intervals; now and then with many equal errors, or with weights.

    Two rows of different numbers count at the least.
    """
    n = draw(st.integers(least, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e6]))
    if draw(st.booleans()):
        y, errors = generator.integers(1, 6, n).astype(float), generator.integers(0, 4, n).astype(float)
    else:
        y, errors = generator.lognormal(0, 1, n), generator.normal(0, 1, n) ** 2
    y[:2] = 1.0, 2.0
    predicted = y + errors
    low, high = predicted - generator.integers(0, 3, n), predicted + generator.integers(0, 3, n)
    is_weighted = draw(st.booleans()) if is_weighted is None else is_weighted
    weights = np.r_[1, 1, generator.integers(0, 4, n - 2)].astype(float) if is_weighted else None
    return as_predictions(scale * y, scale * predicted, low=scale * low, high=scale * high, weights=weights)


def repeated(found: NumberPredictions) -> NumberPredictions:
    """The same rows without weights, each as often as its weight says."""
    assert found.weights is not None
    return replace(found.taken(np.repeat(np.arange(len(found.y)), found.weights.astype(int))), weights=None)


@pytest.mark.parametrize("name", EXPECTED)
@given(found=numbers(is_weighted=False))
def test_a_metric_is_what_scikit_learn_says(name: str, found: NumberPredictions) -> None:
    expected = EXPECTED[name](found.y, found.predicted)
    assert metric(name).score(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "median_absolute_error"])
@given(found=numbers(is_weighted=True))
def test_a_metric_of_weighted_rows_is_what_scikit_learn_says(name: str, found: NumberPredictions) -> None:
    expected = EXPECTED[name](found.y, found.predicted, sample_weight=found.weights)
    assert metric(name).score(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", [*NAMES, *SCORERS])
@given(found=numbers(is_weighted=True))
def test_a_metric_of_weighted_rows_is_that_of_the_rows_repeated(name: str, found: NumberPredictions) -> None:
    once, again = metric(name).score(found), metric(name).score(repeated(found))
    assert once == pytest.approx(again, rel=1e-9, abs=1e-12)


@given(numbers(is_weighted=True), st.sampled_from([1 / 3, 0.001, 1e6]))
def test_the_scale_of_weights_changes_no_metric(found: NumberPredictions, scale: float) -> None:
    for name in NAMES:
        assert found.weights is not None
        scaled = metric(name).score(replace(found, weights=found.weights * scale))
        assert scaled == pytest.approx(metric(name).score(found), rel=1e-9, abs=1e-12)


@given(numbers(is_weighted=False))
def test_weights_of_1_change_no_metric(found: NumberPredictions) -> None:
    for name in NAMES:
        ones = metric(name).score(replace(found, weights=np.ones(len(found.y))))
        assert ones == pytest.approx(metric(name).score(found), rel=1e-12, abs=1e-15)


@given(numbers(), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(found: NumberPredictions, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(found.y))
    for name in NAMES:
        other = metric(name).score(found.taken(order))
        assert other == pytest.approx(metric(name).score(found), rel=1e-9, abs=1e-12)


@given(numbers(is_weighted=False))
def test_the_shares_inside_intervals_and_their_widths_are_counted(found: NumberPredictions) -> None:
    assert found.low is not None and found.high is not None
    inside = [low <= y <= high for low, y, high in zip(found.low, found.y, found.high, strict=True)]
    assert metric("interval_coverage").score(found) == pytest.approx(sum(inside) / len(inside))
    assert metric("interval_width").score(found) == pytest.approx(np.mean(found.high - found.low))


def test_without_intervals_their_metrics_have_no_value() -> None:
    found = as_predictions(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    assert np.isnan([metric(name).score(found) for name in ("interval_coverage", "interval_width")]).all()


@given(numbers(least=3))
def test_a_perfect_prediction_has_the_best_value_of_every_metric(found: NumberPredictions) -> None:
    perfect = replace(found, predicted=found.y, low=found.y, high=found.y)
    best = {name: float(metric.greater_is_better) for name, metric in METRICS.items()}
    assert {name: one.score(perfect) for name, one in METRICS.items()} == pytest.approx(best, abs=1e-12)


@given(st.floats(-1e9, 1e9), st.integers(1, 30))
def test_r2_of_a_truth_that_is_constant_has_no_value(number: float, rows: int) -> None:
    found = as_predictions(np.full(rows, number), np.arange(rows) + number)
    assert np.isnan(metric("r2").score(found))


@given(numbers(least=4), st.floats(0, 1e12))
def test_r2_minds_no_shift_of_all_numbers(found: NumberPredictions, shift: float) -> None:
    """Sums of squares far from 0 would lose all digits."""
    y, predicted = found.y / found.y.std(), found.predicted / found.y.std()
    moved = as_predictions(y + shift, predicted + shift, weights=found.weights)
    expected = sk.r2_score(moved.y, moved.predicted, sample_weight=found.weights)
    assert metric("r2").score(moved) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(numbers(), st.integers(0, 99))
def test_a_share_of_a_truth_that_is_0_has_no_value_and_is_told(found: NumberPredictions, row: int) -> None:
    row %= 2  # those that count
    y = found.y.copy()
    y[row] = 0
    zero = replace(found, y=y)
    assert np.isnan(metric("mape").score(zero))
    assert "the true number is 0 in 1 rows" in undefined(zero)["mape"]


@pytest.mark.parametrize("side", ["y", "predicted"])
@pytest.mark.parametrize("number", [-1.0, -2.5])
def test_a_number_without_a_logarithm_makes_rmsle_have_no_value_and_is_told(side: str, number: float) -> None:
    about = {"y": np.array([1.0, 2.0]), "predicted": np.array([1.5, 2.5])}
    about[side][0] = number
    found = as_predictions(**about)
    assert np.isnan(metric("rmsle").score(found))
    assert "has no logarithm" in undefined(found)["rmsle"]


def test_what_has_a_value_is_not_told_to_have_none() -> None:
    y = np.array([-0.5, 2.0, 0.0])
    weights = np.array([1.0, 1.0, 0.0])
    found = as_predictions(y, y, weights=weights)
    assert undefined(found) == {}


@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "rmsle", "median_absolute_error"])
def test_a_row_of_weight_0_counts_nothing_however_wrong_it_is(name: str) -> None:
    y, predicted = np.array([1.0, 2.0, 4.0, 1e9]), np.array([1.5, 2.0, 3.0, -0.5])
    found = as_predictions(y, predicted, weights=np.array([1.0, 1.0, 1.0, 0.0]))
    assert metric(name).score(found) == pytest.approx(metric(name).score(as_predictions(y[:3], predicted[:3])))


@pytest.mark.parametrize("name", ["mape", "rmsle"])
def test_a_row_of_weight_0_takes_no_value_away(name: str) -> None:
    """Etl keeps rows of weight 0 in the holdout, and what they hold must not matter."""
    y, predicted = np.array([1.0, 2.0, 0.0, -3.0]), np.array([1.5, 2.0, -2.0, -2.0])
    found = as_predictions(y, predicted, weights=np.array([1.0, 1.0, 0.0, 0.0]))
    assert metric(name).score(found) == pytest.approx(metric(name).score(as_predictions(y[:2], predicted[:2])))
    assert undefined(found) == {}
    values = resampled({"": found}, [name], seed=0, resamples=50)[""][name]
    assert np.isfinite(values).mean() > 0.5


@pytest.mark.parametrize("name", SCORERS)
@given(found=numbers())
def test_a_scorer_of_scikit_learn_goes_by_its_name(name: str, found: NumberPredictions) -> None:
    kept = found if found.weights is None else found.taken(np.flatnonzero(found.weights > 0))
    expected = SCORERS[name](kept.y, kept.predicted, sample_weight=kept.weights)
    assert metric(name).score(found) == pytest.approx(expected, rel=1e-9)
    assert metric(name).greater_is_better


def test_every_scorer_of_regressors_has_a_value_and_none_is_one_of_classes() -> None:
    y = np.random.default_rng(0).lognormal(0, 1, 30)
    found = as_predictions(y, y * 1.1)
    names = scorer_names()
    assert len(names) > 8
    assert not {*names} & {"accuracy", "roc_auc", "neg_log_loss", "neg_brier_score", "max_error"}
    for name in names:
        assert np.isfinite(metric(name).score(found)), name


def test_a_scorer_without_weights_says_what_to_take() -> None:
    found = as_predictions(np.array([1.0, 2.0]), np.array([1.5, 2.5]), weights=np.array([1.0, 2.0]))
    with pytest.raises(UserError, match="takes no weights of rows, which data") as caught:
        metric("neg_max_error").score(found)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("rsme", "rmse"), ("MAE", "mae"), ("r_2", "r2"), ("neg_mean_absolute_eror", "neg_mean_absolute_error")],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"unknown metric '{name}'.*did you mean '{meant}'") as caught:
        lookup.metric(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pinball_loss_0", "pinball_loss_1.0", "pinball_loss_1.5", "pinball_loss_0.0"])
def test_a_quantile_that_is_none_is_told(name: str) -> None:
    with pytest.raises(UserError, match="unknown metric"):
        metric(name)


@pytest.mark.parametrize("name", [*NAMES, *SCORERS])
def test_the_task_of_a_metric_of_numbers_is_known_by_its_name(name: str) -> None:
    assert lookup.task_of(name) == lookup.REGRESSION
    assert lookup.metric(name).name == name


@pytest.mark.parametrize("name", [*OF_CLASSES, "f1_macro", "neg_log_loss", "no_metric_at_all"])
def test_every_other_name_is_of_classes(name: str) -> None:
    assert lookup.task_of(name) == lookup.CLASSIFICATION


@pytest.mark.parametrize("name", NAMES)
def test_only_of_shares_held_and_explained_more_is_better(name: str) -> None:
    assert lookup.sign(name) == (1 if name in ("r2", "interval_coverage") else -1)


@given(numbers())
def test_scores_come_in_the_order_of_the_table(found: NumberPredictions) -> None:
    given_ = ["pinball_loss_0.9", *reversed(METRICS)]
    assert list(lookup.scores(found, given_)) == [*METRICS, "pinball_loss_0.9"]


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_a_value_is_shown_in_few_characters_that_tell_it(value: float) -> None:
    text = rounded(value)
    assert len(text) <= 20
    assert float(text.replace(",", "")) == pytest.approx(value, rel=1e-3, abs=1e-12 if value == 0 else 0) or (
        0.001 <= abs(value) < 1 and abs(float(text) - value) <= 0.5e-4
    )
    assert rounded(value, "+").lstrip("+") == text


FAULTY: dict[str, tuple[dict[str, list[float]], str]] = {
    "no rows": ({"y": [], "predicted": []}, "no rows to score"),
    "a prediction that is no number": ({"y": [1, 2], "predicted": [1, np.nan]}, "not finite"),
    "an infinite prediction": ({"y": [1, 2], "predicted": [1, np.inf]}, "not finite"),
    "an infinite end": ({"y": [1], "predicted": [1], "low": [-np.inf], "high": [2]}, "not finite"),
    "weights of 0 alone": ({"y": [1, 2], "predicted": [1, 2], "weights": [0, 0]}, "all have the weight 0"),
    "a truth that is no number": ({"y": [1, np.nan], "predicted": [1, 2]}, "y holds values"),
    "other shapes": ({"y": [1, 2], "predicted": [1]}, "do not fit each other"),
    "a negative weight": ({"y": [1, 2], "predicted": [1, 2], "weights": [1, -1]}, "weights are not a number"),
}


@pytest.mark.parametrize(("given_", "says"), FAULTY.values(), ids=FAULTY)
def test_what_cannot_be_scored_is_told(given_: dict[str, list[float]], says: str) -> None:
    with pytest.raises((UserError, ValueError), match=says):
        as_predictions(**{name: np.array(values, dtype=float) for name, values in given_.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*NAMES, *SCORERS])
@given(found=numbers(), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=15)
def test_a_resamples_metric_is_that_of_its_rows(name: str, found: NumberPredictions, seed: int) -> None:
    values = resampled({"a": found}, [name], seed=seed, resamples=7)["a"][name]
    (times,) = draws(len(found.y), seed=seed, resamples=7)
    for value, one in zip(values, times, strict=True):
        rows = np.repeat(np.arange(len(found.y)), one.astype(int))
        whole = len(rows) if found.weights is None else found.weights[rows].sum()
        alone = metric(name).score(found.taken(rows)) if whole else np.nan
        assert value == pytest.approx(alone, rel=1e-7, abs=1e-9, nan_ok=True) or (
            name == "r2" and np.isnan(value) and is_narrow(found, rows)
        )


def is_narrow(found: NumberPredictions, rows: np.ndarray) -> bool:
    """Whether the numbers of some rows are much nearer to each other than to the mean of all rows."""
    centre = np.average(found.y, weights=found.weights)
    return bool(np.var(found.y[rows]) < 1e-8 * np.mean((found.y[rows] - centre) ** 2))


def test_rows_of_one_number_have_no_r2_whatever_the_other_rows_are() -> None:
    found = as_predictions(y=np.array([0.001, 0.002, 0.004]), predicted=np.array([0.004, 0.002, 0.004]))
    (times,) = draws(3, seed=0, resamples=50)
    values = resampled({"a": found}, ["r2"], seed=0, resamples=50)["a"]["r2"]
    assert np.isnan(values[(times == 3).any(axis=1)]).all()
    assert (times == 3).any(axis=1).sum() >= 2


@given(numbers())
def test_models_are_scored_on_the_same_resamples(found: NumberPredictions) -> None:
    values = resampled({"a": found, "b": found}, NAMES, seed=3, resamples=20)
    for name in NAMES:
        assert np.array_equal(values["a"][name], values["b"][name], equal_nan=True)
        apart = resampled({"b": found}, [name], seed=3, resamples=20)["b"][name]
        assert np.array_equal(values["a"][name], apart, equal_nan=True)


@pytest.mark.parametrize("name", ["rmse", "median_absolute_error"])
def test_an_interval_covers_the_truth_as_often_as_it_says(name: str) -> None:
    truth = {"rmse": 1.0, "median_absolute_error": 0.6744898}[name]
    covered = 0
    for seed in range(300):
        y = np.zeros(200)
        found = as_predictions(y, np.random.default_rng(seed).normal(size=200))
        ends = interval(resampled({"a": found}, [name], seed=seed, resamples=400)["a"][name])
        covered += ends.low <= truth <= ends.high
    assert 0.88 <= covered / 300 <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rmse", "mae"])
@pytest.mark.parametrize("errors", ["normal", "exponential"])
def test_an_equal_challenger_replaces_the_champion_no_more_often_than_stated(name: str, errors: str) -> None:
    """1,000 challengers that are as good as the champion, on rows drawn anew each time: at most 5 % by luck."""
    replaced = 0
    for seed in range(1000):
        generator = np.random.default_rng(seed)
        y = generator.normal(size=300)
        draw = {"normal": generator.normal, "exponential": generator.exponential}[errors]
        ours, theirs = (as_predictions(y, y + draw(size=300)) for _ in range(2))
        replaced += compare(ours, theirs, name, confidence=0.95, seed=seed, resamples=200).better
    # of 1,000 draws of a probability of 5 %, more than 66 come up once in a hundred times
    assert replaced <= 66


@pytest.mark.parametrize("name", NAMES)
def test_a_clearly_better_model_is_better_in_every_metric_and_never_the_other_way(name: str) -> None:
    generator = np.random.default_rng(0)
    y = generator.lognormal(1, 0.5, 400)
    noise = generator.uniform(-1, 1, 400)
    good, bad = (as_predictions(y, y + size * noise * y, low=y - size, high=y + size) for size in (0.1, 0.5))
    if name == "interval_coverage":
        bad = replace(bad, high=np.where(np.arange(400) % 2, bad.high, y - 0.1))
    assert compare(good, bad, name, confidence=0.95, seed=0, resamples=200).better
    assert not compare(bad, good, name, confidence=0.95, seed=0, resamples=200).better
