"""The chain as one table: what each step takes, reads and needs. main, and all that follows it, read this table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tabular.problem import Problem

# A `value` changes the result by itself, a `reference` by the content that it names, and `conduct` never does.
Kind = Literal["value", "reference", "conduct"]


@dataclass(frozen=True)
class Input:
    """What a step reads of the runs of another one: by the digests that those left as `tabular.digest.<part>`."""

    step: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class StepSpec:
    """A row: an entry point of MLproject and what it depends on."""

    name: str
    parameters: Mapping[str, Kind]
    inputs: Mapping[str, Input]  # parameter: what the run ids that fill it are read for
    reads: tuple[str, ...]  # paths of the problem; {model} stands for the name of the one in hand
    each_model: bool = False
    pure: bool = True  # False: an effect on the world, which the registry remembers


# main tells each step by a file how many threads it may use, and when it may begin.
CONDUCT: dict[str, Kind] = {"share": "conduct"}

CHAIN = (
    StepSpec(
        name="etl",
        parameters={"problem": "reference", "data": "reference", "target": "value", **CONDUCT},
        inputs={},
        reads=("name", "seed", "data", "split", "search.folds", "evaluation.slices"),
    ),
    StepSpec(
        name="hpo",
        parameters={
            "problem": "reference",
            "dataset": "reference",
            "model": "value",
            "trials": "value",
            "resume": "conduct",
            "replays": "conduct",
            **CONDUCT,
        },
        inputs={"dataset": Input("etl", ("train", "schema"))},
        reads=("name", "seed", "search", "models.{model}"),
        each_model=True,
    ),
    StepSpec(
        name="train",
        parameters={"problem": "reference", "dataset": "reference", "model": "value", "params": "reference", **CONDUCT},
        inputs={
            "dataset": Input("etl", ("train", "schema", "counts")),
            "params": Input("hpo", ("params", "cross_validation")),
        },
        reads=("name", "seed", "search.metric", "search.threshold", "search.folds", "models.{model}"),
        each_model=True,
    ),
    StepSpec(
        name="evaluate",
        parameters={
            "problem": "reference",
            "dataset": "reference",
            "models": "reference",
            "searches": "reference",
            **CONDUCT,
        },
        inputs={
            "dataset": Input("etl", ("train", "holdout", "schema", "counts")),
            "models": Input("train", ("model", "code", "scores", "curves")),
            "searches": Input("hpo", ("trials",)),
        },
        reads=("name", "seed", "search.metric", "evaluation", "gate.require"),
    ),
    StepSpec(
        name="register",
        parameters={
            "problem": "reference",
            "evaluation": "reference",
            "dataset": "reference",
            "models": "reference",
            "replays": "conduct",
            **CONDUCT,
        },
        inputs={
            "evaluation": Input("evaluate", ("evaluation",)),
            "dataset": Input("etl", ("train", "holdout", "schema")),
            "models": Input("train", ("model", "code")),
        },
        reads=("name", "description", "seed", "search.metric", "gate", "registry", "tags"),
        pure=False,
    ),
)
STEPS = {step.name: step for step in CHAIN}


@dataclass(frozen=True)
class Task:
    """A step to run, for one model where the step is run for each."""

    step: StepSpec
    model: str | None
    needs: Mapping[str, tuple[str, ...]]  # parameter: the names of the tasks whose run ids fill it

    @property
    def name(self) -> str:
        """Such as `etl` or `hpo lightgbm`."""
        return f"{self.step.name} {self.model}" if self.model else self.step.name

    def inputs(self) -> set[str]:
        """The names of the tasks that it needs."""
        return {name for names in self.needs.values() for name in names}

    def parameters(self, problem: str, runs: Mapping[str, str]) -> dict[str, str]:
        """The entry point's parameters, given the run that holds the problem and those of the tasks that are done."""
        values = {"problem": problem}
        if self.model:
            values["model"] = self.model
        for parameter, names in self.needs.items():
            values[parameter] = ",".join(runs[name] for name in names)
        return values


def plan(problem: Problem) -> list[Task]:
    """The tasks of a problem, each after all that it needs."""
    made: list[Task] = []
    for step in CHAIN:
        for model in list(problem.models) if step.each_model else [None]:
            if step.name == "hpo" and not problem.models[str(model)].space:
                continue  # nothing to search: train takes the problem's own parameters
            needs = {parameter: tuple(_sources(read.step, model, made)) for parameter, read in step.inputs.items()}
            made.append(Task(step, model, needs))
    return made


def _sources(source: str, model: str | None, made: list[Task]) -> Iterator[str]:
    """The tasks of a step that a task needs: those of its own model, or of all where it has none."""
    for task in made:
        if task.step.name == source and (model is None or task.model in (model, None)):
            yield task.name
