"""Plots for the decision about a model: scores with confidence intervals, the worst slices, effects of thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tabular.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 20
# An interval (low, high); an end is NaN if it is not known.
Ends = tuple[float, float]


def scores_with_intervals(
    scores: Mapping[str, float], intervals: Mapping[str, Ends], *, metric: str, title: str
) -> Figure:
    """Plot each candidate's score on the holdout with its 95 % confidence interval.

    Parameters
    ----------
    scores : mapping of model to float
        The score of each model; the first is drawn at the top.
    intervals : mapping of model to (low, high)
        The interval of each model.
    metric : str
        The score's name.
    title : str
        The title of the figure.

    """
    with style.house():
        figure, axes = style.new_figure(title, width=7, height=1.5 + 0.4 * max(len(scores), 2))
        axes.set_xlabel(f"{style.text(metric)} on the holdout, with 95 % intervals")
        _draw_intervals(axes, list(scores), list(scores.values()), [intervals[name] for name in scores])
        return figure


def worst_slices(
    names: Sequence[str],
    rows: Sequence[int],
    scores: Sequence[float],
    intervals: Sequence[Ends],
    *,
    whole: float,
    metric: str,
    title: str,
) -> Figure:
    """Plot the score of each slice with its 95 % confidence interval, the worst at the top, and the score of all rows.

    Parameters
    ----------
    names, rows, scores, intervals
        The name, the number of rows, the score and the interval of each slice, the worst slice first.
    whole : float
        The score of all rows.
    metric : str
        The score's name.
    title : str
        The title of the figure.

    """
    shown = min(len(names), MOST_ROWS)
    with style.house():
        figure, axes = style.new_figure(title, width=7.4, height=1.9 + 0.3 * max(shown, 2))
        axes.set_xlabel(f"{style.text(metric)}, with 95 % intervals")
        if not shown:
            style.say(axes, "No slice has rows enough to be judged.")
            return figure
        named = zip(names[:shown], rows, strict=False)
        labels = [f"{style.text(name, longest=34)}, {style.count(n, 'row', 'rows')}" for name, n in named]
        _draw_intervals(axes, labels, scores[:shown], intervals[:shown])
        axes.axvline(whole, color=style.FAINT, linestyle=":", label=f"all rows, {whole:.4g}")
        figure.legend(loc="outside lower left", fontsize=9)
        style.remark(axes, f"the worst {shown} of {len(names)}" if shown < len(names) else "")
        return figure


def _draw_intervals(axes: Axes, labels: Sequence[str], values: Sequence[float], intervals: Sequence[Ends]) -> None:
    """Draw scores as points with their intervals, one per line, the first at the top."""
    for place, (value, (low, high)) in enumerate(zip(values, intervals, strict=True)):
        if np.isfinite(low) and np.isfinite(high):
            axes.plot([low, high], [place, place], color=style.BLUE, linewidth=2, alpha=0.55, solid_capstyle="butt")
        if np.isfinite(value):
            axes.plot(value, place, marker="o", markersize=6, color=style.BLUE)
            axes.annotate(f"{value:.4g}", (value, place), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    style.one_a_line(axes, [style.text(label, longest=60) for label in labels], above=0.7)
    axes.margins(x=0.06)


def threshold_effect(
    effect: Mapping[str, Sequence[float]], *, threshold: float, positive: object, title: str
) -> Figure:
    """Plot metrics against the decision threshold, with a mark at the threshold in use.

    Parameters
    ----------
    effect : mapping of name to sequence
        The table from `tabular.model.thresholds.effect`.
    threshold : float
        The threshold in use.
    positive : object
        The label of the positive class.
    title : str
        The title of the figure.

    """
    x = np.asarray(effect["threshold"])
    names = [name for name in effect if name not in ("threshold", "flagged")]
    said = style.text(positive)
    with style.house():
        figure, axes = style.new_figure(title, width=7, height=4.8)
        axes.set(xlabel=f"{said} from this probability up", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        for name, color in zip(names, style.colors(), strict=False):
            axes.plot(x, effect[name], color=color, label=style.text(name))
        axes.plot(x, effect["flagged"], color=style.FAINT, linestyle="--", label=f"share of rows called {said}")
        axes.axvline(threshold, color=style.INK, linestyle=":", label=f"in use, {threshold:.3g}")
        figure.legend(loc="outside lower left", ncols=4, fontsize=9)
        return figure
