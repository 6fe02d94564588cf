"""Plot of drift: the population stability index of each column and each score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabular.evaluation.drift import MUCH, SOME, Shift
from tabular.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 25
WIDEST = 0.6  # of the bars: a longer bar is cut at the edge, and has its number inside
COLORS = {"none": "#a9c9e8", "some": "#f2b134", "much": "#d1495b", "as by chance": "#cfcfcf"}


def population_stability(inputs: Sequence[Shift], scores: Sequence[Shift], *, title: str) -> Figure:
    """Plot the population stability index of the scores and of the inputs with the most drift, as bars.

    Parameters
    ----------
    inputs, scores
        Drift of the input columns and of the scores, from `tabular.evaluation.drift.shifts`: the greatest first.
    title
        The title of the figure.

    """
    scored = scores[: MOST_BARS // 2]
    shown = [*scored, *inputs[: MOST_BARS - len(scored)]]
    with style.house():
        figure, axes = style.new_figure(title, width=7.4, height=1.9 + 0.26 * max(len(shown), 4))
        if not shown:
            style.say(axes, "Nothing could be compared.")
            return figure
        _draw(axes, shown, len(scored))
        hidden = len(inputs) + len(scores) - len(shown)
        style.remark(axes, f"the {len(shown)} that moved most of {len(inputs) + len(scores)}" if hidden else "")
        return figure


def _draw(axes: Axes, shown: Sequence[Shift], scores: int) -> None:
    places = range(len(shown))
    edge = WIDEST * 1.12
    widths = [shift.psi if shift.psi < WIDEST else edge for shift in shown]
    axes.barh(places, widths, color=[COLORS[shift.verdict] for shift in shown], height=0.7)
    for place, shift in zip(places, shown, strict=True):
        if shift.psi < WIDEST:
            axes.text(shift.psi + 0.006, place, f"{shift.psi:.3f}", va="center", fontsize=8.5)
        else:
            axes.text(edge - 0.006, place, f"{shift.psi:.3f}", va="center", ha="right", fontsize=8.5, color="white")
        if shift.by_chance < WIDEST:
            axes.plot([shift.by_chance] * 2, [place - 0.35, place + 0.35], color=style.INK, linewidth=1.0)
    for mark, word in ((SOME, "some"), (MUCH, "much")):
        axes.axvline(mark, color=style.FAINT, linewidth=1.0, linestyle="--", zorder=0)
        axes.text(mark, -0.75, f" {word}: {mark:g}", fontsize=8.5, color=style.FAINT, va="bottom")
    labels = [style.text(shift.column) for shift in shown]
    labels = [f"{label} (score)" if place < scores else label for place, label in enumerate(labels)]
    style.one_a_line(axes, labels, above=1.3)
    axes.set_xlim(0, edge)
    axes.set_xlabel("population stability index against training (black tick: may be chance)")
