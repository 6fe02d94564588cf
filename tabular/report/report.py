"""A decision on one page: why a model became the champion, or did not; in HTML, and in Markdown for a registry."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabular.evaluation.gate import Check

# MLflow's database holds so much of a version's description.
LONGEST_CARD = 5000
MOST_SLICES_IN_CARD = 5


@dataclass(frozen=True)
class Table:
    """A table as it is shown: the names of its columns, and the values of its rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Picture:
    """A PNG and the words for who cannot see it."""

    name: str
    png: bytes

    @property
    def source(self) -> str:
        """What an `img` shows without asking anybody for it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Link:
    """A run of the lineage: what it did, its id, and where it is shown; "" where only a store on disk knows it."""

    what: str
    run_id: str
    page: str
    said: str


@dataclass(frozen=True)
class Report:
    """All that the page says.

    Attributes
    ----------
    title, description
        Of the problem.
    outcome, answer, reason
        The verdict: a word for its colour ("registered", "kept_champion" or "refused"), the sentence, and why.
    checks
        Of the winner, against what the gate requires.
    winner, metric, figures
        The best candidate, the metric that ranks, and the winner's metrics as (value, low, high) with 95 % intervals.
    leaderboard, slices, classes, profile
        Tables; a table without rows is left out.
    pictures
        Heading: its pictures. Those of the first heading stand open, the others are unfolded.
    facts
        Name: value, of the data and of the model.
    lineage
        The runs that led here.
    commands
        To make it all again.
    missing
        A line for each of these runs that is no longer there, and could not be asked.
    notes, slice_notes
        What else is to be said of the runs, and of the slices.

    """

    title: str
    description: str
    outcome: str
    answer: str
    reason: str
    checks: Sequence[Check]
    winner: str
    metric: str
    figures: Mapping[str, tuple[float | None, float | None, float | None]]
    leaderboard: Table
    slices: Table
    classes: Table
    profile: Table
    pictures: Mapping[str, Sequence[Picture]]
    facts: Mapping[str, str]
    lineage: Sequence[Link]
    commands: Sequence[str]
    notes: Sequence[str] = field(default=())
    missing: Sequence[str] = field(default=())
    slice_notes: Sequence[str] = field(default=())


def page(report: Report) -> str:
    """The report as one HTML file that asks nobody for anything."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    return environment.from_string(template).render(report=report)


def card(report: Report) -> str:
    """What a version of the registry says of itself, in Markdown: what for, how good, where it fails, where from."""
    lines = [f"**{report.winner}** for *{report.title}*. {report.description}".strip(), "", f"{report.reason}.", ""]
    lines += ["| metric | on the holdout | 95 % interval |", "|---|---|---|"]
    for name, (value, low, high) in report.figures.items():
        if value is not None:
            lines.append(f"| {name} | {shown(value)} | {shown(low)} to {shown(high)} |")
    lines += ["", "**Checks**", *[f"- {check.line()}" for check in report.checks]] if report.checks else []
    if report.slices.rows:
        lines += ["", "**Where it does worst**", *_rows(report.slices, MOST_SLICES_IN_CARD)]
    lines += ["", "**Facts**", *[f"- {name}: {value}" for name, value in report.facts.items()]]
    lines += [f"- {note}" for note in (*report.notes, *report.missing)]
    lines += ["", "**Again**", "```", *report.commands, "```"]
    return "\n".join(lines)[:LONGEST_CARD]


def _rows(table: Table, most: int) -> list[str]:
    """A table in Markdown."""
    cells = [[_cell(value) for value in row] for row in table.rows[:most]]
    header = [_cell(name) for name in table.columns]
    return [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *cells]]


def _cell(value: Any) -> str:
    return shown(value).replace("|", "\\|").replace("\n", " ")


def shown(value: Any) -> str:
    """A value as a person reads it: a number to four places, what is missing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
