"""The limits of a search: after how many trials and seconds it ends, and in a replay with what that of then ended."""

import math
import time
from dataclasses import dataclass

from steps.run import lookup, thread_budget
from steps.run.step import Step
from steps.run.tags import SEEDS
from tabular.errors import UserError
from tabular.problem import Problem

# The parameters of a run whose fits were planned by the chain's seconds, and that did not end with its best trial.
PLANNED, CHOSEN = "planned_seconds", "chosen_trial"


@dataclass(frozen=True)
class Limits:
    """The limits of a search.

    Attributes
    ----------
    trials
        After how many trials it ends.
    seconds
        After how many seconds it ends, cross-validation of the best included; infinite where only the trials count.
    begun
        When it began, a value of `time.perf_counter`.
    planned
        By which fits are planned: the seconds there were when it began; None without a limit.
    share
        The file with the seconds that main gives, the final fit included; "" without a limit.
    of_chain
        What main gives, as it is planned by; None where that is no limit.
    chosen
        In a replay, the number of the trial that the search ended with, if not with the best.
    seeds
        In a replay, how many fits the model is the mean of.

    """

    trials: int
    seconds: float
    begun: float
    planned: float | None = None
    share: str = ""
    of_chain: float | None = None
    chosen: int | None = None
    seeds: int | None = None

    def own(self) -> float:
        """What is left of the search's own seconds; infinite where only the trials count."""
        return self.seconds - (time.perf_counter() - self.begun)

    def whole(self) -> float:
        """What is left of the seconds that main gives, which may grow as other steps end; infinite without a limit."""
        return thread_budget.seconds_left(self.share)

    def left(self) -> float:
        """The seconds that are left; infinite where only the trials count."""
        return max(0.0, min(self.own(), self.whole()))


def limits_of(step: Step, problem: Problem, model: str) -> Limits:
    """The limits of a search that begins now.

    A replay ends after as many trials as the search that it repeats, however fast this machine is today.

    Raises
    ------
    UserError
        Where the run to repeat was another search.
    """
    begun, replayed = time.perf_counter(), step.arguments["replays"]
    if not replayed:
        own, of_chain = problem.search.timeout or math.inf, _seconds_given(step)
        if of_chain < own:
            step.log(params={PLANNED: of_chain})
        planned = min(own, of_chain) if min(own, of_chain) < math.inf else None
        by_chain = planned if of_chain < math.inf else None
        return Limits(problem.search.trials, own, begun, planned, step.arguments["share"], by_chain)
    run = lookup.repeated(step, model)
    then = lookup.problem(run, step.folder)
    if (then.search, then.timeout, then.models.get(model)) != (problem.search, problem.timeout, problem.models[model]):
        raise UserError(f"replays: run {replayed} was another search than this one: give one of the same problem")
    told = run.data.params
    if PLANNED in told:
        step.log(params={PLANNED: told[PLANNED]})
    planned = float(told[PLANNED]) if PLANNED in told else problem.search.timeout
    chosen = int(told[CHOSEN]) if CHOSEN in told else None
    seeds = int(told.get(SEEDS, 1))
    return Limits(int(run.data.metrics["trials_ended"]), math.inf, begun, planned, chosen=chosen, seeds=seeds)


def _seconds_given(step: Step) -> float:
    """The seconds that main gives, as many as a machine that is not slow today needs for as much.

    They are at least 1, and have one digit: what is planned by them is the same more often then.
    """
    share = step.arguments["share"]
    return max(1.0, float(f"{thread_budget.seconds_left(share) / thread_budget.slowness(share):.1g}"))
