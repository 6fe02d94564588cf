"""Presets: a word in the place of a problem's models, which is written out before anything runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.chain import keys
from steps.run import paths
from tabular.defaults import PRESETS, SPACES
from tabular.errors import UserError
from tabular.model.estimators import EXTRAS
from tabular.model.model_checks import check
from tabular.problem import Problem, build, parse
from tabular.sections.models import Model

OF = {"classification": "roc_auc", "regression": "rmse"}


def problem(models: Any, **values: Any) -> Problem:
    return build({"name": "p", "data": {"source": "a", "target": "y"}, "models": models, **values}, "mine.yaml")


@pytest.mark.parametrize("task", OF)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_models_of_a_preset_can_be_made_and_are_of_the_task(preset: str, task: Any) -> None:
    found = problem(preset, task=task)
    assert list(found.models) == list(PRESETS[preset][task])
    check(found.models, task)


@pytest.mark.parametrize("task", OF)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_needs_nothing_beside_the_lock(preset: str, task: Any) -> None:
    named = [path for model in problem(preset, task=task).models.values() for path in model.paths()]
    assert {path.partition(".")[0] for path in named} <= {*keys.LOCKED}


def test_without_models_a_problem_has_the_default_ones() -> None:
    assert problem("default") == build({"name": "p", "data": {"source": "a", "target": "y"}}, "mine.yaml")


@pytest.mark.parametrize("metric", OF.values())
def test_the_preset_is_of_the_task_that_the_problem_implies(metric: str) -> None:
    task = next(task for task, of in OF.items() if of == metric)
    assert list(problem("best", search={"metric": metric}).models) == list(PRESETS["best"][task])


def test_a_preset_is_written_as_plain_models() -> None:
    found = problem("best", task="classification")
    assert isinstance(yaml.safe_load(found.to_yaml())["models"], dict)
    assert parse(found.to_yaml(), "frozen") == found
    assert problem(dict(PRESETS["best"]["classification"]), task="classification") == found


@pytest.mark.parametrize(
    ("source", "values", "is_written"),
    [
        ("t.csv", {"models": "quick", "search": {"trials": 3}, "seed": 1}, True),
        ("sklearn:wine", {"task": "classification"}, True),
        ("t.csv", {"split": {"by": "time", "column": "day"}}, False),
        ("t.csv", {"models": {"m": {"estimator": "lightgbm.LGBMClassifier"}}}, False),
        ("https://host/t.csv?page=2", {}, False),
    ],
    ids=["a preset", "a set of scikit-learn", "a split", "models", "an address that is not shown whole"],
)
def test_what_a_command_line_can_say_is_written_as_a_yaml_of_ones_own(
    source: str, values: dict[str, Any], is_written: bool
) -> None:
    name = "wine" if source == "sklearn:wine" else "t"
    found = build({"name": name, "data": {"source": source, "target": "y"}, **values}, "frozen")
    text = paths.as_own_yaml(found)
    assert bool(text) == is_written
    if is_written:
        left = {key: values[key] for key in ("search", "seed") if key in values}  # of a run, not of the table
        assert build({**yaml.safe_load(text), **left}, "own") == found


def test_an_unknown_word_is_told_with_the_nearest_preset() -> None:
    with pytest.raises(UserError, match=r"^mine\.yaml: models: 'bets' is not known, did you mean 'best'\?: a preset"):
        problem("bets")


def test_a_preset_of_the_command_line_takes_the_place_of_the_problems_models(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(problem({"mine": {"estimator": "sklearn.linear_model.Ridge"}}, task="regression").to_yaml())
    (tmp_path / "a").write_text("x,y\n1,2\n")
    found = paths.effective_problem({"problem": str(path), "preset": "best"})
    assert list(found.models) == list(PRESETS["best"]["regression"])


def test_an_unknown_preset_of_the_command_line_is_told_by_its_parameter() -> None:
    with pytest.raises(UserError, match=r"^preset: 'fast' is none of "):
        paths.effective_problem({"preset": "fast"})


@pytest.mark.parametrize("estimator", SPACES)
def test_a_default_space_brings_the_preprocessing_that_its_estimator_wants_unless_the_problem_says(
    estimator: str,
) -> None:
    usual = SPACES[estimator].get("preprocessing", {})
    plain = Model.model_validate({"estimator": estimator, "space": "default"})
    assert plain.preprocessing.model_dump(exclude_defaults=True) == usual
    said = {"numbers": "as_is"}
    own = Model.model_validate({"estimator": estimator, "space": "default", "preprocessing": said})
    assert own.preprocessing.model_dump(exclude_defaults=True) == said


@pytest.mark.parametrize("name", EXTRAS)
def test_an_estimator_of_an_extra_with_a_default_space_is_looked_for_before_anything_runs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (path for path in SPACES if path.startswith(f"{name}.")):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        model = Model.model_validate({"estimator": path, "space": "default"})
        with pytest.raises(UserError, match=f"it is an extra; add `-r {EXTRAS[name]}`"):
            check({"mine": model}, "regression" if path.endswith("Regressor") else "classification")
