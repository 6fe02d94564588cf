"""The seconds of a chain: how they are divided, and how many rows a model is fitted on in its part of them."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.chain import budget as chains
from steps.chain.budget import Budget
from steps.pipeline import STEPS, Seconds, StepSpec, Task, plan
from tabular.data.datasets import Column
from tabular.model import budget
from tabular.model.tasks import Classification, Regression
from tabular.model.training import Candidate
from tabular.problem import Problem, build
from tabular.sections.models import Model

BEGUN = 1_000.0
ROWS = {"rows_train": "800", "rows_holdout": "200", "columns": "10"}
SPACE = {"C": {"type": "float", "low": 0.1, "high": 1.0}}


def problem(*, timeout: float | None = 100.0, **models: bool) -> Problem:
    """A problem with these models, those that are True with a space to search."""
    values = {name: {"estimator": "a.B", "space": SPACE if searched else {}} for name, searched in models.items()}
    about = {"name": "p", "data": {"source": "a", "target": "y"}, "models": values}
    return build(about if timeout is None else {**about, "timeout": timeout}, "made")


class Clock:
    """A chain under way by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, made: Problem, jobs: int = 2, tasks: Any = None) -> None:
        self.now = BEGUN
        monkeypatch.setattr(chains.time, "time", lambda: self.now)
        self.tasks = {task.name: task for task in tasks or plan(made)}
        self.budget = Budget(made, list(self.tasks.values()), jobs, BEGUN)
        self.ended: dict[str, Any] = {}

    def begin(self, name: str) -> float:
        """Begin a task; gives the seconds that it is given."""
        return self.budget.begin(self.tasks[name]).until - self.now

    def end(self, name: str, seconds: float, *, left_out: bool = False) -> None:
        """End a task after so many seconds."""
        self.now += seconds
        data = SimpleNamespace(params=ROWS, tags={"tabular.left_out": name} if left_out else {})
        info = SimpleNamespace(status="FAILED" if left_out else "FINISHED")
        self.ended[name] = SimpleNamespace(data=data, info=info)
        self.budget.end(self.tasks[name], seconds, self.ended)

    def etl(self, seconds: float = 5.0) -> None:
        """Begin and end etl."""
        self.begin("etl")
        self.end("etl", seconds)


@pytest.fixture
def clock(monkeypatch):
    """A chain of three models, one of them searched, after its etl."""
    made = Clock(monkeypatch, problem(logistic=False, forest=False, lightgbm=True))
    made.etl()
    return made


def test_models_without_a_search_begin_before_the_searches(clock) -> None:
    ready = [clock.tasks[name] for name in ("hpo lightgbm", "train logistic", "train forest")]
    assert [task.name for task in sorted(ready, key=clock.budget.place)] == [
        "train logistic",
        "train forest",
        "hpo lightgbm",
    ]


def test_what_a_search_found_is_fitted_before_other_models(clock) -> None:
    ready = [clock.tasks[name] for name in ("train forest", "train lightgbm")]
    assert [task.name for task in sorted(ready, key=clock.budget.place)] == ["train lightgbm", "train forest"]


def test_a_search_gets_three_times_the_seconds_of_another_model(monkeypatch) -> None:
    clock = Clock(monkeypatch, problem(a=False, b=True), jobs=1)
    clock.etl()
    assert clock.begin("train a") == pytest.approx((clock.budget._models_end - clock.now) / 4)


def test_what_a_model_leaves_goes_to_the_search(clock) -> None:
    given_before = clock.begin("train logistic")
    clock.begin("train forest")
    clock.end("train logistic", 1.0)
    left = clock.budget._models_end - clock.now
    assert given_before < 0.5 * left
    assert clock.begin("hpo lightgbm") == pytest.approx(left)


