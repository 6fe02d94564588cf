"""The verdict on a model: decay is found, an honest month is left alone, and few rows are told to be few."""

import dataclasses
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabular.data.datasets import Column
from tabular.evaluation import drift, health
from tabular.evaluation.bootstrap import Interval, intervals
from tabular.evaluation.health import DEGRADED, HEALTHY, WATCH, Drop, Finding
from tabular.metrics.classification import ClassPredictions, as_predictions
from tabular.metrics.lookup import scores
from tabular.metrics.regression import NumberPredictions
from tabular.metrics.regression import as_predictions as as_numbers
from tabular.plots import monitor_plots
from tabular.sections.rules import Bound, Limits, Shifts
from tests.drawn import assert_drawn, text_of

Array: TypeAlias = np.ndarray[Any, Any]
COLUMNS = [*(Column(f"number {place}", "double", "number") for place in range(4)), Column("kind", "string", "category")]
RULE = Shifts()


def table(rows: int, seed: int) -> pd.DataFrame:
    """Numbers, of which the first two tell something of a class, and a kind."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(generator.normal(size=(rows, 4)), columns=[column.name for column in COLUMNS[:4]])
    return frame.assign(kind=generator.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1]))


def probability(frame: pd.DataFrame) -> Array:
    """What the model knows, and what is true of a row of its training."""
    return np.asarray(1 / (1 + np.exp(-1.5 * frame["number 0"] - frame["number 1"])))


def asked(frame: pd.DataFrame, seed: int, *, flipped: float = 0.0) -> ClassPredictions:
    """The model's predictions, beside a truth of which a share is the other class."""
    generator = np.random.default_rng(seed)
    p = probability(frame)
    y = (generator.random(len(frame)) < p).astype(int)
    y = np.where(generator.random(len(frame)) < flipped, 1 - y, y)
    return as_predictions(y, np.column_stack([1 - p, p]), classes=2)


def counted(frame: pd.DataFrame, reference: drift.Tally) -> drift.Tally:
    """A table in the bins of another one."""
    found = drift.Tally(reference.bins)
    found.add(pa.RecordBatch.from_pandas(frame, preserve_index=False))
    return found


def reference(frame: pd.DataFrame) -> drift.Tally:
    batch = pa.RecordBatch.from_pandas(frame, preserve_index=False)
    return drift.tally(lambda: [batch], COLUMNS, len(frame))


TRAINING = table(1000, seed=1)
HOLDOUT = asked(table(400, seed=2), seed=2)
BINS = reference(TRAINING)


def judged(
    month: pd.DataFrame,
    *,
    model_sees: pd.DataFrame | None = None,
    flipped: float = 0.0,
    metric: str = "roc_auc",
    **more: Any,
) -> list[Finding]:
    """All that speaks against the model of one month, whose rows the model may see otherwise than they are."""
    seen = month if model_sees is None else model_sees
    truth = asked(month, seed=len(month), flipped=flipped)
    now = as_predictions(truth.y, np.column_stack([1 - probability(seen), probability(seen)]), classes=2)
    drop = health.drop(now, HOLDOUT, metric, most=0.1, confidence=0.99, seed=0, **more)
    shifts = drift.shifts(BINS, counted(seen, BINS), len(COLUMNS))
    return [*health.too_few(now, 100, ["no", "yes"]), *drop.findings(), *health.shifted(shifts, [], RULE)]


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "accuracy"])
def test_labels_that_no_longer_follow_the_columns_are_a_degraded_model(metric: str) -> None:
    found = judged(table(400, seed=3), flipped=0.3, metric=metric)
    assert health.verdict(found) == DEGRADED
    assert found[0].why.startswith(f"{metric} ")


def test_a_column_in_another_unit_is_found_as_a_drop_and_as_a_shift_of_this_column() -> None:
    month = table(400, seed=4)
    found = judged(month, model_sees=month.assign(**{"number 1": month["number 1"] * 100}))
    assert health.verdict(found) == DEGRADED
    assert [one.why.split(":")[0] for one in found[1:]] == ["column 'number 1' has moved"]


