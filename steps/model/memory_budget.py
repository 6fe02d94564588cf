"""Whether the fits of a step have memory enough: what would not fit is told before it begins, and what fits at once.

It decides what runs and what runs at once; never a result. On a table that is neither large nor wide nothing is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from steps.model.dataset import DataSet
from steps.run import memory_room, thread_budget
from steps.run.engine import Engine, Local
from tabular.data.folds import Fold
from tabular.data.size import is_large
from tabular.errors import OutOfMemoryError
from tabular.model.binned import BinnedRows
from tabular.model.memory import Estimate, Need, costliest, in_words, rows_within
from tabular.model.training import Candidate


@dataclass(frozen=True)
class AtOnce:
    """How many trials of a search, and how many folds of its cross-validation, have memory enough at the same time."""

    trials: int
    folds: int


def check_fit(candidate: Candidate, rows: DataSet, most: int) -> None:
    """Check that a fit on so many rows has memory enough.

    Raises
    ------
    OutOfMemoryError
        It has not.
    """
    room = _room(rows)
    if room is None:
        return
    estimate = Estimate(candidate, rows.X)
    need = estimate.of(most).whole
    if need > room:
        fewer = rows_within(most, lambda size: estimate.of(size).whole <= room)
        what = f"a fit on {most:,} rows of {estimate.shape.columns:,} encoded columns"
        raise _too_much(candidate, rows, what, need, room, fewer)


def of_search(
    candidate: Candidate, rows: DataSet, parts: Sequence[Fold], folds: Sequence[Fold], most: int, place: Engine
) -> AtOnce:
    """How many trials and folds of a search have memory enough at the same time.

    Parameters
    ----------
    candidate, rows
        The candidate, and the rows that it learns from.
    parts
        The parts of a trial's evaluation, which all trials share encoded.
    folds
        The folds of the cross-validation of the best trial.
    most
        The answer where memory is no limit.
    place
        Where they run: of the workers of a cluster nothing is known.

    Raises
    ------
    OutOfMemoryError
        There is not enough for one.
    """
    room = _room(rows) if isinstance(place, Local) else None
    if room is None:
        return AtOnce(most, most)
    search = _Search(Estimate(costliest(candidate), rows.X), max(1, len(candidate.model.treatments())), parts, folds)
    largest = max(len(fold.fit) for fold in (*parts, *folds))
    held, trial, fold, whole = search.needs(largest)
    if whole > room:
        fewer = rows_within(largest, lambda size: search.needs(size)[-1] <= room)
        raise _too_much(candidate, rows, f"a search with fits on {largest:,} rows", whole, room, fewer)
    return AtOnce(*(max(1, min(most, int((room - held) // max(1.0, each)))) for each in (trial, fold)))


@dataclass(frozen=True)
class _Search:
    """The fits of a search."""

    estimate: Estimate
    treatments: int  # how many ways to encode the rows are searched
    parts: Sequence[Fold]
    folds: Sequence[Fold]

    def needs(self, most: int) -> tuple[float, float, float, float]:
        """Bytes, where a fit learns from so many rows at most: of what all trials share, a trial, a fold; the least."""

        def largest(folds: Sequence[Fold]) -> Need:
            return self.estimate.of(max(min(most, len(fold.fit)) for fold in folds))

        encoded = sum(self.estimate.of(min(most, len(part.fit)) + len(part.score)).encoded for part in self.parts)
        held, trial, fold = self.treatments * encoded, largest(self.parts), largest(self.folds)
        least = max(held - trial.encoded + trial.encoding, held + trial.fit, held + fold.whole)
        return held, trial.fit, fold.whole, least


def _room(rows: DataSet) -> float | None:
    """The bytes that there are; None where that is not known, or does not matter.

    It does not where the table is neither large nor wide, nor where LightGBM learns from bins: of a value they take a
    byte.
    """
    needs_much = (is_large(*rows.X.shape) or rows.is_wide) and not isinstance(rows.X, BinnedRows)
    return memory_room.room(rows.share) if needs_much else None


def _too_much(candidate: Candidate, rows: DataSet, what: str, need: float, room: float, fewer: int) -> OutOfMemoryError:
    """The error of a candidate that needs more memory than there is, with what would do."""
    name = f"models.{candidate.name}"
    needs = f"{name}: {what} needs about {in_words(need)} of memory"
    ways = [f"{name}.rows: {fewer} lets it learn from a sample"] if fewer else []
    if thread_budget.threads(rows.share) < thread_budget.cores():
        ways.append("-P jobs=1 gives each step all of it")
    found = f"{needs}, and this step has {in_words(room)}: {'; '.join([*ways, 'or leave the model out'])}"
    return OutOfMemoryError(found, needs)
