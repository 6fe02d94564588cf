"""The problem that a step works on: frozen by main, or by the first step that is started by hand."""

from mlflow.entities import Run

from steps.run import artifacts, lookup, paths, source_digest
from steps.run.step import Step
from steps.run.tags import MODEL, MODEL_FAMILY, PROBLEM
from tabular.errors import UserError
from tabular.problem import BLEND, Problem
from tabular.sections.table import OF_FITS, PLACE


def problem_of(step: Step, earlier: Run | None = None) -> Problem:
    """The problem of a step, which is logged with the step's own run.

    The parameter `problem` names a run that holds the problem, or a file. Without it the problem is that of `earlier`,
    the run that the step works on. The problem is logged so that each run says by itself what it was asked.

    Raises
    ------
    UserError
        Where the given problem would make another data set of its table than the problem of `earlier`.
    """
    before = lookup.problem(earlier, step.folder) if earlier is not None else None
    if before is not None and not step.arguments["problem"]:
        found = paths.set_over(before, step.arguments)
    else:
        found = asked(step, "" if before is None else before.task or "")
    if before is not None and _made_of_table(found) != _made_of_table(before):
        raise UserError(
            f"problem: the data or split section of {found.name!r} is not that of the earlier run, on which this step "
            "works: leave the parameter problem out, or run etl for it"
        )
    freeze(step, found)
    return found


def asked(step: Step, task: str = "") -> Problem:
    """The problem that a step's command line names: that of a run, a file's, or defaults, with the overrides.

    `task` is what it predicts, where the command line does not say; "" leaves it to the problem.
    """
    given = step.arguments["problem"]
    if lookup.is_run_id(given):
        run = lookup.run(step.client, given, "problem")
        return paths.set_over(lookup.problem(run, step.folder), step.arguments)
    said = step.arguments.get("task", "") or task
    return paths.effective_problem({**step.arguments, "task": said})


def freeze(step: Step, problem: Problem) -> None:
    """Log the problem to the step's run; at once where the step is no task of a chain: others read it."""
    step.text(problem.to_yaml(), artifacts.PROBLEM)
    step.log(tags={PROBLEM: problem.name, **problem.tags})
    if not step.is_task:
        step.upload(artifacts.PROBLEM)
        step.flush()


def _made_of_table(problem: Problem) -> tuple[dict, dict]:
    """The parts of a problem that decide what it makes of a table; where the table is does not count."""
    return problem.data.model_dump(exclude={*PLACE, *OF_FITS}), problem.split.model_dump()


def model_of(step: Step, problem: Problem) -> str:
    """The name of the model that the parameter `model` asks for; records the source digest of its estimator."""
    name = step.arguments["model"]
    if name not in problem.models:
        known = ", ".join(problem.models)
        raise UserError(f"model: the problem {problem.name!r} has no model {name!r}; its models: {known}")
    for path in problem.models[name].paths():
        step.estimators[path] = source_digest.of_estimator(path)
    step.log(tags={MODEL: name})
    return name


def model_tags(problem: Problem, name: str) -> dict[str, str]:
    """Tags for the model that a run is about: its name in the problem, and its family, the estimator's class."""
    family = BLEND if name not in problem.models else problem.models[name].estimator.rpartition(".")[2]
    return {MODEL: name, MODEL_FAMILY: family}
