"""The choice of the trial that a search ends with: the best of those for which there is time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steps.search.limits import Limits
from steps.search.work import Work
from tabular.search.search import Trial, best


@dataclass
class Choice:
    """The trial that a search ends with, chosen anew as trials end and seconds pass."""

    limits: Limits
    work: Work
    number: int | None = None  # the trial that is chosen so far

    def is_over(self, trials: Sequence[Trial]) -> bool:
        """Whether the seconds that are left are needed for the trial that is chosen; if not, choose anew."""
        among = _of_use(trials)
        slack = self._slack(among)
        fits = [trial for trial in among if slack[trial.number] > 0]
        if not fits or self.number not in (None, *(trial.number for trial in fits)):
            return True
        ahead = best(fits)
        self.number = None if ahead.score is None or not ahead.is_complete else ahead.number
        return False

    def of(self, trials: Sequence[Trial]) -> Trial:
        """The trial that the search ends with; where there is time for none, the one that takes least."""
        number = self.number if self.limits.chosen is None else self.limits.chosen
        known = {trial.number: trial for trial in trials}
        if number in known:
            return known[number]
        among = [trial for trial in _of_use(trials) if trial.score is not None]
        slack = self._slack(among)
        least = max(slack.values())
        return best(among) if least > 0 else next(trial for trial in among if slack[trial.number] == least)

    def _slack(self, trials: Sequence[Trial]) -> dict[int, float]:
        """{trial: the seconds left after its cross-validation, and its final fit where main gives the seconds}."""
        own, whole = self.limits.own(), self.limits.whole()
        if own == whole == math.inf:
            return {trial.number: math.inf for trial in trials}
        return {
            trial.number: min(own, whole - train) - self.work.seconds_to_cross_validate(trial)
            for trial, train in zip(trials, self.work.seconds_to_train(trials), strict=True)
        }


def _of_use(trials: Sequence[Trial]) -> Sequence[Trial]:
    """The trials that were evaluated whole, or all where none was."""
    return [trial for trial in trials if trial.is_complete] or trials