def test_a_search_under_way_gets_what_others_leave_once_none_waits(monkeypatch) -> None:
    clock = Clock(monkeypatch, problem(a=True, b=True, c=True), jobs=2)
    clock.etl()
    first, search = clock.begin("hpo a"), clock.tasks["hpo a"]
    clock.begin("hpo b")
    assert first < clock.budget._models_end - clock.now - 1
    assert clock.budget.time_of(search).until - clock.now == pytest.approx(first)
    clock.end("hpo b", 1.0)
    clock.begin("train b")
    clock.end("train b", 1.0)
    clock.begin("hpo c")
    assert clock.budget.time_of(search).until == clock.budget._models_end


def test_a_model_may_take_longer_than_its_seconds_but_not_those_of_what_comes_after(clock) -> None:
    given_ = clock.budget.begin(clock.tasks["train forest"])
    assert given_.last == pytest.approx(clock.now + 2 * (given_.until - clock.now) + chains.GRACE_SECONDS)
    clock.now = clock.budget._models_end - 5.0
    last = clock.budget.begin(clock.tasks["hpo lightgbm"]).last
    assert last <= clock.budget._models_end + chains.GRACE_SECONDS


def test_what_a_search_found_may_take_the_seconds_of_the_fit_on_all_rows_and_no_others(clock) -> None:
    clock.begin("hpo lightgbm")
    clock.end("hpo lightgbm", clock.budget._models_end - clock.now)
    last = clock.budget.begin(clock.tasks["train lightgbm"]).last
    assert last > clock.budget._models_end + chains.GRACE_SECONDS + STEPS["refit"].seconds.of(4, 1_000, 10)
    after = sum(STEPS[name].seconds.of(4, 1_000, 10) for name in ("blend", "evaluate", "register"))
    assert last <= BEGUN + 100.0 - clock.budget._slowness * after + chains.GRACE_SECONDS


def test_the_first_model_without_a_search_is_not_ended_before_another_has_ended_well(clock) -> None:
    first = clock.tasks["train logistic"]
    assert clock.budget.begin(first).last == float("inf")
    clock.begin("train forest")
    clock.end("train forest", 9.0, left_out=True)
    assert clock.budget.time_of(first).last == float("inf")
    for name in ("hpo lightgbm", "train lightgbm"):
        clock.begin(name)
        clock.end(name, 1.0)
    assert clock.budget.time_of(first).last <= clock.budget._models_end + chains.GRACE_SECONDS


def test_the_models_end_early_enough_for_what_comes_after_them(clock) -> None:
    after = sum(STEPS[name].seconds.of(3, 1_000, 10) for name in ("evaluate", "register"))
    assert clock.budget._models_end <= BEGUN + 100.0 - 0.8 * after


def test_what_was_kept_to_evaluate_a_model_that_is_left_out_goes_to_the_others(clock) -> None:
    before = clock.budget._models_end
    clock.begin("train forest")
    clock.end("train forest", 1.0, left_out=True)
    kept = [STEPS[name].seconds for name in ("blend", "evaluate", "refit")]
    more = sum(one.of(3, 1_000, 10) - one.of(2, 1_000, 10) for one in kept)
    assert clock.budget._models_end - before == pytest.approx(clock.budget._slowness * more)


def test_a_new_step_after_the_models_has_its_seconds_kept(monkeypatch, clock) -> None:
    later = StepSpec("later", {}, {}, (), seconds=Seconds(7.0, model=1.0))
    made = problem(logistic=False, forest=False, lightgbm=True)
    tasks = plan(made)
    more = Task(later, None, {"models": ("train logistic", "train forest")})
    with_it = Clock(monkeypatch, made, tasks=[*tasks[:-2], more, *tasks[-2:]])
    with_it.etl()
    kept = clock.budget._models_end - with_it.budget._models_end
    # of three models and their blend; what is kept for the fit on all rows is a share of what is left
    assert kept == pytest.approx((1 - chains.SHARE_OF_REFIT) * 11.0 * with_it.budget._slowness)


def test_a_machine_that_is_slow_today_keeps_more_for_what_comes_after(monkeypatch) -> None:
    ends = []
    for seconds in (9.0, 18.0):
        clock = Clock(monkeypatch, problem(a=False))
        clock.etl(seconds)
        ends.append(clock.budget._models_end)
    assert ends[1] < ends[0]


