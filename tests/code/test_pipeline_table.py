"""The table of the chain against MLproject, the steps' modules and the problem's schema."""

import importlib.util
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.pipeline import CHAIN, STEPS, Kind, StepSpec, Task, plan
from steps.run import cli
from tabular.problem import Problem, build
from tabular.sections.base import Section
from tabular.sections.models import Model

PROJECT = Path(__file__).resolve().parents[2]
DOORS: dict[str, Any] = yaml.safe_load((PROJECT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
SPACE = {"C": {"type": "float", "low": 0.1, "high": 1.0}}


def problem(models: dict[str, bool]) -> Problem:
    """A problem with these models, those that are True with a space to search."""
    values = {name: {"estimator": "a.B", "space": SPACE if searched else {}} for name, searched in models.items()}
    return build({"name": "p", "data": {"source": "a", "target": "y"}, "models": values}, "made")


drawn = (
    st.dictionaries(st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,6}\Z"), st.booleans(), min_size=1, max_size=5)
    .filter(lambda models: len({name.casefold() for name in models}) == len(models))
    .map(problem)
)


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.name)
def test_a_steps_parameters_are_those_of_its_entry_point(step: StepSpec) -> None:
    assert list(step.parameters) == list(DOORS[step.name]["parameters"])


@pytest.mark.parametrize("name", cli.ENTRY_POINTS)
def test_the_parameters_of_another_door_are_those_of_its_entry_point(name: str) -> None:
    assert list(cli.ENTRY_POINTS[name]) == list(DOORS[name]["parameters"])


@pytest.mark.parametrize("name", DOORS)
def test_a_command_passes_each_parameter_once_by_its_name(name: str) -> None:
    passed = re.findall(r"--(\w+)=\{(\w+)\}", DOORS[name]["command"])
    assert [flag for flag, _ in passed] == list(DOORS[name]["parameters"])
    assert all(flag == parameter for flag, parameter in passed)


@pytest.mark.parametrize("name", DOORS)
def test_a_command_runs_the_module_of_its_name(name: str) -> None:
    assert DOORS[name]["command"].split()[:4] == ["python", "-m", "steps", name]
    assert importlib.util.find_spec(f"steps.{name}") is not None


@pytest.mark.parametrize("name", DOORS)
def test_every_parameter_is_text(name: str) -> None:
    """MLflow does not check int and float; the steps say what is wrong with a text themselves."""
    declared = DOORS[name]["parameters"].values()
    assert {one if isinstance(one, str) else one["type"] for one in declared} == {"string"}


def test_every_entry_point_is_a_row_of_the_table_or_a_door_beside_it() -> None:
    assert set(DOORS) == {*STEPS, *cli.ENTRY_POINTS}


def test_step_names_differ() -> None:
    assert len(STEPS) == len(CHAIN)


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.name)
def test_each_parameter_is_of_a_known_kind(step: StepSpec) -> None:
    assert set(step.parameters.values()) <= set(get_args(Kind))


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.name)
def test_a_step_takes_inputs_of_earlier_steps_only(step: StepSpec) -> None:
    earlier = [one.name for one in CHAIN[: CHAIN.index(step)]]
    assert set(step.inputs) <= set(step.parameters)
    assert {read.step for read in step.inputs.values()} <= set(earlier)


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.name)
def test_the_paths_that_a_step_reads_are_in_the_problem(step: StepSpec) -> None:
    for path in step.reads:
        section: Any = Problem
        for part in path.split("."):
            if part in ("{model}", "*"):
                section = Model
                continue
            field = section.model_fields[part]
            section = field.annotation if isinstance(field.annotation, type) else None
            assert (
                section is None or not path.startswith(part + ".") or issubclass(section, Section) or part == "models"
            )


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.name)
def test_only_a_step_of_each_model_reads_the_one_in_hand(step: StepSpec) -> None:
    assert any("{model}" in path for path in step.reads) == step.each_model
    assert ("model" in step.parameters) == step.each_model


def test_only_register_has_an_effect_on_the_world() -> None:
    assert [step.name for step in CHAIN if not step.pure] == ["register"]


@given(drawn)
@settings(deadline=None)
def test_a_task_comes_after_all_that_it_needs(made: Problem) -> None:
    done: set[str] = set()
    for task in plan(made):
        for names in task.needs.values():
            assert set(names) <= done
        done.add(task.name)


@given(drawn)
@settings(deadline=None)
def test_each_task_has_a_name_of_its_own(made: Problem) -> None:
    names = [task.name for task in plan(made)]
    assert len(set(names)) == len(names)


@given(drawn)
@settings(deadline=None)
def test_a_model_is_searched_if_it_has_a_space_and_trained_always(made: Problem) -> None:
    tasks = plan(made)
    searched = [task.model for task in tasks if task.step.name == "hpo"]
    trained = [task.model for task in tasks if task.step.name == "train"]
    assert searched == [name for name, model in made.models.items() if model.space]
    assert trained == list(made.models)


@given(drawn)
@settings(deadline=None)
def test_a_model_is_trained_with_what_its_own_search_found(made: Problem) -> None:
    for task in plan(made):
        if task.step.name == "train":
            found = (f"hpo {task.model}",) if made.models[str(task.model)].space else ()
            assert task.needs["params"] == found


@given(drawn)
@settings(deadline=None)
def test_all_candidates_are_evaluated(made: Problem) -> None:
    evaluate = next(task for task in plan(made) if task.step.name == "evaluate")
    assert evaluate.needs["models"] == tuple(f"train {name}" for name in made.models)


@given(drawn)
@settings(deadline=None)
def test_a_task_gives_each_parameter_that_its_door_demands(made: Problem) -> None:
    tasks = plan(made)
    runs = {task.name: f"{place:032x}" for place, task in enumerate(tasks)}
    for task in tasks:
        given_ = task.parameters("f" * 32, runs)
        declared = DOORS[task.step.name]["parameters"]
        demanded = {name for name, one in declared.items() if isinstance(one, str) or "default" not in one}
        assert demanded <= set(given_) <= set(declared)
        assert all(given_[name] for name in demanded)


def test_a_task_of_a_model_is_named_after_both() -> None:
    assert Task(STEPS["hpo"], "forest", {}).name == "hpo forest"
    assert Task(STEPS["etl"], None, {}).name == "etl"


def test_run_ids_of_several_models_are_separated_by_commas() -> None:
    task = Task(STEPS["evaluate"], None, {"models": ("train a", "train b")})
    assert task.parameters("p", {"train a": "1", "train b": "2"}) == {"problem": "p", "models": "1,2"}
