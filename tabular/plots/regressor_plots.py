"""Plots of a regressor, which predicts numbers: each function takes plain values and returns a figure.

If something cannot be drawn (no rows, no finite prediction, all values equal), the figure says so and no error is
raised: a plot must not end a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tabular.metrics.metric import Floats
from tabular.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

MOST_POINTS = 2000  # of a scatter plot: more hide each other, and are drawn as hexagons coloured by their number
HEXAGONS = 55  # side by side, over the width of the axes
MOST_RUNNING_BINS = 20
LEAST_ROWS_IN_BIN = 30  # a 5 % quantile of fewer rows is little more than their smallest error
MOST_HISTOGRAM_BINS = 60
LARGEST = 1e300  # what is larger cannot be drawn: limits around it are not finite

Ends = tuple[float, float]


# --- a regressor's predictions ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """The rows of which something can be drawn: those that count and have finite numbers.

    Attributes
    ----------
    actual, predicted, error : (n,) float arrays
        The target, its prediction, and the target less its prediction, in units of the target.
    weights : (n,) float array or None
        How much each row counts, above 0; None if all count alike.
    not_finite : int
        The number of rows left out because one of their numbers is not finite, or above 1e300.

    """

    actual: Floats
    predicted: Floats
    error: Floats
    weights: Floats | None
    not_finite: int

    @classmethod
    def of(cls, y: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None) -> _Rows:
        """The rows among (n,) targets, predictions and weights."""
        actual, guess = np.asarray(y, dtype=float), np.asarray(predicted, dtype=float)
        counts = None if weights is None else np.asarray(weights, dtype=float)
        with np.errstate(over="ignore", invalid="ignore"):  # where it is not finite, the row is left out
            error = actual - guess
        kept = np.ones(len(actual), dtype=bool) if counts is None else counts > 0
        finite = (np.abs(actual) < LARGEST) & (np.abs(guess) < LARGEST)  # so is their difference, then
        not_finite = int(np.count_nonzero(kept & ~finite))
        kept &= finite
        return cls(actual[kept], guess[kept], error[kept], None if counts is None else counts[kept], not_finite)

    def __len__(self) -> int:
        return len(self.actual)

    @property
    def counted(self) -> str:
        """What is counted where rows lie: a label."""
        return "rows" if self.weights is None else "weight"

    def why_empty(self) -> str:
        """The sentence of a figure without rows."""
        if self.not_finite:
            return "No row has a finite target and prediction."
        return "There are no rows." if self.weights is None else "There are no rows with a weight above 0."


def predicted_against_actual(
    y: ArrayLike, predicted: ArrayLike, *, target: object, weights: ArrayLike | None = None, title: str
) -> Figure:
    """Plot the actual values of the target against the predicted ones, with the diagonal on which both are equal.

    Up to 2000 rows are points, whose size is their weight; more rows are hexagons, coloured by how many rows, or how
    much weight, lie in them. Both axes have the same limits. Rows far from all others are left outside, so that the
    others can be told apart; the figure says how many they are.

    Parameters
    ----------
    y : (n,) array
        The actual values, in units of the target.
    predicted : (n,) array
        The predicted values, in units of the target.
    target : object
        The name of the target.
    weights : (n,) array, optional
        How much each row counts, from 0 up; all count alike by default.
    title : str
        The title of the figure.

    """
    rows = _Rows.of(y, predicted, weights)
    with style.house():
        figure, axes = style.new_figure(title, width=6.8 if len(rows) > MOST_POINTS else 6.0, height=6.2)
        axes.set(xlabel=f"predicted {style.text(target)}", ylabel=f"actual {style.text(target)}")
        if not len(rows):
            style.say(axes, rows.why_empty())
            return figure
        limits = _limits(np.concatenate([rows.actual, rows.predicted]))
        said = _draw_rows(axes, rows, rows.predicted, rows.actual, limits, limits)
        axes.plot(limits, limits, color=style.RED, linewidth=1.2, linestyle="--", label="actual = predicted")
        _remark(axes, rows, *said)
        figure.legend(loc="outside lower left", fontsize=9)
        return figure


def residuals_against_predicted(
    y: ArrayLike, predicted: ArrayLike, *, target: object, weights: ArrayLike | None = None, title: str
) -> Figure:
    """Plot the errors, actual less predicted, against the predictions, with their running median and quantiles.

    The rows are drawn as in `predicted_against_actual`, whose parameters these are. The median and the 5 % and 95 %
    quantiles are those of the errors in up to 20 bins with about the same number of rows each, 30 or more. In a good
    model the median stays near 0; where the quantiles part, the predictions are less certain.
    """
    rows = _Rows.of(y, predicted, weights)
    with style.house():
        figure, axes = style.new_figure(title, width=7.4, height=5.4)
        name = style.text(target)
        axes.set(xlabel=f"predicted {name}", ylabel=f"error: actual \N{MINUS SIGN} predicted {name}")
        if not len(rows):
            style.say(axes, rows.why_empty())
            return figure
        said = _draw_rows(axes, rows, rows.predicted, rows.error, _limits(rows.predicted), _limits(rows.error))
        axes.axhline(0, color=style.INK, linewidth=1, linestyle=":")
        middle, low, median, high = _running(rows)
        if len(middle):
            about: dict[str, Any] = {"color": style.RED, "marker": "o", "markersize": 2.5}
            bins = style.count(len(middle), "bin of equal rows", "bins of equal rows")
            axes.plot(middle, median, label=f"median error, in {bins}", **about)
            for quantile, label in ((low, "5 % and 95 % quantiles"), (high, None)):
                axes.plot(middle, quantile, linewidth=1, linestyle="--", label=label, **about)
            figure.legend(loc="outside lower left", ncols=2, fontsize=9)
        few = "" if len(middle) else f"no running median of fewer than {LEAST_ROWS_IN_BIN} rows"
        _remark(axes, rows, *said, few)
        return figure


def _running(rows: _Rows) -> tuple[Floats, Floats, Floats, Floats]:
    """The errors in bins of about equally many rows, by the prediction.

    Four (bins,) arrays, empty where the rows are too few: the median prediction, and the 5 %, 50 % and 95 % quantiles
    of the error. Rows with the same prediction are in the same bin, so that the order of rows does not matter.
    """
    bins = min(MOST_RUNNING_BINS, len(rows) // LEAST_ROWS_IN_BIN)
    if not bins:
        return np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0)
    order = np.argsort(rows.predicted, kind="stable")
    ascending = rows.predicted[order]
    edges = ascending[len(rows) * np.arange(1, bins) // bins - 1]
    cuts = np.unique(np.r_[0, np.searchsorted(ascending, edges, side="right"), len(rows)])
    found = []
    for begin, end in pairwise(cuts):
        places = order[begin:end]
        counts = None if rows.weights is None else rows.weights[places]
        middle = _median(rows.predicted[places], counts)  # the mean may lie far from all but one of them
        found.append((middle, *_quantiles(rows.error[places], (0.05, 0.5, 0.95), counts)))
    middle_of, low, median, high = np.array(found).T
    return middle_of, low, median, high


def error_distribution(
    y: ArrayLike, predicted: ArrayLike, *, target: object, weights: ArrayLike | None = None, title: str
) -> Figure:
    """Plot a histogram of the errors, actual less predicted, with their mean and their median.

    The histogram shows the central 99 %; the figure says how many rows lie outside, and how far. Of weighted rows the
    bars are sums of weights, and quantiles, mean and median are weighted.

    Parameters are those of `predicted_against_actual`.
    """
    rows = _Rows.of(y, predicted, weights)
    with style.house():
        figure, axes = style.new_figure(title, width=7, height=4.8)
        axes.set(xlabel=f"error: actual \N{MINUS SIGN} predicted {style.text(target)}", ylabel=rows.counted)
        if not len(rows):
            style.say(axes, rows.why_empty())
            return figure
        least, greatest = float(rows.error.min()), float(rows.error.max())
        if _as_one(least, greatest):
            style.say(axes, _all_equal("error", len(rows), least))
            _remark(axes, rows)
            return figure
        low, high = _quantiles(rows.error, (0.005, 0.995), rows.weights)
        if _as_one(low, high):  # nearly all errors are the same one
            low, high = least, greatest
        _draw_histogram(axes, rows, (low, high))
        outside = int(np.count_nonzero((rows.error < low) | (rows.error > high)))
        far = f"{_outside(outside, len(rows))}: errors from {_number(least)} to {_number(greatest)}" if outside else ""
        _remark(axes, rows, far)
        figure.legend(loc="outside lower left", ncols=2, fontsize=9)
        return figure


def _draw_histogram(axes: Axes, rows: _Rows, shown: Ends) -> None:
    """Draw the errors between two ends as a histogram, with marks at 0, their mean and their median."""
    # As many bins as Rice's rule says: twice the cube root of the number of rows.
    bins = int(np.clip(2 * np.cbrt(len(rows)), 5, MOST_HISTOGRAM_BINS))
    counts, edges = np.histogram(rows.error, bins=bins, range=shown, weights=rows.weights)
    axes.stairs(counts, edges, fill=True, color=style.BLUE)
    axes.axvline(0, color=style.INK, linewidth=1, linestyle=":")
    _mark_middle(axes, rows, shown)
    air = 0.03 * (shown[1] - shown[0])
    axes.set_xlim(shown[0] - air, shown[1] + air)
    _thousands(axes.xaxis)
    _thousands(axes.yaxis, whole=rows.weights is None)


def _mark_middle(axes: Axes, rows: _Rows, shown: Ends) -> None:
    """Mark the mean and the median of the errors; one that lies outside what is shown is in the legend alone."""
    median = _median(rows.error, rows.weights)
    mean = float(np.average(rows.error, weights=rows.weights))
    for name, value, color, line in (("median", median, style.INK, "-"), ("mean", mean, style.RED, "--")):
        inside = shown[0] <= value <= shown[1]
        label = f"{name} {_number(value)}" + ("" if inside else ", outside")
        axes.plot([], [], color=color, linestyle=line, label=label)
        if inside:
            axes.axvline(value, color=color, linestyle=line)


# --- its intervals, its target ----------------------------------------------------------------------------------------


def interval_coverage(
    nominal: Sequence[float],
    covered: Sequence[float],
    widths: Sequence[float],
    rows: int,
    *,
    target: object,
    title: str,
) -> Figure:
    """Plot how often prediction intervals hold the actual value, and how wide they are, by their nominal level.

    The grey band is where 95 % of all shares would lie if the intervals were exact (of a binomial distribution). A
    share outside the band is red: chance hardly explains it.

    Parameters
    ----------
    nominal : sequence of length k
        The levels of the intervals, above 0 and below 1: the share of rows that an interval promises to hold.
    covered : sequence of length k
        The share of rows, 0 to 1, whose actual value lies in their interval.
    widths : sequence of length k
        The mean width of the intervals, in units of the target. One that is not finite is not drawn, and said.
    rows : int
        The number of rows. Of weighted rows, as many as the weights are worth: the square of their sum through the sum
        of their squares (L. Kish, "Survey Sampling", 1965).
    target : object
        The name of the target.
    title : str
        The title of the figure.

    """
    order = np.argsort(np.asarray(nominal, dtype=float), kind="stable")
    level, share, width = (np.asarray(values, dtype=float)[order] for values in (nominal, covered, widths))
    with style.house():
        figure, axes = style.new_figure(title, width=9.6, height=5.2, widths=(1, 1), share=False)
        beside = figure.axes[1]
        axes.set(xlabel="nominal level", ylabel="share of rows in their interval")
        beside.set(xlabel="nominal level", ylabel=f"mean width, in units of {style.text(target)}")
        if not len(level) or rows < 1:
            for empty in (axes, beside):
                style.say(empty, "There are no rows." if len(level) else "There are no intervals.")
            return figure
        _draw_coverage(axes, level, share, rows)
        _draw_widths(beside, level, width)
        figure.legend(loc="outside lower left", ncols=4, fontsize=9)
        return figure


def _draw_coverage(axes: Axes, level: Floats, share: Floats, rows: int) -> None:
    """Draw (k,) shares of rows against their nominal levels, over the band of what chance explains."""
    from scipy.stats import binom

    known = np.isfinite(share)
    least = min(level.min(), share[known].min(initial=1.0))
    limits = (max(least - 0.06, -0.03), 1.03)
    grid = np.linspace(max(limits[0], 0), 1, 301)
    low, high = (binom.ppf(quantile, rows, grid) / rows for quantile in (0.025, 0.975))
    band = f"where 95 % of shares lie by chance ({style.count(rows, 'row', 'rows')})"
    axes.fill_between(grid, low, high, color="#d9d9d9", linewidth=0, label=band)
    axes.plot([0, 1], [0, 1], color=style.INK, linestyle=":", label="share = nominal level")
    axes.plot(level[known], share[known], color=style.BLUE, alpha=0.6)
    # Half a row is nothing: shares of weighted rows are not whole numbers of rows.
    by_chance = np.abs(share - np.clip(share, *(binom.ppf(end, rows, level) / rows for end in (0.025, 0.975))))
    for chosen, color, label in (
        (known & (by_chance <= 0.5 / rows), style.BLUE, "within the band"),
        (known & (by_chance > 0.5 / rows), style.RED, "outside the band"),
    ):
        if chosen.any():
            axes.plot(level[chosen], share[chosen], color=color, marker="o", linestyle="", label=label)
    for x, y in zip(level[known], share[known], strict=True):
        # on the side that the diagonal is not on
        above = y > x
        place: dict[str, Any] = {"ha": "right" if above else "left", "va": "bottom" if above else "top"}
        shift = (-4, 3) if above else (4, -3)
        axes.annotate(style.percent(float(y), 0), (x, y), shift, textcoords="offset points", fontsize=8, **place)
    axes.set(xlim=limits, ylim=limits)
    axes.xaxis.set_major_formatter(style.percent)
    axes.yaxis.set_major_formatter(style.percent)
    style.remark(axes, "" if known.all() else "levels without a finite share are left out")


def _draw_widths(axes: Axes, level: Floats, width: Floats) -> None:
    """Draw (k,) mean widths against their nominal levels."""
    known = np.isfinite(width)
    if not known.any():
        style.say(axes, "No mean width is finite.")
        return
    axes.plot(level[known], width[known], color=style.BLUE, marker="o")
    axes.set_ylim(0, 1.08 * float(width[known].max()) or 1)
    axes.xaxis.set_major_formatter(style.percent)
    _thousands(axes.yaxis)
    endless = ", ".join(style.percent(float(value), 0) for value in level[~known])
    style.remark(axes, f"not finite at {endless}" if endless else "")


def target_distribution(parts: Mapping[str, tuple[ArrayLike, ArrayLike]], *, target: object, title: str) -> Figure:
    """Plot the distribution of the target in each part of the data, as shares of the part's rows in bins.

    Parameters
    ----------
    parts : mapping of part to (edges, counts)
        Such as {"train": ..., "holdout": ...}, at most ten: (k + 1,) ascending edges of bins, in units of the target
        and the same for all parts, and the (k,) numbers of rows between them.
    target : object
        The name of the target.
    title : str
        The title of the figure.

    """
    with style.house():
        figure, axes = style.new_figure(title, width=7, height=4.8)
        axes.set(xlabel=style.text(target), ylabel="share of the rows of each part")
        counted = {name: np.asarray(counts, dtype=float) for name, (_, counts) in parts.items()}
        if not any(counts.sum() > 0 for counts in counted.values()):
            style.say(axes, "There are no rows.")
            return figure
        ends = np.concatenate([np.asarray(edges, dtype=float) for edges, _ in parts.values()])
        if _as_one(float(ends.min()), float(ends.max())):
            n = round(sum(float(counts.sum()) for counts in counted.values()))
            style.say(axes, _all_equal("value", n, float(ends[0])))
            return figure
        for (name, (edges, _)), color in zip(parts.items(), style.colors(len(parts)), strict=True):
            _draw_shares(axes, name, np.asarray(edges, dtype=float), counted[name], color)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(style.percent)
        _thousands(axes.xaxis)
        figure.legend(loc="outside lower left", ncols=4, fontsize=9)
        return figure


def _draw_shares(axes: Axes, name: str, edges: Floats, counts: Floats, color: Any) -> None:
    """Draw the (k,) counts of a part between (k + 1,) edges as shares of their sum; none of a part without rows."""
    n = float(counts.sum())
    label = f"{style.text(name)}, {style.count(round(n), 'row', 'rows')}"
    axes.plot([], [], color=color, label=label)
    if n:
        axes.stairs(counts / n, edges, color=color, linewidth=1.6)


# --- what they share --------------------------------------------------------------------------------------------------


def _draw_rows(axes: Axes, rows: _Rows, x: Floats, y: Floats, x_limits: Ends, y_limits: Ends) -> tuple[str, str]:
    """Draw rows at (n,) places as points or hexagons, set the limits, and return remarks on points and on rows outside.

    A remark is empty where there is nothing to say.
    """
    inside = (x_limits[0] <= x) & (x <= x_limits[1]) & (y_limits[0] <= y) & (y <= y_limits[1])
    weights = None if rows.weights is None else rows.weights[inside]
    if len(rows) > MOST_POINTS:
        _draw_hexagons(axes, x[inside], y[inside], weights, (*x_limits, *y_limits), rows.counted)
    else:
        size = 14.0 if weights is None else 14 * np.clip(weights / np.mean(weights), 0.25, 8)
        axes.scatter(x[inside], y[inside], s=size, color=style.BLUE, alpha=0.55, linewidths=0)
    axes.set(xlim=x_limits, ylim=y_limits)
    _thousands(axes.xaxis)
    _thousands(axes.yaxis)
    outside = len(rows) - int(np.count_nonzero(inside))
    sized = weights is not None and len(rows) <= MOST_POINTS
    return "a point's area is its weight" if sized else "", _outside(outside, len(rows)) if outside else ""


def _draw_hexagons(
    axes: Axes, x: Floats, y: Floats, weights: Floats | None, extent: tuple[float, float, float, float], counted: str
) -> None:
    """Draw rows as hexagons, coloured by the number or the weight of the rows in them, with a colour bar."""
    import matplotlib
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.ticker import FuncFormatter, NullFormatter

    about: dict[str, Any] = {"C": weights, "reduce_C_function": np.sum} if weights is not None else {}
    # As high as wide, if labels and colour bar take 2 inches of the width, title and legend 1.4 of the height.
    width, height = axes.figure.get_size_inches()  # type: ignore[union-attr]
    grid = (HEXAGONS, round(HEXAGONS / np.sqrt(3) * (height - 1.4) / (width - 2)))
    cells: PolyCollection = axes.hexbin(x, y, gridsize=grid, extent=extent, mincnt=1, linewidths=0.2, **about)
    values = np.asarray(cells.get_array())
    # A few rows of hardly any weight would take most of the colours for themselves.
    least = 1.0 if weights is None else float(np.quantile(values, 0.05))
    # A decade at least, which also makes room where all hexagons hold the same.
    cells.set_norm(LogNorm(least, max(float(values.max()), 10 * least), clip=True))
    # The lightest blues cannot be told from the paper.
    cells.set_cmap(ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.25, 1, 256))))
    cells.set_edgecolor("face")
    less = "min" if values.min() < least else "neither"
    bar = axes.figure.colorbar(cells, ax=axes, shrink=0.7, extend=less, label=f"{counted} in a hexagon")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)


def _limits(values: Floats) -> Ends:
    """The limits of an axis that shows these values, but for those far from all others.

    Far is what lies beyond the 1 % or the 99 % quantile by more than these two lie apart. Of fewer than 100 rows, none
    does: these quantiles are their least and their greatest value.
    """
    low, high = _quantiles(values, (0.01, 0.99))
    least, greatest = float(values.min()), float(values.max())
    if not _as_one(low, high):
        least, greatest = max(least, 2 * low - high), min(greatest, 2 * high - low)
    span = 0.0 if _as_one(least, greatest) else greatest - least
    air = 0.04 * span or 0.1 * abs(greatest) or 1.0
    return least - air, greatest + air


def _as_one(low: float, high: float) -> bool:
    """Whether two ends of a range are equal but for the rounding of numbers of their size."""
    return high - low <= 1e-12 * max(abs(low), abs(high))


def _quantiles(values: Floats, shares: Sequence[float] | Floats, weights: Floats | None = None) -> list[float]:
    """The quantiles of (n,) values; with whole weights, those of the values repeated so often."""
    found = np.quantile(values, np.asarray(shares, dtype=float), method="inverted_cdf", weights=weights)
    return [float(value) for value in found]


def _median(values: Floats, weights: Floats | None) -> float:
    """The median; the mean of two where it lies between them."""
    (lower,), (upper,) = _quantiles(values, [0.5], weights), _quantiles(-values, [0.5], weights)
    return (lower - upper) / 2


def _remark(axes: Axes, rows: _Rows, *words: str) -> None:
    """Write a remark of these words, and of the rows left out; one a line if they are too long for one line."""
    left_out = f"{style.count(rows.not_finite, 'row', 'rows')} without finite numbers" if rows.not_finite else ""
    said = [part for part in (*words, left_out) if part]
    width = axes.figure.get_size_inches()[0] - 1.2  # type: ignore[union-attr]  # less what lies left of the axes
    fits = len("; ".join(said)) <= 13 * width  # letters an inch
    style.remark(axes, ("; " if fits else ";\n").join(said))


def _outside(outside: int, rows: int) -> str:
    """The remark on rows that are not drawn because they lie outside the axes."""
    return f"{outside:,} of {style.count(rows, 'row', 'rows')} {'lies' if outside == 1 else 'lie'} outside"


def _all_equal(what: str, n: int, value: float) -> str:
    """The sentence of a distribution that is one value."""
    return f"There is one {what} only: {_number(value)}" + (f",\nof all {n:,} rows." if n > 1 else ".")


def _number(value: float) -> str:
    """A number to be read: four digits, or all those before the point, with commas between thousands."""
    short = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return short.replace("-", "\N{MINUS SIGN}")


def _thousands(axis: Axis, *, whole: bool = False) -> None:
    """Set up an axis for numbers of any size, or whole numbers, by its limits: few ticks, commas between thousands.

    Very large and very small numbers are left to matplotlib, which writes a common factor at the end of the axis.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=whole))
    if 1000 <= max(abs(low), abs(high)) < 1e9 and high - low >= 30:  # ticks lie at whole numbers
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace("-", "\N{MINUS SIGN}")))
