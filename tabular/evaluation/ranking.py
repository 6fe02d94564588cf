"""The order of candidates: by what their cross-validation promises, so that the holdout only judges.

Who takes the best of a dozen scores on the holdout reports a score that is too good: the luck of the best is in it
(G. C. Cawley and N. L. C. Talbot, "On Over-fitting in Model Selection and Subsequent Selection Bias in Performance
Evaluation", JMLR 11, 2010). `benchmarks/optimism.py` shows by how much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """What is known of a candidate without its score on the holdout.

    Attributes
    ----------
    name
        The model's name.
    passes
        Whether it meets the gate's requirements.
    score
        The mean of its folds' scores; greater is better.
    error
        The standard error of that mean.
    size
        The bytes of its model; only read where ties go to the smaller.
    """

    name: str
    passes: bool
    score: float
    error: float = math.nan
    size: int = 0


def ranked(promises: Sequence[Promise], *, ties: str = "score") -> list[str]:
    """The names of candidates, the best first: those that pass the gate before the others, then by score.

    Parameters
    ----------
    promises
        At least one; a score may be NaN, which is the worst.
    ties
        `score`: the better score decides, however close. `smaller`: of those whose score is within a standard error
        of the best one's, the smallest model comes first (the one-standard-error rule of L. Breiman et al.,
        "Classification and Regression Trees", 1984, section 3.4.3).
    """

    def place(one: Promise) -> tuple[bool, float]:
        return not one.passes, math.inf if math.isnan(one.score) else -one.score

    order = sorted(promises, key=place)
    best = order[0]
    if ties == "smaller" and best.error > 0:
        tied = [one for one in order if one.passes == best.passes and one.score >= best.score - best.error]
        tied.sort(key=lambda one: one.size)
        order = [*tied, *(one for one in order if one not in tied)]
    return [one.name for one in order]