def test_a_chain_that_is_late_already_leaves_the_models_a_little_and_says_so(monkeypatch, capsys) -> None:
    clock = Clock(monkeypatch, problem(a=False, timeout=4.0))
    clock.etl(5.0)
    assert clock.begin("train a") == chains.LEAST_SECONDS
    assert "which is too little: raise timeout" in capsys.readouterr().out


def test_without_seconds_no_step_has_a_limit(monkeypatch, capsys) -> None:
    clock = Clock(monkeypatch, problem(a=False, b=True, timeout=None))
    clock.etl()
    assert clock.begin("train a") == clock.begin("hpo b") == float("inf")
    assert clock.budget.told() == []
    assert capsys.readouterr().out == ""


def test_what_became_of_the_seconds_is_told_of_each_step_that_ran(clock) -> None:
    clock.begin("train logistic")
    clock.end("train logistic", 2.0)
    steps = {row["step"]: row["used s"] for row in clock.budget.told()}
    assert steps == {"etl": "5.0", "train logistic": "2.0", "chain": "7.0"}


# --- the rows that a model is fitted on -------------------------------------------------------------------------------


class Machine:
    """Fits that take a time by the power of their rows; counts the seconds of its trial fits."""

    def __init__(self, a_row: float, power: float) -> None:
        self.a_row, self.power, self.took, self.tried = a_row, power, 0.0, 0

    def seconds(self, rows: float) -> float:
        """Of a fit."""
        return self.a_row * rows**self.power

    def measure(self, rows: int) -> float:
        """As `seconds`, and counts them."""
        self.took, self.tried = self.took + self.seconds(rows), self.tried + 1
        return self.seconds(rows)


machines = st.builds(Machine, st.floats(1e-9, 1e-3), st.floats(1.0, 2.0))


@given(machines, st.integers(2_001, 10_000_000), st.floats(1.0, 1_000.0))
def test_the_fits_on_the_rows_that_are_chosen_fit_into_the_seconds(machine: Machine, rows: int, seconds: float) -> None:
    share = budget.share_that_fits(machine.measure, rows, 6.5, seconds)
    if share > 0 and machine.tried > 3:  # else the time of few rows is all that is known
        assert machine.took + 6.5 * machine.seconds(share * rows) <= seconds * 1.001


@given(machines, st.integers(2_001, 10_000_000), st.floats(1.0, 1_000.0))
def test_trial_fits_on_many_rows_take_a_small_part_of_the_seconds(machine: Machine, rows: int, seconds: float) -> None:
    budget.share_that_fits(machine.measure, rows, 6.5, seconds)
    few = 2 * machine.seconds(budget.FIRST_ROWS) + machine.seconds(budget.FIRST_ROWS * budget.GROWTH)
    assert machine.took - few <= 0.8 * seconds


def test_what_each_fit_takes_beside_its_rows_does_not_count_for_each_row() -> None:
    share = budget.share_that_fits(lambda rows: 0.5 + 1e-5 * rows, 100_000, 6.5, 20.0)
    assert share == 1.0


@pytest.mark.parametrize(("prepared_again", "share"), [(False, 1.0), (True, 0.5)])
def test_what_is_prepared_for_the_first_fit_and_the_last_counts_twice(prepared_again: bool, share: float) -> None:
    machine = Machine(1e-5, 1.0)

    def measure(rows: int) -> float:
        return machine.measure(rows) + (5.0 if machine.tried == 1 else 0.0)

    assert budget.share_that_fits(measure, 100_000, 6.5, 17.0, prepared_again=prepared_again) == share


def test_a_model_that_fits_is_fitted_on_all_rows() -> None:
    assert budget.share_that_fits(Machine(1e-6, 1.0).measure, 100_000, 6.5, 60.0) == 1.0


def test_no_model_is_fitted_on_a_handful_of_rows() -> None:
    assert budget.least_share(1_000_000) == 0.01
    assert budget.least_share(10_000) == 0.25
    assert budget.least_share(100) == 1.0
    assert budget.share_that_fits(Machine(1e-3, 1.0).measure, 10_000, 6.5, 14.0) == 0.0


