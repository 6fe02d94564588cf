"""The report of a verdict, in HTML, and as a model card in Markdown for the registry."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabular.evaluation.gate import Check
from tabular.metrics.metric import rounded

# The most characters that MLflow's database holds of a version's description.
LONGEST_CARD = 5000
MOST_SLICES_IN_CARD = 5


@dataclass(frozen=True)
class Table:
    """A table of the report: the names of its columns, and the values of its rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Picture:
    """A plot as PNG, and its name, which is also the text for readers who cannot see it."""

    name: str
    png: bytes

    @property
    def source(self) -> str:
        """The picture as a data URL, for an `img` element without a download."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Link:
    """A run of the lineage.

    Attributes
    ----------
    what
        The step.
    run_id
        The id of the run.
    page
        The URL of its page; "" where the tracking store is no server.
    said
        The summary of the run.

    """

    what: str
    run_id: str
    page: str
    said: str


@dataclass(frozen=True)
class Report:
    """The content of the report.

    Attributes
    ----------
    title, description
        Of the problem.
    outcome, answer, reason
        The verdict: one word, which decides the colour ("registered", "kept_champion", "refused" …), a sentence, and
        the reason.
    checks
        Results of the gate's requirements for the winner.
    winner, metric, figures
        The best candidate, the metric that ranks, and the winner's metrics as (value, low, high) with 95 % intervals.
    whose
        Of which model the figures are, where the one that is registered was fitted on all rows; else empty.
    leaderboard, slices, classes, profile
        Tables; a table without rows is left out.
    pictures
        Heading: its pictures. Those of the first heading are shown at once, the others are folded.
    facts
        Name: value, for facts of the data and of the model.
    lineage
        The runs that led to the verdict.
    commands
        The shell commands that reproduce the chain.
    missing
        A line for each of these runs that was deleted, so that the report lacks its data.
    notes, slice_notes
        Further remarks on the runs, and on the slices.
    left_out
        Model: the reason, for candidates that were left out since they refuse the rows or their hyperparameters.
    weight
        The column by which the rows are weighted in all metrics; empty where all count alike.
    doubts, hints
        What is to be looked at in the table: what casts doubt on every score, and all else.

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
    left_out: Mapping[str, str] = field(default_factory=dict)
    weight: str = ""
    whose: str = ""
    doubts: Sequence[str] = field(default=())
    hints: Sequence[str] = field(default=())

    @property
    def weighted(self) -> str:
        """The end of a phrase about metrics: by which column their rows are weighted; empty where all count alike."""
        return f", weighted by {self.weight}" if self.weight else ""


def page(report: Report) -> str:
    """The report as one self-contained HTML file, which loads nothing from elsewhere."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    return environment.from_string(template).render(report=report)


def card(report: Report) -> str:
    """The model card, in Markdown, for the description of a registered version: purpose, scores, slices, lineage."""
    lines = [f"**{report.winner}** for *{report.title}*. {report.description}".strip(), "", f"{report.reason}.", ""]
    lines += [line for model, reason in report.left_out.items() for line in (f"**Left out**: {model} ({reason}).", "")]
    lines += [line for doubt in report.doubts for line in (f"**Look at this first**: {doubt}.", "")]
    lines += [report.whose, ""] if report.whose else []
    lines += [f"| metric | on the holdout{_cell(report.weighted)} | 95 % interval |", "|---|---|---|"]
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
    """The lines of a table in Markdown, with at most `most` rows."""
    cells = [[_cell(value) for value in row] for row in table.rows[:most]]
    header = [_cell(name) for name in table.columns]
    return [f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *cells]]


def _cell(value: Any) -> str:
    return shown(value).replace("|", "\\|").replace("\n", " ")


def shown(value: Any) -> str:
    """A value as text: a float with four decimals (none from 1000 on), a missing value as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return rounded(value)
    return str(value)
