"""Plots that compare runs: the ranking of their scores, and their parameters in parallel coordinates.

If something cannot be drawn, the figure says so, as in `tabular.plots.classifier_plots`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tabular.evaluation.varying_params import Value, number
from tabular.metrics.metric import Floats
from tabular.plots import style
from tabular.plots.search_plots import WIDE_SPAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_RUNS = 40
MOST_AXES = 8
# The most texts along one axis that are still readable.
MOST_LABELS = 14
# Numbers from this magnitude up are not drawn to scale: MLflow's database holds an infinite metric as 1.8e308.
LARGEST = 1e150
# The height at which a run without a parameter is drawn: below the parameter's axis.
BELOW = -0.14


def ranking(
    names: Sequence[str],
    scores: Sequence[float],
    spreads: Sequence[float | None] | None = None,
    *,
    metric: str,
    greater_is_better: bool,
    title: str,
) -> Figure:
    """Plot each run's score, with a bar for its distance from the best score.

    Bars do not start at 0: the scores of good models are close to each other, and all bars would look the same.

    Parameters
    ----------
    names : sequence of str
        The names of the runs.
    scores : sequence of float
        The score of each run; a score that is not finite is written as "n/a".
    spreads : sequence of float or None, optional
        The standard deviation of each score, drawn as a thin line to both sides; None if it is not known.
    metric : str
        The score's name.
    greater_is_better : bool
        Whether a greater score is better.
    title : str
        The title of the figure.

    """
    values, deviations = _finite(scores), _finite(spreads or [None] * len(scores))
    shown = _best_first(values, greater_is_better)[:MOST_RUNS]
    with style.house():
        figure, axes = style.new_figure(title, width=7.5, height=1.7 + 0.28 * max(len(shown), 4))
        if not np.isfinite(values).any():
            axes.set_axis_off()
            style.say(axes, "No run has a score.")
            return figure
        values, deviations, best = values[shown], deviations[shown], values[shown[0]]
        at = np.arange(len(shown))
        axes.barh(at, values - best, left=best, height=0.62, color=style.BLUE, alpha=0.35)
        axes.errorbar(values, at, xerr=deviations, fmt="none", ecolor=style.FAINT, elinewidth=1)
        axes.axvline(best, color=style.INK, linewidth=0.8)
        axes.scatter(values, at, s=34, color=[style.RED, *[style.BLUE] * (len(shown) - 1)], zorder=3)
        written = [f"{value:.4f}" if np.isfinite(value) else "n/a" for value in values]
        labels = [f"{style.text(names[run], longest=40)}   {score}" for run, score in zip(shown, written, strict=True)]
        style.one_a_line(axes, labels)
        axes.set_xlabel(style.text(metric))
        axes.use_sticky_edges = False  # otherwise there is no margin at the best score, where the bars begin
        axes.margins(x=0.06)
        _say_below(figure, *_on_ranking(len(names) - len(shown), deviations, greater_is_better))
        return figure


def _say_below(figure: Figure, *words: str) -> None:
    """Write a line below the figure on how to read it."""
    figure.supxlabel("; ".join(words), x=0.012, ha="left", fontsize=9, color="#666666")


def _on_ranking(hidden: int, deviations: Floats, greater_is_better: bool) -> list[str]:
    said = [f"{'more' if greater_is_better else 'less'} is better", "a bar is what a run lacks to the best"]
    if np.isfinite(deviations).any():
        said.append("a thin line is one standard deviation")
    return [*said, *([f"the first {MOST_RUNS} of {MOST_RUNS + hidden} runs"] if hidden else [])]


def _finite(values: Sequence[float | None]) -> Floats:
    """The values as a (n,) float array; NaN for None, for values that are not finite, and from `LARGEST` up."""
    found = np.array([np.nan if value is None else value for value in values], float)
    return np.where(np.abs(found) < LARGEST, found, np.nan)


def _best_first(values: Floats, greater_is_better: bool) -> Any:
    """The positions of the values from the best to the worst; NaN values come last."""
    return np.argsort(np.where(np.isfinite(values), -values if greater_is_better else values, np.inf), kind="stable")


@dataclass(frozen=True)
class _Axis:
    """A parameter, or the metric, as an axis from 0 to 1.

    Attributes
    ----------
    name
        The name of the parameter or metric.
    at
        The (runs,) height of each run on the axis.
    ticks
        The label at each height that has one.
    """

    name: str
    at: Floats
    ticks: Mapping[float, str]


def parallel_coordinates(
    columns: Mapping[str, Sequence[Value]],
    scores: Sequence[float],
    *,
    metric: str,
    greater_is_better: bool,
    title: str,
) -> Figure:
    """Plot each run as a line through its parameters to its score; better runs are darker, the best is red.

    Parameters
    ----------
    columns : mapping of name to sequence
        The value of each parameter in each run: a number, a text, or None if the run does not have the parameter, which
        is drawn below the axis. Numbers that span many orders of magnitude are drawn on a logarithmic axis.
    scores : sequence of float
        The score of each run; a run whose score is not finite is left out.
    metric : str
        The score's name.
    greater_is_better : bool
        Whether a greater score is better; the better end of the score's axis is at the top.
    title : str
        The title of the figure.

    Notes
    -----
    A. Inselberg, "The plane with parallel coordinates", The Visual Computer 1, 1985. The lines are curves, which are
    easier to follow by eye where many runs share a value.
    """
    values = _finite(scores)
    order = _best_first(values, greater_is_better)[: np.isfinite(values).sum()]
    shown = list(columns)[:MOST_AXES]
    with style.house():
        figure, axes = style.new_figure(title, width=max(6.4, 1.45 * (len(shown) + 1)), height=4.6)
        axes.set_axis_off()
        if len(order) < 2 or not shown:
            style.say(axes, "It takes two runs that differ in a parameter.")
            return figure
        drawn = [_axis(name, [columns[name][run] for run in order]) for name in shown]
        drawn.append(_of_scores(metric, values[order], greater_is_better))
        heights = np.array([axis.at for axis in drawn])
        _draw_lines(axes, heights, values[order])
        for place, axis in enumerate(drawn):
            _draw_axis(axes, place, axis)
        axes.set(xlim=(-0.12, len(drawn) - 1 + 0.55), ylim=(heights.min() - 0.06, 1.06))
        hidden = len(columns) > len(shown)
        more = [f"the first {len(shown)} of {len(columns)} columns"] if hidden else []
        _say_below(figure, "a line is a run: the better, the darker", "the best in red", *more)
        return figure


def _draw_lines(axes: Axes, at: Floats, scores: Floats) -> None:
    """Draw a curve for each run, horizontal where it crosses an axis.

    `at` is the (axes, runs) height of each run on each axis. The best run comes first, and is drawn on top.
    """
    import matplotlib
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    shades = matplotlib.colormaps["Blues"]
    away = np.abs(scores - scores[0])
    darkness = 1 - away / max(float(away.max()), np.finfo(float).tiny)
    places = np.arange(len(at))
    for run in range(at.shape[1] - 1, -1, -1):
        heights = at[:, run]
        points: list[tuple[Any, Any]] = [(0, heights[0])]
        codes = [Path.MOVETO]
        for left, right in pairwise(places):
            middle = (left + right) / 2
            points += [(middle, heights[left]), (middle, heights[right]), (right, heights[right])]
            codes += [Path.CURVE4] * 3
        color, width = (style.RED, 2.6) if run == 0 else (shades(0.3 + 0.6 * darkness[run]), 1.3)
        axes.add_patch(PathPatch(Path(points, codes), fill=False, edgecolor=color, linewidth=width, capstyle="round"))
        axes.plot(places, heights, linestyle="", marker="o", markersize=5 if run == 0 else 3, color=color)


def _draw_axis(axes: Axes, place: int, axis: _Axis) -> None:
    axes.plot([place, place], [0, 1], color="#b0b0b0", linewidth=0.8, zorder=0)
    axes.text(place, 1.05, style.text(axis.name), rotation=12, ha="left", va="bottom", fontsize=9)
    look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7.5, "zorder": 4}
    look["bbox"] = {"boxstyle": "square,pad=0.1", "color": "white", "alpha": 0.75}
    for height, label in axis.ticks.items():
        axes.annotate(style.text(label, longest=14), (place, height), (5, 0), **look)


def _axis(name: str, column: Sequence[Value]) -> _Axis:
    """The axis of a parameter: scaled if its values are numbers, else with its texts at equal distances."""
    known = [value for value in column if value is not None]
    if known and not any(isinstance(value, str) or abs(value) >= LARGEST for value in known):
        at, ticks = _scaled(np.array([np.nan if value is None else value for value in column], float))
    else:
        at, ticks = _listed(column)
    if None in column:
        at, ticks = np.where(np.isnan(at), BELOW, at), {**ticks, BELOW: "(none)"}
    return _Axis(name, at, ticks)


def _listed(column: Sequence[Value]) -> tuple[Floats, Mapping[float, str]]:
    texts = sorted({str(value) for value in column if value is not None}, key=_numbers_first)
    heights = {text: place / (len(texts) - 1) if len(texts) > 1 else 0.5 for place, text in enumerate(texts)}
    at = np.array([np.nan if value is None else heights[str(value)] for value in column], float)
    every = max(1, -(-len(texts) // MOST_LABELS))
    return at, {heights[text]: text for text in texts[::every]}


def _numbers_first(text: str) -> tuple[float, str]:
    found = number(text)
    return math.inf if found is None else found, text


def _scaled(values: Floats) -> tuple[Floats, Mapping[float, str]]:
    """Scale numbers to 0..1, logarithmically if they span many orders of magnitude.

    Returns the scaled numbers, and ticks at both ends and at round numbers.
    """
    known = values[~np.isnan(values)]
    low, high = float(known.min()), float(known.max())
    if low == high:
        return np.where(np.isnan(values), np.nan, 0.5), {0.5: _short(low)}
    least = float(known[known > 0].min(initial=high))
    is_wide = low >= 0 and high > WIDE_SPAN * least
    is_whole = bool((known == np.round(known)).all())
    numbers = _decades(least, high) if is_wide else _round_numbers(low, high, is_whole=is_whole)
    scale = partial(_by_magnitude, least=least, has_zero=low == 0) if is_wide else np.asarray
    ends, marks = scale(np.array([low, high])), scale(np.array(numbers))
    found, heights = ((scaled - ends[0]) / (ends[1] - ends[0]) for scaled in (scale(values), marks))
    inner = {float(at): _short(number) for at, number in zip(heights, numbers, strict=True) if 0.08 < at < 0.92}
    return found, {0.0: _short(low), 1.0: _short(high), **inner}


def _by_magnitude(values: Floats, *, least: float, has_zero: bool) -> Floats:
    """Orders of magnitude above the least positive number; 0 is placed half an order of magnitude below it."""
    above = np.log10(np.where(values > 0, values, least)) - np.log10(least)  # a quotient could overflow
    found: Floats = np.where(np.isnan(values), np.nan, np.where(values > 0, above + 0.5 * has_zero, 0.0))
    return found


def _short(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"


def _decades(low: float, high: float) -> list[float]:
    found = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [10.0**decade for decade in found[:: max(1, -(-len(found) // 6))]]


def _round_numbers(low: float, high: float, *, is_whole: bool) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(5, integer=is_whole).tick_values(low, high)]


def _of_scores(metric: str, scores: Floats, greater_is_better: bool) -> _Axis:
    """The axis of the metric, with the better end at the top."""
    at, ticks = _scaled(scores)
    if greater_is_better:
        return _Axis(metric, at, ticks)
    return _Axis(metric, 1 - at, {1 - height: label for height, label in ticks.items()})
