"""Who came out where in benchmarks/race.py: ranks, distances to the best, wins and losses, kept promises.

All intervals are of 95 %, by the bootstrap: tables are drawn with replacement, each with all of its seeds, since the
seeds of a table are no more independent than the rows of a group.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from scipy.stats import rankdata

from tabular.evaluation.bootstrap import Interval, draws, interval
from tabular.metrics.lookup import sign
from tabular.metrics.metric import rounded

Array: TypeAlias = np.ndarray[Any, Any]
RESAMPLES = 10_000
# The metric that a table is ranked by is the first of its result. A distance in it is a share of the best score where
# it has the unit of the target, and a plain difference elsewhere.
RELATIVE = {"rmse"}


@dataclass(frozen=True)
class Result:
    """What a system made of a table.

    Attributes
    ----------
    table, seed, seconds, system
        Of which race: the table's name, the seed of the split, the seconds that were given.
    scores
        Metric: value on the unseen rows; first the one that the system was asked to optimise. Of a system that failed,
        those of the prior.
    promised
        What the system itself says of its model by the first metric, by what it was found on, such as `validation`.
    took
        Seconds by the clock, from the start of the command to the fitted model.
    model
        What won within the system, in its own words.
    version
        Of the system.
    failed
        Why there is no model, or "".

    """

    table: str
    seed: int
    seconds: float
    system: str
    scores: Mapping[str, float]
    promised: Mapping[str, float]
    took: float
    model: str
    version: str
    failed: str = ""

    @property
    def race(self) -> tuple[str, int, float]:
        """The results of one race are compared with each other."""
        return self.table, self.seed, self.seconds

    @property
    def metric(self) -> str:
        """The metric that it was to optimise."""
        return next(iter(self.scores))


@dataclass(frozen=True)
class Figure:
    """A mean over tables, with its interval."""

    mean: float
    interval: Interval

    def __str__(self) -> str:
        """Rounded to four digits."""
        low, high = rounded(self.interval.low), rounded(self.interval.high)
        return f"{rounded(self.mean)} ({low} to {high})"


def whole(results: Sequence[Result], systems: Sequence[str]) -> tuple[list[Result], int]:
    """The results of those races that all of these systems have run, and the number of the other races."""
    entered: dict[tuple[str, int, float], set[str]] = defaultdict(set)
    for one in results:
        entered[one.race].add(one.system)
    complete = {race for race, those in entered.items() if those >= set(systems)}
    return [one for one in results if one.race in complete and one.system in systems], len(entered) - len(complete)


def by_table(results: Sequence[Result], systems: Sequence[str], metric: str) -> dict[str, Array]:
    """{table: (races, systems) losses}, by a metric, of which less is better; tables without the metric are left out.

    `results` are those of whole races.
    """
    found: dict[str, dict[tuple[str, int, float], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for one in results:
        if metric in one.scores:
            found[one.table][one.race][one.system] = -sign(metric) * one.scores[metric]
    return {
        table: np.array([[race[system] for system in systems] for race in races.values()])
        for table, races in found.items()
    }


def ranks(losses: Mapping[str, Array]) -> dict[str, Array]:
    """{table: (races, systems) ranks} of losses: 1 for the best; those that are equal share the mean of their ranks."""
    return {table: rankdata(of, axis=1) for table, of in losses.items()}


def behind(losses: Mapping[str, Array], metric: str) -> dict[str, Array]:
    """{table: (races, systems) distances} to the best of each race, 0 or more; of RMSE as a share of the best."""
    return {table: _distance(of, of.min(axis=1, keepdims=True), metric) for table, of in losses.items()}


def ahead(losses: Mapping[str, Array], metric: str, one: int, other: int) -> dict[str, Array]:
    """{table: (races,) distances} by which a system is better than another, below 0 where it is worse."""
    return {table: _distance(of[:, other], of[:, one], metric) for table, of in losses.items()}


def _distance(losses: Array, reference: Array, metric: str) -> Array:
    return (losses - reference) / (reference if metric in RELATIVE else 1.0)


def over_tables(values: Mapping[str, Array], statistic: Callable[[Array], float] = np.mean) -> Figure:
    """The mean over tables of a statistic of each table's (races,) values."""
    of_each = np.array([statistic(of) for of in values.values()])
    if len(of_each) == 0:
        return Figure(float("nan"), Interval(float("nan"), float("nan")))
    drawn = np.concatenate([times @ of_each for times in draws(len(of_each), seed=0, resamples=RESAMPLES)])
    return Figure(float(of_each.mean()), interval(drawn / len(of_each)))


