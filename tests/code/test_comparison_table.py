"""The table of a comparison: its columns, what of it people are shown, and which way a metric is better."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Metric, Run, RunData, RunInfo

from steps.compare import KINDS, _bare, _logged, _more_is_better
from steps.comparison.comparison_table import ABSENT, Board, Entry
from tabular.errors import UserError
from tabular.metrics.classification import METRICS

ABOUT = {
    "run": ["a" * 32, "b" * 32],
    "what": ["train", "train"],
    "model": ["tree", "tree"],
    "problem": ["p", "p"],
    "data": ["1", "1"],
}


def board(metrics=None, params=None, **about):
    return Board({**ABOUT, **about}, metrics or {"roc_auc": [0.9, 0.8]}, params or {})


def test_a_parameter_that_is_named_like_another_column_keeps_its_place():
    found = board({"depth": [0.9, 0.8]}, {"model": ["x", "y"], "depth": [1, 2], "leaves": [3, 4]}).columns
    assert found["model"] == ["tree", "tree"]
    assert found["params.model"] == ["x", "y"]
    assert (found["depth"], found["params.depth"], found["leaves"]) == ([0.9, 0.8], [1, 2], [3, 4])


def test_people_are_shown_the_chosen_metrics_and_nothing_that_all_runs_are_but_their_model():
    rows = board({"roc_auc": [0.9, 0.8], "log_loss": [0.1, 0.2]}, {"leaves": [3, 4]}).shown(["roc_auc"])
    assert rows[0] == {"run": "aaaaaaaa", "model": "tree", "roc_auc": 0.9, "leaves": "3"}


def test_what_a_run_does_not_have_is_shown_as_such():
    rows = board({"roc_auc": [0.9, None]}, {"leaves": [3, None]}).shown(["roc_auc"])
    assert (rows[1]["roc_auc"], rows[1]["leaves"]) == (ABSENT, ABSENT)


@given(st.text(max_size=80))
def test_a_long_value_is_cut_to_one_short_line(text):
    shown = board(params={"name": [text, "other"]}).shown([])[0]["name"]
    assert len(shown) <= 24
    assert len(shown.splitlines()) <= 1
    assert len(" ".join(text.split())) > 24 or shown == " ".join(text.split())


@pytest.mark.parametrize(
    ("params", "about", "says"),
    [
        ({"max_depth": [1, 2], "search.trials": [5, 9], "data.drop.x": ["a", "b"]}, {}, ""),
        ({"seed": [1, 2], "split.holdout": [0.2, 0.3]}, {}, "They differ in seed, split.holdout"),
        ({"data.positive": [1, 0]}, {}, "They differ in data.positive"),
        ({}, {"data": ["1", "2"]}, "They differ in data"),
        ({}, {"problem": ["p", "q"]}, "They differ in problem"),
    ],
)
def test_what_decides_the_rows_is_remarked_on_where_runs_differ_in_it(params, about, says):
    remark = board(params=params, **about).remark
    assert remark.startswith(says)
    assert bool(remark) == bool(says)


def test_the_axes_of_a_picture_are_what_may_explain_the_scores():
    found = board(params={"seed": [1, 2]}, model=["tree", "forest"], problem=["p", "q"])
    assert list(found.axes) == ["problem", "model", "seed"]
    assert list(board(params={"seed": [1, 2]}).axes) == ["seed"]


def entry(metrics, params, **tags):
    info = RunInfo("a" * 32, "1", "user", "FINISHED", 0, 1, "active")
    data = RunData([Metric(name, value, 0, 0) for name, value in metrics.items()], [], [])
    data._tags = tags
    return Entry(Run(info, data), params)


def test_two_runs_that_differ_in_seconds_alone_did_the_same_work():
    one, other = (
        entry({"roc_auc": 0.9, "fit_seconds": took, "peak_memory_bytes": took, "bytes_read": took}, {"leaves": "3"})
        for took in (1.0, 2.0)
    )
    assert one.work == other.work


@pytest.mark.parametrize(
    "other",
    [
        entry({"roc_auc": 0.8}, {"leaves": "3"}),
        entry({"roc_auc": 0.9}, {"leaves": "4"}),
        entry({"roc_auc": 0.9, "log_loss": 0.1}, {"leaves": "3"}),
        entry({"roc_auc": 0.9}, {}),
        entry({"roc_auc": 0.9}, {"leaves": "3"}, **{"tabular.model": "tree"}),
        entry({"roc_auc": 0.9}, {"leaves": "3"}, **{"tabular.problem": "other"}),
    ],
)
def test_two_runs_that_differ_in_anything_else_did_not(other):
    assert entry({"roc_auc": 0.9}, {"leaves": "3"}).work != other.work


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_metric_of_ours_keeps_its_direction_however_runs_log_it(name, kind):
    logged = _logged(kind, name)
    assert _bare(logged) == name
    assert _more_is_better(logged, "") == METRICS[name].greater_is_better


OF_LESS = ["fit_seconds", "peak_memory_bytes", "cv_roc_auc_std", "cv_accuracy_std", "validation_loss_by_iteration"]


@pytest.mark.parametrize("logged", OF_LESS)
def test_of_times_deviations_and_losses_less_is_better(logged):
    assert not _more_is_better(logged, "")
    assert _more_is_better(logged, "maximize")


@pytest.mark.parametrize("logged", ["lightgbm/roc_auc", "best_cv_roc_auc", "challenger_roc_auc", "roc_auc_ovr"])
def test_metrics_of_candidates_searches_and_scikit_learn_have_their_direction(logged):
    assert _more_is_better(logged, "")


def test_of_a_metric_that_is_not_ours_the_direction_has_to_be_given():
    with pytest.raises(UserError, match=r"'gini' is none of ours.*direction=maximize or minimize"):
        _more_is_better("gini", "")
    assert not _more_is_better("gini", "minimize")
