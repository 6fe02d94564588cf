"""Trials on an executor: the same as Hyperopt's own, however many at once and in whatever order they end."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import hyperopt
import numpy as np
import pytest
from hyperopt import hp
from hyperopt.fmin import generate_trials_to_calculate
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular.search.trials import ExecutorTrials

SPACE = {
    "a": hp.uniform("a", -5, 5),
    "n": hp.quniform("n", 1, 20, 1),
    "kind": hp.choice("kind", [{"of": "x"}, {"of": "y", "b": hp.loguniform("b", -3, 1)}]),
}
FLAT = {name: SPACE[name] for name in ("a", "n")}


def bowl(point):
    return (point["a"] - 2) ** 2 + abs(point["n"] - 7) / 10 + point.get("kind", {}).get("b", 0.5)


def slow(point):
    """The same, after a while that depends on nothing."""
    time.sleep(random.uniform(0, 0.01))
    return bowl(point)


def run(trials, objective=bowl, *, space=SPACE, seed=3, evals=30, **options):
    hyperopt.fmin(
        objective,
        space,
        algo=hyperopt.tpe.suggest,
        max_evals=evals,
        trials=trials,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
        return_argmin=False,
        **options,
    )
    return [(doc["tid"], doc["misc"]["vals"], doc["result"]) for doc in trials.trials]


def on(workers, *, max_pending, **options):
    with ThreadPoolExecutor(workers) as executor:
        return run(ExecutorTrials(executor, max_pending=max_pending, at_once=lambda: workers), **options)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_a_lag_of_one_it_is_hyperopts_serial_search(seed):
    assert on(3, max_pending=1, seed=seed) == run(hyperopt.Trials(), seed=seed)


def test_points_to_begin_with_are_hyperopts_too():
    first = [{"a": 1.0, "n": 3.0}, {"a": -1.0, "n": 4.0}]
    with ThreadPoolExecutor(2) as executor:
        trials = ExecutorTrials(executor)
        trials.insert_trial_docs(generate_trials_to_calculate(first)._dynamic_trials)
        ours = run(trials, space=FLAT, evals=25)
    # Hyperopt's own does not count them
    assert ours == run(generate_trials_to_calculate(first), space=FLAT, evals=23)


@pytest.mark.slow
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=5, deadline=None)
def test_the_same_lag_makes_the_same_trials_whatever_the_workers_and_the_delays(max_pending, workers, seed):
    calm = on(1, max_pending=max_pending, seed=seed)
    assert on(workers, max_pending=max_pending, seed=seed, objective=slow) == calm


def test_another_lag_makes_other_trials():
    assert on(2, max_pending=4) != on(2, max_pending=1)


def test_no_more_are_under_way_than_may_be_at_this_moment():
    under_way, most = set(), []

    def watched(point):
        under_way.add(id(point))
        most.append(len(under_way))
        time.sleep(0.01)
        under_way.discard(id(point))
        return bowl(point)

    with ThreadPoolExecutor(8) as executor:
        run(ExecutorTrials(executor, max_pending=6, at_once=lambda: 2), watched, evals=12)
    assert max(most) == 2


def test_a_worker_whose_trial_ends_out_of_turn_goes_on_at_once(monkeypatch):
    monkeypatch.setattr("tabular.search.trials.POLL_SECONDS", 10)
    first, others = threading.Event(), []

    def held(point):
        """The first trial ends when all that may be under way beside it have begun."""
        if not others:
            others.append(point)
            assert first.wait(120)
        else:
            others.append(point)
            if len(others) == 4:
                first.set()
        return bowl(point)

    assert len(on(2, max_pending=4, objective=held, evals=4)) == 4


def fails_at_times(point):
    if point["n"] > 12:
        raise ValueError("too many")
    return bowl(point)


def test_a_failed_trial_is_what_it_is_in_hyperopt():
    ours = on(2, max_pending=1, objective=fails_at_times, catch_eval_exceptions=True)
    assert ours == run(hyperopt.Trials(), fails_at_times, catch_eval_exceptions=True)
    assert len(ours) < 30


def test_an_error_ends_a_search_that_does_not_catch_it():
    with pytest.raises(ValueError, match="too many"):
        on(2, max_pending=2, objective=fails_at_times)


def test_trials_that_had_ended_before_their_turn_count_when_it_is_over():
    class FirstLast(ThreadPoolExecutor):
        """Its first piece of work begins when two others have ended."""

        begun = ()

        def submit(self, fn, *args, **kwargs):
            def begin_last(*args, **kwargs):
                while sum(future.done() for future in self.begun) < 2:
                    time.sleep(0.01)
                return fn(*args, **kwargs)

            future = super().submit(fn if self.begun else begin_last, *args, **kwargs)
            self.begun = (*self.begun, future)
            return future

    class UntilOne(ExecutorTrials):
        def is_over(self):
            return len(self.trials) > 0

    with FirstLast(3) as executor:
        ended = run(UntilOne(executor, max_pending=3))
    assert [number for number, _, _ in ended] == [0, 1, 2]


def test_a_threshold_ends_it_at_the_same_trial_whatever_the_delays():
    calm = on(1, max_pending=3, loss_threshold=1.0)
    assert len(calm) < 30
    assert on(3, max_pending=3, loss_threshold=1.0, objective=slow) == calm


def test_a_function_that_stops_it_sees_the_trials_in_their_order():
    seen = []

    def stop(trials, *state):
        seen.append(trials.tids)
        return len(trials.tids) == 5, [*state, 1]

    assert len(on(3, max_pending=3, early_stop_fn=stop, objective=slow)) == 5
    assert seen == [list(range(number + 1)) for number in range(5)]


def test_time_ends_it_after_an_unbroken_beginning():
    whole = on(2, max_pending=2)
    cut = on(2, max_pending=2, timeout=0.15, objective=lambda point: time.sleep(0.03) or bowl(point))
    assert 1 <= len(cut) < 30
    assert cut == whole[: len(cut)]


def test_one_trial_ends_whatever_the_time():
    assert 1 <= len(on(2, max_pending=2, timeout=1e-9)) <= 2  # the second may have ended beside it


def test_a_search_that_was_killed_goes_on_from_what_it_saved(tmp_path):
    saved = str(tmp_path / "trials")
    whole = on(2, max_pending=3)
    on(2, max_pending=3, evals=11, trials_save_file=saved)
    evaluated = []
    with (tmp_path / "trials").open("a") as file:
        file.write('{"tid": 11, "va')  # it was killed while it wrote

    def noted(point):
        evaluated.append(point)
        return bowl(point)

    assert on(2, max_pending=3, objective=noted, trials_save_file=saved) == whole
    assert len(evaluated) == 19


def test_what_another_search_saved_is_not_taken_for_its_own(tmp_path):
    saved = str(tmp_path / "trials")
    on(2, max_pending=3, seed=1, evals=10, trials_save_file=saved)
    assert on(2, max_pending=3, seed=2, trials_save_file=saved) == on(2, max_pending=3, seed=2)


def test_a_lag_below_one_is_refused():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="max_pending is 0"):
        ExecutorTrials(executor, max_pending=0)
