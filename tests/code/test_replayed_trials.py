"""A search and its replay compared: by the table of all trials, and by those that are runs of both."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from steps.replay.equality import Pair, _trials
from tabular.problem import build

SCORES = [0.5, 0.75]


def run_of(folder, name: str, trials: str) -> Any:
    """A run of a search of two trials, whose problem says which are runs."""
    (folder / name).mkdir()
    values = {"name": "p", "data": {"source": "a.csv", "target": "y"}, "tracking": {"trials": trials}}
    (folder / name / "problem.yaml").write_text(build(values, "made").to_yaml())
    rows = [[number, score, 1.5] for number, score in enumerate(SCORES)]
    table = {"columns": ["trial", "roc_auc", "trial_seconds"], "data": rows}
    (folder / name / "trials.json").write_text(json.dumps(table))
    info = SimpleNamespace(run_id=name, experiment_id="1", artifact_uri=str(folder / name))
    return SimpleNamespace(info=info, data=SimpleNamespace(tags={}))


@pytest.fixture
def compared(tmp_path):
    """What is found of a search and its replay, of which these trials are runs, {number: its score}."""

    def compare(then: tuple[str, dict[int, float]], now: tuple[str, dict[int, float]]) -> tuple[int, list[str]]:
        runs = {name: run_of(tmp_path, name, trials) for name, (trials, _) in {"then": then, "now": now}.items()}
        children = {
            name: [
                SimpleNamespace(
                    data=SimpleNamespace(tags={"tabular.trial": str(number)}, params={}, metrics={"search": score})
                )
                for number, score in logged.items()
            ]
            for name, (_, logged) in {"then": then, "now": now}.items()
        }
        client: Any = SimpleNamespace(
            search_runs=lambda ids, asked, max_results: next(found for name, found in children.items() if name in asked)
        )
        return _trials(Pair(client, "hpo tree", runs["then"], runs["now"], tmp_path))

    return compare


def test_trials_that_the_replay_was_not_asked_to_log_are_no_difference(compared):
    count, said = compared(("all", dict(enumerate(SCORES))), ("best 1", {1: 0.75}))
    assert said == []
    assert count == 5  # of two trials number and score of the table, and one run


def test_a_trial_that_is_a_run_of_both_is_compared(compared):
    _, said = compared(("all", dict(enumerate(SCORES))), ("best 1", {1: 0.25}))
    assert said == ["trial 1 search: 0.75 then, 0.25 now"]


def test_a_trial_that_is_missing_where_both_were_asked_for_the_same_is_a_difference(compared):
    _, said = compared(("all", {1: 0.75}), ("all", dict(enumerate(SCORES))))
    assert len(said) == 1
    assert "trial 0 search" in said[0]


def test_the_table_is_compared_where_no_trial_is_a_run(compared):
    count, said = compared(("none", {}), ("none", {}))
    assert (count, said) == (4, [])