def test_rows_of_other_kinds_that_are_predicted_as_well_are_something_to_watch() -> None:
    month = table(400, seed=5)
    found = judged(month.assign(**{"number 3": month["number 3"] + 1.5}))
    assert health.verdict(found) == WATCH
    assert [one.why.split(":")[0] for one in found] == ["column 'number 3' has moved"]


def scored(frame: pd.DataFrame) -> pa.RecordBatch:
    return pa.record_batch({"probability_yes": pa.array(probability(frame))})


def of_honest_month(seed: int, metric: str, rows: int) -> list[Finding]:
    """What speaks against a month of rows like those of training; the holdout, 300 rows, is drawn anew as well."""
    month, before = table(rows, seed=1000 + seed), table(300, seed=2000 + seed)
    now, holdout = asked(month, seed=seed), asked(before, seed=5000 + seed)
    drop = health.drop(now, holdout, metric, most=0.1, confidence=0.99, seed=seed, resamples=400)
    score = [Column("probability_yes", "double", "number")]
    promised = drift.tally(lambda: [scored(before)], score, len(before))
    answered = drift.Tally(promised.bins)
    answered.add(scored(month))
    columns = len(COLUMNS) + 1
    shifts = drift.shifts(BINS, counted(month, BINS), columns), drift.shifts(promised, answered, columns)
    return [*health.too_few(now, 100, ["no", "yes"]), *drop.findings(), *health.shifted(*shifts, RULE)]


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "rows"), [("log_loss", 100), ("roc_auc", 300)])
def test_an_honest_month_is_healthy_in_95_of_100_cases(metric: str, rows: int) -> None:
    verdicts = [health.verdict(of_honest_month(seed, metric, rows)) for seed in range(200)]
    assert verdicts.count(HEALTHY) >= 190


def numbers(rows: int, seed: int, *, spread: float = 1.0) -> NumberPredictions:
    generator = np.random.default_rng(seed)
    predicted = generator.normal(size=rows)
    return as_numbers(predicted + generator.normal(0, spread, rows), predicted)


@pytest.mark.slow
def test_an_honest_month_of_numbers_is_healthy_in_95_of_100_cases() -> None:
    drops = [
        health.drop(
            numbers(200, seed), numbers(300, 900 + seed), "rmse", most=0.1, confidence=0.99, seed=seed, resamples=400
        )
        for seed in range(200)
    ]
    assert sum(not one.findings() for one in drops) >= 190


def test_numbers_that_are_predicted_worse_are_a_degraded_model() -> None:
    found = health.drop(numbers(300, 0, spread=1.5), numbers(300, 1), "rmse", most=0.1, confidence=0.99, seed=0)
    assert health.verdict(found.findings()) == DEGRADED
    assert found.size == pytest.approx(0.5, abs=0.15)
    assert found.seen_from == pytest.approx(found.size - found.lower)


# --- a drop -----------------------------------------------------------------------------------------------------------


def drop(size: float, lower: float, *, allowed: float = 0.02, metric: str = "roc_auc") -> Drop:
    return Drop(metric, 0.8, 0.8 - size, lower, allowed, 0.99)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (drop(-0.01, -0.05), HEALTHY),
        (drop(0.05, -0.01), HEALTHY),  # it may be chance
        (drop(0.015, 0.01), HEALTHY),  # it is no chance, and no more than is allowed
        (drop(0.03, 0.01), WATCH),
        (drop(0.05, 0.03), DEGRADED),
        (drop(0.05, float("nan")), WATCH),
    ],
)
def test_a_drop_counts_only_with_confidence_and_beyond_what_is_allowed(found: Drop, verdict: str) -> None:
    assert health.verdict(found.findings()) == verdict


def test_a_drop_of_a_loss_is_its_rise() -> None:
    assert Drop("log_loss", 0.5, 0.6, 0.05, 0.05, 0.99).size == pytest.approx(0.1)


