"""How long a search is going to take, by what its fits have taken so far."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tabular.search.racing import ETA
from tabular.search.search import Trial

# As many iterations are expected of a fit before one has ended.
USUAL_ITERATIONS = 300
# What is left is said again where it is so many times as long as was said, or as short, and so many seconds apart.
MUCH, SECONDS_APART = 1.5, 10.0


@dataclass
class Forecast:
    """The seconds that are left of a search.

    Attributes
    ----------
    trials, given
        The number of trials, and that of those that are started from, which are evaluated whole.
    at_once
        How many trials are under way.
    fit
        The seconds that a trial is expected to take that is evaluated whole.
    after
        Function of such seconds that returns how long the cross-validation takes.
    """

    trials: int
    given: int
    at_once: int
    fit: float
    after: Callable[[float], float]
    ended: int = 0
    _whole: list[float] = field(default_factory=list)
    _said: float = 0.0  # when the end was expected, in seconds of the search

    def left(self, now: float = 0.0) -> float:
        """The seconds that are left, from `now` on, in seconds of the search."""
        given = min(self.given, self.trials)
        whole = max(0, given - self.ended) + (self.trials - max(given, self.ended)) / ETA
        self._said = now + whole * self.fit / min(self.at_once, self.trials) + self.after(self.fit)
        return self._said - now

    def changed(self, trial: Trial, now: float) -> float | None:
        """Take in that a trial has ended; the seconds that are left, where they have changed much, else None."""
        self.ended += 1
        if trial.is_complete:
            self._whole.append(trial.seconds)
            self.fit = sum(self._whole) / len(self._whole)
        said = self._said
        left = self.left(now)
        is_about_the_same = said - now > 0 and 1 / MUCH <= left / (said - now) <= MUCH
        if is_about_the_same or abs(left - (said - now)) < SECONDS_APART:
            self._said = said
            return None
        return left


def limited(seconds: float, most: float) -> str:
    """What is said beside so many seconds where the search has fewer; empty where it has not."""
    return f" (it ends after {in_words(most)})" if most < seconds else ""


def in_words(seconds: float) -> str:
    """Seconds, or minutes where they are many."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