def test_of_what_does_not_fit_nothing_is_left() -> None:
    assert budget.share_that_fits(Machine(1e-2, 1.0).measure, 1_000_000, 6.5, 20.0) == 0.0


@pytest.mark.parametrize(("rows", "seconds"), [(1_000_000, float("inf")), (2_000, 1.0)])
def test_nothing_is_tried_without_a_limit_or_on_few_rows(rows: int, seconds: float) -> None:
    machine = Machine(1.0, 1.0)
    assert budget.share_that_fits(machine.measure, rows, 6.5, seconds) == 1.0
    assert machine.took == 0.0


def candidate(estimator: str, task: Any, **params: Any) -> Candidate:
    model = Model.model_validate({"estimator": estimator, "params": params})
    return Candidate("m", model, {}, (Column("a", "double", "number"),), task, seed=3)


TWO = Classification(2, 1)
LOGISTIC = candidate("sklearn.linear_model.LogisticRegression", TWO)
FOREST = candidate("sklearn.ensemble.RandomForestClassifier", TWO)


def test_a_sample_has_as_large_a_share_of_each_class() -> None:
    y = np.repeat([0, 1], [970, 30])
    drawn = budget.sample(LOGISTIC, 0.1, y)
    assert drawn is not None
    assert np.bincount(y[drawn]).tolist() == [97, 3]
    assert len(set(drawn)) == 100


def test_a_class_of_a_few_rows_is_in_each_sample() -> None:
    y = np.repeat([0, 1], [998, 2])
    drawn = budget.sample(LOGISTIC, 0.01, y)
    assert drawn is not None
    assert y[drawn].sum() == 1


def test_a_sample_of_numbers_is_drawn_among_the_rows_that_are_given() -> None:
    ridge = candidate("sklearn.linear_model.Ridge", Regression("none"))
    among = np.arange(100, 200)
    drawn = budget.sample(ridge, 0.25, np.linspace(0, 1, 300), among)
    assert drawn is not None
    assert len(set(drawn)) == 25
    assert set(drawn) <= set(among)


def test_a_whole_share_takes_no_sample() -> None:
    assert budget.sample(LOGISTIC, 1.0, np.zeros(9)) is None
    assert budget.on_share(FOREST, 1.0) is FOREST


@pytest.mark.parametrize(("given_", "drawn"), [({}, 0.25), ({"max_samples": 0.5}, 0.125)])
def test_a_forest_draws_fewer_rows_for_each_tree_out_of_all(given_: dict[str, float], drawn: float) -> None:
    lighter = budget.on_share(candidate("sklearn.ensemble.RandomForestClassifier", TWO, **given_), 0.25)
    assert lighter.params == {"max_samples": drawn}
    assert budget.sample(lighter, 0.25, np.zeros(9)) is None


def test_a_share_is_found_for_a_candidate_whose_preprocessing_was_searched() -> None:
    searched = replace(LOGISTIC, params={"preprocessing.numbers": "quantile", "C": 0.5})
    assert budget.on_share(searched, 1.0) is searched


@pytest.mark.parametrize("params", [{"bootstrap": False}, {"max_samples": 100}])
def test_a_forest_that_draws_no_share_of_the_rows_is_given_a_sample(params: dict[str, Any]) -> None:
    forest = candidate("sklearn.ensemble.RandomForestClassifier", TWO, **params)
    assert budget.on_share(forest, 0.5) is forest
    drawn = budget.sample(forest, 0.5, np.zeros(100))
    assert drawn is not None
    assert len(drawn) == 50


# --- what follows from the problem alone ------------------------------------------------------------------------------


def test_a_search_that_seconds_end_has_many_trials_unless_the_problem_says_how_many() -> None:
    asked = {"name": "p", "data": {"source": "a", "target": "y"}}
    assert build(asked, "made").search.trials == 20
    assert build({**asked, "timeout": 60.0}, "made").search.trials == 200
    assert build({**asked, "timeout": 60.0, "search": {"trials": 7}}, "made").search.trials == 7
