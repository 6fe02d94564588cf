"""The report of a drift: how far rows and scores have moved since training, as tables, a picture, metrics and words."""

from collections.abc import Mapping, Sequence

from steps.model.drift_reference import Reference
from steps.model.origin import Origin
from steps.run import artifacts
from steps.run.step import Step
from steps.run.tags import DRIFT_OF_INPUTS, DRIFT_OF_SCORES
from tabular.evaluation import drift
from tabular.evaluation.drift import Shift, Tally
from tabular.plots import drift_plots, style

TABLE = "shift.json"
BINS = "shift_bins.json"
DRIFT_TAGS = {"input": DRIFT_OF_INPUTS, "score": DRIFT_OF_SCORES}
TITLE = "Shift (population stability index; some from 0.1, much from 0.25):"


def log(
    step: Step,
    asked: Origin,
    against: Mapping[str, Reference],
    now: Mapping[str, Tally],
    rows: int,
    *,
    pictures: bool,
) -> tuple[dict[str, list[Shift]], list[str]]:
    """Compare rows with the references of a model, and log what has moved.

    Parameters
    ----------
    step
        The running step.
    asked
        The model.
    against
        The references, by `input` and `score`.
    now
        The counts of today's rows, by the same names.
    rows
        The number of today's rows.
    pictures
        Whether it is drawn.

    Returns
    -------
    tuple
        The shifts by the same names, and a line for each name; empty shifts where nothing was compared.
    """
    columns = sum(len(counted.bins) for counted in now.values())
    found = {what: against[what].compare(counted, columns) if rows else [] for what, counted in now.items()}
    _log_tables(step, asked, found, pictures=pictures)
    said = {what: _said(shifts) or _why_not(against[what], rows) for what, shifts in found.items()}
    step.log(
        metrics={f"psi_{what}_worst": shifts[0].psi for what, shifts in found.items() if shifts},
        tags={DRIFT_TAGS[what]: words[:5000] for what, words in said.items()},
    )
    lines = [f"of each {what}: {said[what]}" + (f" (against {against[what].of})" * bool(found[what])) for what in said]
    return found, lines


def _log_tables(step: Step, asked: Origin, found: Mapping[str, list[Shift]], *, pictures: bool) -> None:
    rows = [row for what, shifts in found.items() for row in drift.rows_of(shifts, what)]
    if not rows:
        return
    step.table(artifacts.by_column(rows), TABLE)
    step.table(drift.bins_of([one for shifts in found.values() for one in shifts]), BINS)
    if pictures:
        title = f"{asked.name}: shift of the rows scored"
        figure = drift_plots.population_stability(found["input"], found["score"], title=title)
        style.save_all({"shift": figure}, step.artifacts / artifacts.PICTURES)


def _said(shifts: Sequence[Shift]) -> str:
    """What has drifted, in a line: `much: town 0.812; some: amount 0.140`; "" where nothing was compared."""
    if not shifts:
        return ""
    ranked = sorted(shifts, key=lambda one: one.names_rows)  # what is like an id always moves
    named = {
        level: ", ".join(f"{one.column} {one.psi:.3f}" for one in ranked if one.verdict == level)
        for level in ("much", "some")
    }
    parts = [f"{level}: {names}" for level, names in named.items() if names]
    most = shifts[0]
    chance = ", as by chance" if most.verdict == "as by chance" else ""
    return "; ".join(parts) or f"none, {most.column} most: {most.psi:.3f}{chance}"


def _why_not(against: Reference, rows: int) -> str:
    return against.of if rows else "not compared: there are no rows"