def wins(margins: Mapping[str, Array]) -> tuple[int, int, Figure]:
    """Tables won and lost by the mean of their margins, and the share of races that are won; a draw is half of one."""
    means = [of.mean() for of in margins.values()]
    share = over_tables(margins, lambda of: float(np.mean((of > 0) + 0.5 * (of == 0))))
    return sum(mean > 0 for mean in means), sum(mean < 0 for mean in means), share


def gaps(results: Sequence[Result], system: str, metric: str, found_on: str) -> dict[str, Array]:
    """{table: (races,) gaps}: by how much a system promised more than the unseen rows gave, below 0 where less.

    Results without this promise, such as those of a failure, are left out.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for one in results:
        if one.system == system and one.metric == metric and found_on in one.promised:
            gap = sign(metric) * (one.promised[found_on] - one.scores[metric])
            found[one.table].append(gap / (one.scores[metric] if metric in RELATIVE else 1.0))
    return {table: np.array(of) for table, of in found.items()}


def by_chance(score: float, rarer: int, others: int) -> float:
    """The mean size of the gap of a promise that is exactly a model's ROC AUC, by the chance of the unseen rows alone.

    By the standard error of J. A. Hanley and B. J. McNeil 1982 (Radiology 143, 1), for a normal distribution.

    Parameters
    ----------
    score
        The ROC AUC.
    rarer, others
        The unseen rows of each of two classes.
    """
    one, two = score / (2 - score), 2 * score**2 / (1 + score)
    variance = score * (1 - score) + (rarer - 1) * (one - score**2) + (others - 1) * (two - score**2)
    return math.sqrt(2 / math.pi * variance / (rarer * others))


def report(
    results: Sequence[Result], systems: Sequence[str], unseen: Mapping[tuple[str, int], tuple[int, int]] | None = None
) -> str:
    """All standings as Markdown.

    Parameters
    ----------
    results
        Those of all races.
    systems
        The first is the one that the others are held against.
    unseen
        {(table, seed): unseen rows of the rarer class and of the other}, of tables of two classes.
    """
    lines: list[str] = []
    for seconds in sorted({one.seconds for one in results}):
        kept, left_out = whole([one for one in results if one.seconds == seconds], systems)
        tables, races = len({one.table for one in kept}), len({one.race for one in kept})
        more = f" ({left_out} more are not whole, and left out)" if left_out else ""
        lines += ["", f"## {seconds:g} s: {races} races on {tables} tables{more}"]
        if kept:
            lines += _places(kept, systems)
            for metric in _metrics(kept):
                lines += _of_metric(kept, systems, metric)
            lines += [*_promises(kept, systems), *_chance(kept, systems, unseen or {})]
            lines += [*_times(kept, systems), *_scores(kept, systems)]
    versions = [
        f"{system} {', '.join(sorted({one.version for one in results if one.system == system} - {''}))}"
        for system in systems
    ]
    lines += ["", "; ".join(versions)]
    return "\n".join(lines)


def _metrics(results: Sequence[Result]) -> list[str]:
    """All metrics, in the order of their first appearance."""
    return list(dict.fromkeys(name for one in results for name in one.scores))


def _places(results: Sequence[Result], systems: Sequence[str]) -> list[str]:
    """The mean ranks over all tables, each by the metric that was optimised."""
    every: dict[str, Array] = {}
    for metric in dict.fromkeys(one.metric for one in results):
        every |= ranks(by_table([one for one in results if one.metric == metric], systems, metric))
    means = [over_tables({table: of[:, at] for table, of in every.items()}) for at in range(len(systems))]
    firsts = [sum(of[:, at].mean() == of.mean(axis=0).min() for of in every.values()) for at in range(len(systems))]
    failures = [sum(1 for one in results if one.system == system and one.failed) for system in systems]
    lines = ["", "| | mean rank | best on so many tables | failed |", "|---|---|---|---|"]
    rows = zip(systems, means, firsts, failures, strict=True)
    return lines + [f"| {system} | {mean} | {first} | {failed} |" for system, mean, first, failed in rows]


def _of_metric(results: Sequence[Result], systems: Sequence[str], metric: str) -> list[str]:
    """Distances to the best, and the first system beside each other one."""
    losses = by_table(results, systems, metric)
    distances = behind(losses, metric)
    unit = " (shares of the best)" if metric in RELATIVE else ""
    lines = ["", f"**{metric}**, {len(losses)} tables{unit}", ""]
    lines += [f"| | behind the best | at worst | {systems[0]} is better by | tables won, lost | races won |"]
    lines += ["|---|---|---|---|---|---|"]
    for at, system in enumerate(systems):
        of_each = {table: of[:, at] for table, of in distances.items()}
        worst = max(of_each, key=lambda table: of_each[table].mean())
        beside = "| | | |"
        if at:
            margins = ahead(losses, metric, 0, at)
            won, lost, share = wins(margins)
            beside = f"| {over_tables(margins)} | {won}, {lost} | {share} |"
        lines.append(f"| {system} | {over_tables(of_each)} | {rounded(of_each[worst].mean())} ({worst}) {beside}")
    return lines


def _promises(results: Sequence[Result], systems: Sequence[str]) -> list[str]:
    """How far what each system promised is from what the unseen rows gave."""
    lines = ["", "| promised more than it gave (below 0: less) | on | mean | mean size | at worst |"]
    lines += ["|---|---|---|---|---|"]
    for metric in dict.fromkeys(one.metric for one in results):
        for system in systems:
            promises = dict.fromkeys(name for one in results if one.system == system for name in one.promised)
            for found_on in promises:
                found = gaps(results, system, metric, found_on)
                if not found:
                    continue
                worst = max(found, key=lambda table: abs(found[table]).mean())
                sizes = over_tables({table: abs(of) for table, of in found.items()})
                most = f"{rounded(found[worst].mean())} ({worst})"
                lines.append(f"| {metric}: {system} | {found_on} | {over_tables(found)} | {sizes} | {most} |")
    return lines


def _chance(
    results: Sequence[Result], systems: Sequence[str], unseen: Mapping[tuple[str, int], tuple[int, int]]
) -> list[str]:
    """How far promises are off on tables of two classes, and how far the chance of the unseen rows alone puts them."""
    of_two = [one for one in results if (one.table, one.seed) in unseen and one.metric == "roc_auc"]
    if not of_two:
        return []
    tables = sorted({one.table for one in of_two})
    lines = ["", f"| ROC AUC, {len(tables)} tables of two classes | on | mean size |", "|---|---|---|"]
    for system in systems:
        own = [one for one in of_two if one.system == system]
        for found_on in dict.fromkeys(name for one in own for name in one.promised):
            sizes = {table: abs(of) for table, of in gaps(own, system, "roc_auc", found_on).items()}
            if len(sizes) == len(tables):
                lines.append(f"| {system} | {found_on} | {over_tables(sizes)} |")
        chance: dict[str, list[float]] = defaultdict(list)
        for one in own:
            chance[one.table].append(by_chance(one.scores["roc_auc"], *unseen[one.table, one.seed]))
        expected = over_tables({table: np.array(of) for table, of in chance.items()})
        lines.append(f"| {system} | what it is worth, by chance alone | {expected} |")
    return lines


def _times(results: Sequence[Result], systems: Sequence[str]) -> list[str]:
    """The seconds that each system took."""
    lines = ["", "| | seconds, mean | most | share of what was given, mean | most |", "|---|---|---|---|---|"]
    for system in systems:
        took = {(one.table, one.seed): one.took for one in results if one.system == system}
        longest = max(took, key=lambda race: took[race])
        given, seconds = results[0].seconds, np.array(list(took.values()))
        shares = f"{seconds.mean() / given:.0%} | {seconds.max() / given:.0%}"
        lines.append(f"| {system} | {seconds.mean():.1f} | {seconds.max():.1f} ({longest[0]}) | {shares} |")
    return lines


def _scores(results: Sequence[Result], systems: Sequence[str]) -> list[str]:
    """What each system scored on each table: the mean over the seeds by the metric that was optimised."""
    lines = ["", f"| table | metric | {' | '.join(systems)} |", f"|---|---|{'---|' * len(systems)}"]
    for table in dict.fromkeys(one.table for one in results):
        of_table = [one for one in results if one.table == table]
        cells = []
        for system in systems:
            own = [one for one in of_table if one.system == system]
            failed = " (failed)" if any(one.failed for one in own) else ""
            cells.append(f"{rounded(np.mean([one.scores[one.metric] for one in own]))}{failed}")
        lines.append(f"| {table} | {of_table[0].metric} | {' | '.join(cells)} |")
    return lines