def test_a_drop_is_told_with_what_is_sure_of_it() -> None:
    assert drop(0.05, 0.03).said() == (
        "roc_auc 0.7500, on the holdout 0.8000: worse by 0.0500, with 99% confidence by at least 0.0300"
    )
    assert drop(0.05, -0.03).said().endswith("worse by 0.0500, which may be chance")
    assert drop(-0.05, -0.09).said().endswith("better by 0.0500")


def test_a_loss_that_rises_is_said_to_be_worse_with_the_interval_beside_the_loss() -> None:
    found = Drop("rmse", 14_009.9, 73_421.8, 54_051.3, 1_401.0, 0.99).said("95 %: 69,501.7 to 77,173.4")
    assert found.startswith("rmse 73,421.8 (95 %: 69,501.7 to 77,173.4), on the holdout 14,009.9: worse by 59,411.9,")


@pytest.mark.parametrize(
    ("metric", "value", "error"),
    [("roc_auc", 0.9, 0.1), ("rmse", 3.0, 3.0), ("neg_log_loss", -0.4, 0.4), ("r2", -1, 2)],
)
def test_an_error_is_the_distance_from_perfect_predictions(metric: str, value: float, error: float) -> None:
    assert health.error(metric, value) == pytest.approx(error)


def test_the_same_rows_twice_have_no_drop_but_one_that_may_be_chance() -> None:
    found = health.drop(HOLDOUT, HOLDOUT, "roc_auc", most=0.1, confidence=0.99, seed=0)
    assert found.size == 0 > found.lower


def test_rows_of_few_groups_tell_less_of_a_drop() -> None:
    now, groups = asked(table(400, seed=6), seed=6), np.arange(400) % 8
    about: dict[str, Any] = {"most": 0.1, "confidence": 0.99, "seed": 0}
    one = numbers(400, 0)
    shifted = as_numbers(one.y + groups, one.predicted)  # errors that are alike within a group
    alone = health.drop(shifted, one, "rmse", **about)
    grouped = health.drop(shifted, one, "rmse", groups=(groups, None), **about)
    assert grouped.seen_from > alone.seen_from
    assert np.isnan(health.drop(now, HOLDOUT, "roc_auc", groups=(np.zeros(400), None), **about).lower)


# --- the other findings -----------------------------------------------------------------------------------------------


def test_of_few_rows_nothing_is_said_but_that_they_are_few() -> None:
    few = asked(table(99, seed=7), seed=7)
    found = health.too_few(few, 100, ["no", "yes"])
    assert found[0].why == "too few rows to say more: 99, and 100 are needed"
    assert health.verdict([*found, Finding(DEGRADED, "it is bad")]) == WATCH
    assert health.too_few(few, 99, ["no", "yes"]) == []


def test_rows_of_one_class_alone_are_too_few() -> None:
    y = (np.arange(200) < 9).astype(int)
    (found,) = health.too_few(as_predictions(y, np.full((200, 2), 0.5), classes=2), 100, ["no", "yes"])
    assert found.why == "too few rows to say more: 191 of 'no', 9 of 'yes', and 10 rows of two classes are needed"


def test_rows_of_weight_0_do_not_count() -> None:
    weights = np.where(np.arange(200) < 100, 1.0, 0.0)
    weighted = as_numbers(np.arange(200.0), np.arange(200.0), weights=weights)
    assert health.too_few(weighted, 100) == []
    assert len(health.too_few(weighted, 101)) == 1


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        (Bound(min=0.5), HEALTHY),
        (Bound(min=0.8), WATCH),
        (Bound(min=0.9), DEGRADED),
        (Bound(max=0.7), WATCH),
        (Bound(max=0.6), DEGRADED),
        (Bound(in_each_slice=Limits(min=0.1)), WATCH),  # there is no slice
    ],
)
def test_a_bound_that_is_not_met_is_told_by_whether_the_interval_lies_beyond(bound: Bound, verdict: str) -> None:
    found = health.unmet({"accuracy": bound}, {"accuracy": 0.75}, {"accuracy": Interval(0.65, 0.85)})
    assert health.verdict(found) == verdict


