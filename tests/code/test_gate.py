"""The gate: what passes its bounds, and when a challenger is better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.evaluation.bootstrap import Interval, resampled
from tabular.evaluation.gate import Check, Comparison, TieBreak, check, check_floor, compare, metric_of_floor
from tabular.evaluation.slices import Scored, Slice
from tabular.metrics.classification import METRICS, as_predictions, classification_metrics, is_of_labels
from tabular.model.tasks import Classification
from tabular.sections.rules import Bound, Limits

Array = np.ndarray


def truth(n: int = 400, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 2, n)


def guesses(y: Array, noise: float, seed: int = 1) -> Array:
    """Probabilities that follow the truth as far as the noise lets them."""
    score = (y - 0.5) * 2 + np.random.default_rng(seed).normal(0, noise, len(y))
    positive = 1 / (1 + np.exp(-score))
    return np.column_stack([1 - positive, positive])


def compared(
    challenger: Array,
    champion: Array,
    y: Array,
    metric: str = "roc_auc",
    seed: int = 0,
    groups: Array | None = None,
    threshold: float = 0.5,
    resamples: int = 200,
) -> Comparison:
    contenders = as_predictions(y, challenger, classes=2, threshold=threshold), as_predictions(y, champion, classes=2)
    return compare(*contenders, metric, confidence=0.95, seed=seed, groups=groups, resamples=resamples)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_a_min_lets_pass_what_is_not_below_it(found: float, least: float) -> None:
    assert check({"roc_auc": Bound(min=least)}, {"roc_auc": found})[0].passed == (found >= least)


@given(st.floats(0, 5), st.floats(0, 5))
@settings(deadline=None)
def test_a_max_lets_pass_what_is_not_above_it(found: float, most: float) -> None:
    assert check({"log_loss": Bound(max=most)}, {"log_loss": found})[0].passed == (found <= most)


@pytest.mark.parametrize("bound", [Bound(min=-1e9), Bound(max=1e9)])
def test_a_metric_that_is_nan_passes_no_bound(bound: Bound) -> None:
    assert not check({"roc_auc": bound}, {"roc_auc": float("nan")})[0].passed


def test_min_and_max_are_two_checks() -> None:
    checks = check({"recall": Bound(min=0.2, max=0.8)}, {"recall": 0.9})
    assert [one.passed for one in checks] == [True, False]


def test_a_check_reads_as_a_line() -> None:
    line = check({"roc_auc": Bound(min=0.95)}, {"roc_auc": 0.9})[0].line()
    assert line == "roc_auc at least 0.95: 0.9000 not met"


def test_no_requirement_is_no_check() -> None:
    assert check({}, {"roc_auc": 0.1}) == []


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "accuracy"])
def test_an_equal_model_is_not_better(metric: str) -> None:
    y = truth()
    assert not compared(guesses(y, 1), guesses(y, 1), y, metric).better


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_clearly_better_model_is_better_in_every_metric(metric: str) -> None:
    y = truth()
    assert compared(guesses(y, 0.3), guesses(y, 4), y, metric).better


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_clearly_worse_model_is_better_in_no_metric(metric: str) -> None:
    y = truth()
    assert not compared(guesses(y, 4), guesses(y, 0.3), y, metric).better


def test_a_model_better_by_luck_on_few_rows_is_not_better() -> None:
    y = truth(30)
    found = compared(guesses(y, 2, seed=1), guesses(y, 2, seed=5), y)
    assert found.challenger > found.champion
    assert not found.better


def test_the_same_seed_draws_the_same_resamples() -> None:
    y = truth()
    assert compared(guesses(y, 1), guesses(y, 2), y) == compared(guesses(y, 1), guesses(y, 2), y)


def test_rows_of_a_group_count_for_less_than_strangers() -> None:
    y, copies = truth(60), 10
    alike = [np.repeat(values, copies, axis=0) for values in (guesses(y, 1), guesses(y, 2, seed=3), y)]
    strangers = compared(*alike)
    grouped = compared(*alike, groups=np.repeat(np.arange(60), copies))
    gained = strangers.challenger - strangers.champion
    assert gained - grouped.lower > 2 * (gained - strangers.lower)


def test_groups_of_one_row_are_as_no_groups() -> None:
    y = truth()
    names = np.array([f"guest {row:03}" for row in range(len(y))])
    assert compared(guesses(y, 1), guesses(y, 2), y, groups=names) == compared(guesses(y, 1), guesses(y, 2), y)


def test_the_figures_are_those_of_the_rows_themselves() -> None:
    y = truth()
    found = compared(guesses(y, 1), guesses(y, 2), y)
    exact = classification_metrics(y, guesses(y, 1), classes=[0, 1], positive=1)["roc_auc"]
    assert found.challenger == exact


def test_where_no_resample_has_two_classes_nothing_is_better() -> None:
    y = np.zeros(20, dtype=int)
    assert not compared(guesses(y, 0.1), guesses(y, 3), y).better


def test_each_contender_is_judged_by_its_own_threshold() -> None:
    y = truth()
    same = guesses(y, 1.0)
    comparison = compared(same, same, y, "recall", threshold=0.3)
    assert comparison.better
    assert comparison.challenger == np.mean(same[y == 1, 1] >= 0.3)
    assert comparison.champion == np.mean(same[y == 1, 1] >= 0.5)


@pytest.mark.slow
def test_an_equal_challenger_replaces_the_champion_no_more_often_than_stated() -> None:
    """1,000 challengers that are as good as the champion, on rows drawn anew each time: at most 5 % by luck."""
    replaced = 0
    for seed in range(1000):
        y = truth(300, seed)
        replaced += compared(guesses(y, 2, seed=2 * seed), guesses(y, 2, seed=2 * seed + 1), y, seed=seed).better
    # of 1,000 draws of a probability of 5 %, more than 66 come up once in a hundred times
    assert replaced <= 66


@given(st.floats(0.0001, 0.2), st.integers(0, 50))
def test_equal_is_what_is_not_worse_by_more_than_the_margin(within: float, seed: int) -> None:
    y = truth(200, seed)
    found = compared(guesses(y, 2, seed=seed), guesses(y, 2, seed=seed + 1), y)
    assert found.is_equal(within) == (found.lower > -within)
    assert not found.better or found.is_equal(within)


def test_a_tie_is_broken_by_what_costs_a_tenth_less() -> None:
    assert TieBreak("smaller", 90, 100).won
    assert not TieBreak("smaller", 91, 100).won
    assert not TieBreak("faster", 2.0, 1.0).won


def slice_of(value: str, rows: int, **metrics: float) -> Scored:
    return Scored(Slice("hotel", value, np.arange(rows)), metrics, Interval(0, 1))


def test_a_bound_in_each_slice_is_that_of_the_worst() -> None:
    scored = [slice_of("City", 100, accuracy=0.9), slice_of("Resort", 100, accuracy=0.6)]
    bounds = {"accuracy": Bound(in_each_slice=Limits(min=0.7))}
    (found,) = check(bounds, {"accuracy": 0.85}, scored)
    assert not found.passed
    assert found.line() == "accuracy of the worst slice, hotel = Resort, at least 0.7: 0.6000 not met"


def test_the_worst_slice_of_a_loss_is_that_of_the_highest() -> None:
    scored = [slice_of("City", 100, log_loss=0.9), slice_of("Resort", 100, log_loss=0.6)]
    (found,) = check({"log_loss": Bound(in_each_slice=Limits(max=0.7))}, {"log_loss": 0.7}, scored)
    assert (found.found, found.passed) == (0.9, False)


def test_a_slice_of_few_rows_is_not_judged() -> None:
    scored = [slice_of("City", 100, accuracy=0.9), slice_of("Resort", 29, accuracy=0.1)]
    assert check({"accuracy": Bound(in_each_slice=Limits(min=0.7))}, {"accuracy": 0.85}, scored)[0].passed


def test_where_no_slice_can_be_judged_a_bound_in_each_slice_is_not_met() -> None:
    scored = [slice_of("City", 100, roc_auc=float("nan")), slice_of("Resort", 5, roc_auc=0.9)]
    assert not check({"roc_auc": Bound(in_each_slice=Limits(min=0.1))}, {"roc_auc": 0.9}, scored)[0].passed


def test_on_rows_of_one_group_no_challenger_is_better() -> None:
    y = np.arange(100) % 2
    good, bad = (as_predictions(y, np.column_stack([1 - p, p]), classes=2) for p in (0.1 + 0.8 * y, np.full(100, 0.5)))
    assert compare(good, bad, "roc_auc", confidence=0.95, seed=0).better
    assert not compare(good, bad, "roc_auc", confidence=0.95, seed=0, groups=np.zeros(100)).better


def floors(y: Array, candidates: list[Array], metric: str = "roc_auc", *, resamples: int = 200) -> list[Check]:
    """What the floor of the gate says of candidates, in a table whose training rows have the same shares."""
    shares = np.tile(np.bincount(y, minlength=candidates[0].shape[1]) / len(y), (len(y), 1))
    classes, name = shares.shape[1], metric_of_floor(metric)
    all_of_them = {str(number): as_predictions(y, one, classes=classes) for number, one in enumerate(candidates)}
    all_of_them["prior"] = as_predictions(y, shares, classes=classes)
    found = resampled(all_of_them, [name], seed=0, resamples=resamples)
    of_prior = found.pop("prior")[name]
    told = {"prior": Classification.prior, "advice": Classification.advice, "candidates": len(candidates)}
    return [check_floor(name, values[name], of_prior, **told) for values in found.values()]


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_candidate_that_knows_the_classes_is_above_the_floor_in_every_metric(metric: str) -> None:
    y = truth()
    assert floors(y, [guesses(y, 1)], metric)[0].passed


@pytest.mark.parametrize("metric", list(METRICS))
def test_the_classes_shares_themselves_are_not_above_the_floor_in_any_metric(metric: str) -> None:
    y = truth()
    shares = np.tile([0.5, 0.5], (len(y), 1))
    assert not floors(y, [shares], metric)[0].passed


def test_a_good_model_of_a_rare_class_is_above_the_floor_although_every_label_is_the_common_one() -> None:
    y = (np.arange(1000) % 20 == 0).astype(int)
    score = np.clip(0.05 + 0.1 * y + np.random.default_rng(0).normal(0, 0.02, len(y)), 0.001, 0.4)
    assert floors(y, [np.column_stack([1 - score, score])], "accuracy")[0].passed


def test_a_label_of_one_class_everywhere_is_not_above_the_floor_although_its_recall_is_1() -> None:
    y = (np.arange(1000) % 20 == 0).astype(int)
    assert not floors(y, [np.tile([0.0, 1.0], (1000, 1))], "recall")[0].passed


def test_the_metric_of_the_floor_never_looks_at_labels() -> None:
    assert not any(is_of_labels(metric_of_floor(name)) for name in METRICS)
    assert metric_of_floor("log_loss") == "log_loss"


def test_a_floor_that_is_not_reached_says_what_to_do() -> None:
    y = truth()
    line = floors(y, [np.tile([0.5, 0.5], (len(y), 1))])[0].line()
    assert line.startswith(
        "gain in roc_auc over the classes' shares, at least, with 95% confidence, above 0: 0.0000 not"
    )
    assert "gate: {beat_prior: false}" in line


def test_a_floor_that_is_reached_gives_no_advice() -> None:
    y = truth()
    assert floors(y, [guesses(y, 1)])[0].line().endswith(" passed")


def test_where_no_resample_has_a_value_the_floor_is_not_reached() -> None:
    y = np.zeros(20, dtype=int)
    assert not floors(y, [guesses(y, 0.1)])[0].passed


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_noise_is_above_the_floor_no_more_often_than_stated_however_many_candidates_there_are(classes: int) -> None:
    """500 evaluations of three candidates that know nothing: at most 5 % have one that is better by luck."""
    lucky = 0
    for seed in range(500):
        generator = np.random.default_rng(seed)
        y = generator.integers(0, classes, 100)
        noise = [generator.dirichlet(np.full(classes, 5.0), 100) for _ in range(3)]
        lucky += any(one.passed for one in floors(y, noise, resamples=500))
    # of 500 draws of a probability of 5 %, more than 37 come up once in a hundred times
    assert lucky <= 37
