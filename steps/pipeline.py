"""The chain as one table: each step's parameters, inputs, and the parts of the problem that it reads.

All code that follows the chain reads this table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tabular.problem import BLEND, REFIT, Problem

# How a parameter affects the result: a `value` by itself, a `reference` by the content that it names, `conduct` never.
Kind = Literal["value", "reference", "conduct"]


@dataclass(frozen=True)
class Input:
    """What a step reads from the runs of another step: parts, whose digests are tags of those runs.

    The tags are `tabular.digest.<part>`.
    """

    step: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Seconds:
    """About how many seconds a step takes on two cores: what is left for it in a chain whose seconds are limited.

    Attributes
    ----------
    fixed, cells
        Of any step; for each million cells (rows x columns) of the table.
    model, model_rows, model_cells
        For each model; and for each model, for each 100,000 rows and for each million cells.
    """

    fixed: float
    cells: float = 0.0
    model: float = 0.0
    model_rows: float = 0.0
    model_cells: float = 0.0

    def of(self, models: int, rows: int, columns: int) -> float:
        """The seconds for so many models, and a table of so many rows and columns."""
        cells = rows * columns / 1e6
        each = self.model + self.model_rows * rows / 1e5 + self.model_cells * cells
        return self.fixed + self.cells * cells + models * each


@dataclass(frozen=True)
class StepSpec:
    """A row of the table: an entry point of MLproject and what it depends on."""

    name: str
    parameters: Mapping[str, Kind]
    inputs: Mapping[str, Input]  # {parameter that takes run ids: what is read from these runs}
    reads: tuple[str, ...]  # paths in the problem; {model} stands for the name of the task's model, * for each name
    each_model: bool = False
    pure: bool = True  # False: has a side effect, on the registry
    seconds: Seconds = field(default=Seconds(3.0), repr=False)  # of no key: it decides no result
    # keys of the section tracking by which the step leaves something else; read where they say other than the default,
    # so that what a problem without the section asks has the key that it had before there was one
    tracking: tuple[str, ...] = field(default=(), repr=False)


# The file by which main tells a step how many threads it may use, and when it may begin.
CONDUCT: dict[str, Kind] = {"share": "conduct"}
# Where the work of a step is done, and that of main's steps (`steps.run.engine`).
ENGINE: dict[str, Kind] = {"engine": "conduct", "engine_address": "conduct"}
# The keys of the section tracking by which a model is logged otherwise.
OF_MODELS = ("models", "largest_model", "input_example")

CHAIN = (
    StepSpec(
        name="etl",
        parameters={
            "problem": "reference",
            "data": "reference",
            "query": "reference",
            "target": "value",
            "task": "value",
            **ENGINE,
            **CONDUCT,
        },
        inputs={},
        reads=("name", "task", "seed", "data", "split", "search.folds", "evaluation.slices"),
        seconds=Seconds(3.5, cells=0.8),
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
            **ENGINE,
            **CONDUCT,
        },
        inputs={"dataset": Input("etl", ("train", "schema"))},
        reads=("name", "task", "seed", "timeout", "data.target_transform", "search", "models.{model}"),
        each_model=True,
    ),
    StepSpec(
        name="train",
        parameters={
            "problem": "reference",
            "dataset": "reference",
            "model": "value",
            "params": "reference",
            "engine_ranks": "value",
            "replays": "conduct",
            **ENGINE,
            **CONDUCT,
        },
        inputs={
            "dataset": Input("etl", ("train", "schema", "counts")),
            "params": Input("hpo", ("params", "cross_validation")),
        },
        reads=(
            *("name", "task", "seed", "timeout", "data.target_transform", "search.metric", "search.threshold"),
            *("search.calibrate", "search.folds", "evaluation.coverage", "models.{model}", "ranks"),
        ),
        tracking=OF_MODELS,
        each_model=True,
    ),
    StepSpec(
        name="blend",
        parameters={"problem": "reference", "dataset": "reference", "models": "reference", **CONDUCT},
        inputs={
            "dataset": Input("etl", ("train", "schema")),
            "models": Input("train", ("model", "code", "out_of_fold")),
        },
        reads=(
            *("name", "task", "seed", "blend", "search.metric", "search.threshold", "search.calibrate"),
            *("search.folds", "evaluation.coverage"),
        ),
        tracking=OF_MODELS,
        seconds=Seconds(1.5, model=0.3),
    ),
    StepSpec(
        name="evaluate",
        parameters={
            "problem": "reference",
            "dataset": "reference",
            "models": "reference",
            "blend": "reference",
            "searches": "reference",
            **CONDUCT,
        },
        inputs={
            "dataset": Input("etl", ("train", "holdout", "schema", "counts")),
            "models": Input("train", ("model", "code", "scores", "curves")),
            "blend": Input("blend", ("blend",)),
            "searches": Input("hpo", ("trials",)),
        },
        reads=(
            *("name", "task", "seed", "search.metric", "search.folds", "evaluation", "gate.require"),
            *("gate.beat_prior", "models.*.required"),
        ),
        tracking=("pictures",),
        seconds=Seconds(2.0, model=1.0, model_rows=2.4, model_cells=0.15),
    ),
    StepSpec(
        name="refit",
        parameters={
            "problem": "reference",
            "evaluation": "reference",
            "dataset": "reference",
            "models": "reference",
            "blend": "reference",
            "searches": "reference",
            "replays": "conduct",
            **ENGINE,
            **CONDUCT,
        },
        inputs={
            "evaluation": Input("evaluate", ("evaluation",)),
            "dataset": Input("etl", ("train", "holdout", "schema")),
            "models": Input("train", ("model", "code", "out_of_fold")),
            "blend": Input("blend", ("blend",)),
            "searches": Input("hpo", ("params",)),
        },
        reads=(
            *("name", "task", "seed", "timeout", "refit", "data.target_transform", "search.metric"),
            *("search.threshold", "search.calibrate", "search.folds", "evaluation.coverage", "models", "ranks"),
        ),
        tracking=OF_MODELS,
        seconds=Seconds(1.5, model=0.2, model_cells=0.1),
    ),
    StepSpec(
        name="register",
        parameters={
            "problem": "reference",
            "evaluation": "reference",
            "dataset": "reference",
            "models": "reference",
            "blend": "reference",
            "refit": "reference",
            "replays": "conduct",
            **CONDUCT,
        },
        inputs={
            "evaluation": Input("evaluate", ("evaluation",)),
            "dataset": Input("etl", ("train", "holdout", "schema")),
            "models": Input("train", ("model", "code")),
            "blend": Input("blend", ("blend",)),
            "refit": Input("refit", ("refit",)),
        },
        reads=("name", "task", "description", "seed", "search.metric", "refit", "gate", "registry", "tags"),
        pure=False,
        tracking=("models", "largest_model", "pictures"),  # its report shows the pictures of evaluate
        seconds=Seconds(2.0),
    ),
)
STEPS = {step.name: step for step in CHAIN}


@dataclass(frozen=True)
class Task:
    """A task of the chain: a step, and its model where the step is run for each model."""

    step: StepSpec
    model: str | None
    needs: Mapping[str, tuple[str, ...]]  # {parameter: names of the tasks whose run ids are its value}

    @property
    def name(self) -> str:
        """The name of the task, such as `etl` or `hpo lightgbm`."""
        return f"{self.step.name} {self.model}" if self.model else self.step.name

    def inputs(self) -> set[str]:
        """The names of the tasks that this task needs."""
        return {name for names in self.needs.values() for name in names}

    def parameters(self, problem: str, runs: Mapping[str, str]) -> dict[str, str]:
        """The parameters of the entry point.

        Parameters
        ----------
        problem
            Id of the run that holds the problem.
        runs
            {task: id of its run}, with all tasks that this task needs.
        """
        values = {"problem": problem}
        if self.model:
            values["model"] = self.model
        for parameter, names in self.needs.items():
            values[parameter] = ",".join(runs[name] for name in names)
        return values


def plan(problem: Problem) -> list[Task]:
    """The tasks of a problem, each after all tasks that it needs."""
    made: list[Task] = []
    for step in CHAIN:
        if (step.name == BLEND and not problem.is_blended) or (step.name == REFIT and not problem.refit):
            continue
        for model in list(problem.models) if step.each_model else [None]:
            if step.name == "hpo" and not problem.models[str(model)].space:
                continue  # nothing to search: train takes the problem's own parameters
            needs = {parameter: tuple(_sources(read.step, model, made)) for parameter, read in step.inputs.items()}
            made.append(Task(step, model, needs))
    return made


def _sources(source: str, model: str | None, made: list[Task]) -> Iterator[str]:
    """The names of a step's tasks that a task needs: those of the same model, or all where the task has no model."""
    for task in made:
        if task.step.name == source and (model is None or task.model in (model, None)):
            yield task.name