def moved(name: str, share: float, rows: int = 2000) -> drift.Shift:
    before, now = np.array([5000, 5000]), np.array([round(rows * (1 - share)), round(rows * share)])
    psi = drift.population_stability_index(before, now)
    return drift.Shift(name, psi, 0.99, ("low", "high"), before, now)


def test_a_shift_is_told_from_the_limit_on_and_with_where_most_rows_went() -> None:
    found = health.shifted([moved("a", 0.9), moved("b", 0.6)], [moved("probability_yes", 0.8)], RULE)
    assert [(one.verdict, one.why) for one in found] == [
        (WATCH, f"column 'a' has moved: PSI 0.879, the limit is 0.25; 'low' 50.0% -> 10.0%{health.EXPECTED}"),
        (WATCH, "score 'probability_yes' has moved: PSI 0.416, the limit is 0.25; 'high' 50.0% -> 80.0%"),
    ]


def test_a_column_like_an_id_which_always_moves_is_no_shift() -> None:
    found = health.shifted([dataclasses.replace(moved("id", 0.95), names_rows=True), moved("a", 0.9)], [], RULE)
    assert [one.why.partition(" has ")[0] for one in found] == ["column 'a'"]


def test_columns_that_move_as_time_does_are_no_shift() -> None:
    found = [moved("since", 0.9), moved("month", 0.9)]
    assert health.shifted(found, [], Shifts(expected=["month"]), passing=["since"]) == []


def test_a_shift_of_which_nothing_is_asked_is_not_told() -> None:
    assert health.shifted([moved("a", 0.9)], [moved("b", 0.9)], Shifts(inputs=None, scores=None)) == []


def test_a_shift_that_chance_explains_is_not_told() -> None:
    assert moved("a", 0.8, rows=5).psi > 0.25
    assert health.shifted([moved("a", 0.8, rows=5)], [], RULE) == []
    assert len(health.shifted([moved("a", 0.8, rows=500)], [], RULE)) == 1


def test_the_verdict_is_that_of_the_gravest_finding() -> None:
    assert health.verdict([]) == HEALTHY
    assert health.verdict([Finding(WATCH, "a"), Finding(DEGRADED, "b")]) == DEGRADED


@pytest.mark.parametrize(("found", "enough"), [(HEALTHY, True), (WATCH, True), (DEGRADED, False)])
def test_who_asks_for_no_more_than_watch_is_told_of_a_degraded_model_alone(found: health.Verdict, enough: bool) -> None:
    assert health.is_at_least(found, WATCH) == enough
    assert health.is_at_least(found, HEALTHY) == (found == HEALTHY)


def test_the_intervals_of_all_metrics_hold_their_values() -> None:
    names = ["roc_auc", "log_loss", "calibration_error"]
    found, values = intervals(HOLDOUT, names, seed=0)
    assert [*values] == ["roc_auc", "log_loss"]
    assert all(found[name].low < value < found[name].high for name, value in scores(HOLDOUT, names).items())


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 3, 60])
def test_a_history_of_any_length_is_drawn(runs: int, tmp_path: Path) -> None:
    verdicts = [HEALTHY, WATCH, DEGRADED]
    rows = [
        {"label": f"2026-01-{place:02}", "verdict": verdicts[place % 3], "value": 0.8, "low": 0.7, "high": 0.9}
        | {"promised": 0.85 if place else float("nan")}
        for place in range(runs)
    ]
    figure = monitor_plots.history(rows, metric="roc_auc", title="a $model$: healthy today")
    assert_drawn(figure, tmp_path)
    words = text_of(figure)
    assert ("the last 40 of 60 runs" in words) == (runs == 60)
    assert all(verdict in words for verdict in verdicts[:runs])
