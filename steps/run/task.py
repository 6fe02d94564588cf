"""The task of a problem that neither says nor implies one: what the target of its table looks like."""

from steps.run import fetching, lookup, run_problem
from steps.run.step import Step
from tabular.data import datasets
from tabular.errors import UserError
from tabular.metrics.lookup import CLASSIFICATION, REGRESSION
from tabular.problem import Problem

OTHER = {CLASSIFICATION: REGRESSION, REGRESSION: CLASSIFICATION}
WHAT = {CLASSIFICATION: "classes are told apart", REGRESSION: "a number is predicted"}


def settled(step: Step, problem: Problem) -> Problem:
    """The problem with its task; prints what the target looks like, and how to say otherwise."""
    if problem.task is not None:
        return problem
    if lookup.is_run_id(step.arguments["problem"]):  # frozen when there were but classes
        return problem.model_copy(update={"task": CLASSIFICATION})
    try:
        with fetching.opened(step, fetching.source(problem.data), problem.data.sha256) as (fetched, readers):
            found = datasets.looks_like(fetched.place, problem, readers)
    except UserError:  # etl says what is wrong with the table, which it reads whole
        return problem.model_copy(update={"task": CLASSIFICATION})
    print(f"  task: {found.why}: {WHAT[found.task]} ({found.task}); else say -P task={OTHER[found.task]}", flush=True)
    again = run_problem.asked(step, found.task)
    where = {name: getattr(problem.data, name) for name in ("source", "sha256")}
    return again.model_copy(update={"data": again.data.model_copy(update=where)})
