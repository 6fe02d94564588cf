"""check: whether a chain can do its work in this store with this account, before any work is done.

Prints an answer for each question, and what to do where the answer is no.
"""

from collections.abc import Callable

from steps.chain import store_check
from steps.model import registry
from steps.run import connection, run_problem, tracking
from steps.run.step import Step
from steps.run.terminal import say
from tabular.errors import UserError
from tabular.metrics.lookup import REGRESSION
from tabular.problem import Problem


def check(step: Step) -> None:
    """Ask all questions; fail with the first answer that is no."""
    problem = run_problem.asked(step)
    step = registry.chosen(step, problem)
    say(f"tabular  check {tracking.address()} for {problem.name}")
    failed = []
    for what, ask in _questions(step, _names(step, problem)).items():
        try:
            answer, is_well = ask(), True
        except (UserError, connection.Lost) as error:
            answer, is_well = str(error), False
            failed.append((what, answer))
        say(f"  {what:<9}  {'' if is_well else 'NO: '}{answer}")
    if failed:
        what, answer = failed[0]
        raise UserError(f"{what}: {answer}" + (f" ({len(failed)} answers are no)" if failed[1:] else ""))
    step.finish(f"check {problem.name}", "all is well", "A chain can do its work here.")


def _names(step: Step, problem: Problem) -> list[str]:
    """The registered models that a chain may ask for: two where only the table tells which task it is."""
    names = [problem.registry.name]
    if problem.task is None:
        names.append(run_problem.asked(step, REGRESSION).registry.name)
    return list(dict.fromkeys(names))


def _questions(step: Step, names: list[str]) -> dict[str, Callable[[], str]]:
    version = connection.check()
    server = f"MLflow {version} answers" if version else "a database of this machine or network, asked without a server"
    experiment = step.client.get_experiment(step.experiment_id).name
    return {
        "server": lambda: server,
        "account": connection.account,
        "runs": lambda: f"this one was made in the experiment {experiment!r}",
        "artifacts": lambda: store_check.artifacts(step),
        "registry": lambda: "; ".join(store_check.registry(step, name) for name in names),
    }
