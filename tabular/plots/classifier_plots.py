"""Plots of data and of a classifier: each function takes plain values and returns a figure.

If something cannot be drawn (one class only, no rows of a class, a failed trial), the figure says so and no error is
raised: a plot must not end a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabular.errors import UserError
from tabular.metrics.classification import DEFAULT_THRESHOLD, confusion, predicted_codes
from tabular.metrics.lookup import sign
from tabular.metrics.metric import Codes, Floats
from tabular.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 20
MOST_CELLS_WITH_TEXT = 20
MOST_POINTS = 1000  # of a curve: more than the figure's width in pixels
MOST_CLASSES_IN_BALANCE = 30
GRID = np.linspace(0, 1, 501)  # where the mean of several curves is taken


# --- a classifier's predictions ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Curve:
    """A kind of curve over all thresholds: the functions for its points and its area, and their labels."""

    x: str
    y: str
    area: str
    points: Callable[..., tuple[Floats, Floats]]  # of (n,) truths, scores and weights
    area_of: Callable[[Floats, Floats], float]
    between: str  # how points are joined: matplotlib's drawstyle


def _roc_points(truth: NDArray[np.bool_], score: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    from sklearn.metrics import roc_curve as points

    false_positives, true_positives, _ = points(truth, score, sample_weight=weights)
    return false_positives, true_positives


def _precision_recall_points(
    truth: NDArray[np.bool_], score: Floats, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    from sklearn.metrics import precision_recall_curve as points

    precision, recall, _ = points(truth, score, sample_weight=weights)
    return recall[::-1], precision[::-1]


def _trapezoids(x: Floats, y: Floats) -> float:
    return float(np.trapezoid(y, x))


def _steps(x: Floats, y: Floats) -> float:
    return float(np.sum(np.diff(x) * y[1:]))


ROC = _Curve("false positive rate", "true positive rate", "AUC", _roc_points, _trapezoids, "default")
PRECISION_RECALL = _Curve("recall", "precision", "AP", _precision_recall_points, _steps, "steps-pre")


def roc_curve(
    y: Codes,
    probabilities: Floats,
    *,
    classes: Sequence[object],
    positive: int = 1,
    weights: Floats | None = None,
    title: str,
) -> Figure:
    """Plot the receiver operating characteristic (ROC), with the area under the curve in the legend.

    With more than two classes, each class is plotted against the rest: the 10 most frequent classes, and the mean over
    all of them.

    Parameters
    ----------
    y : (n,) integer array
        The true classes as codes 0..k-1: positions in `classes`.
    probabilities : (n, k) float array
        The probability of each class.
    classes : sequence of length k
        The labels.
    positive : int, default 1
        The code of the positive class. Only used with two classes.
    weights : (n,) float array, optional
        How much each row counts, from 0 up; all count alike by default.
    title : str
        The title of the figure.

    """
    about: dict[str, Any] = {"classes": classes, "positive": positive, "weights": weights, "title": title}
    return _threshold_curve(ROC, y, probabilities, **about)


def precision_recall_curve(
    y: Codes,
    probabilities: Floats,
    *,
    classes: Sequence[object],
    positive: int = 1,
    weights: Floats | None = None,
    title: str,
) -> Figure:
    """Plot precision against recall, with the average precision in the legend and the prevalence as baseline.

    Parameters are those of `roc_curve`. With more than two classes the baseline is the mean of their prevalences.
    """
    about: dict[str, Any] = {"classes": classes, "positive": positive, "weights": weights, "title": title}
    return _threshold_curve(PRECISION_RECALL, y, probabilities, **about)


def _threshold_curve(
    curve: _Curve,
    y: Codes,
    probabilities: Floats,
    *,
    classes: Sequence[object],
    positive: int,
    weights: Floats | None,
    title: str,
) -> Figure:
    with style.house():
        two = len(classes) == 2
        figure, axes = style.new_figure(title, width=6.4 if two else 8.2, height=5.6 if two else 5.2)
        axes.set(xlabel=curve.x, ylabel=curve.y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        rows = np.bincount(y, weights=weights, minlength=len(classes))
        if np.count_nonzero(rows) < 2:
            style.say(axes, "These rows hold one class only:\nthere is no curve to draw.")
            return figure
        codes = np.array([positive]) if two else np.flatnonzero(rows)
        drawn = sorted(codes, key=lambda code: -rows[code])[: style.MOST_CURVES]
        colors = dict(zip(sorted(drawn), style.colors(), strict=False))
        areas, heights = [], []
        for code in codes:  # one at a time: a curve may have as many points as there are rows
            x, height = curve.points(y == code, probabilities[:, code], weights)
            areas.append(curve.area_of(x, height))
            heights.append(np.r_[height[0], np.interp(GRID, x, height)])
            if code in colors:
                label = f"{style.text(classes[code])}, {curve.area} {areas[-1]:.3f}"
                about: dict[str, Any] = {"color": colors[code], "drawstyle": curve.between, "label": label}
                axes.plot(*_thinned(x, height), clip_on=False, **about)
        if not two:
            label = f"mean of {style.count(len(codes), 'class', 'classes')}, {curve.area} {np.mean(areas):.3f}"
            # it begins at the mean of the first points, since a curve may rise vertically at 0
            axes.plot(np.r_[0, GRID], np.mean(heights, axis=0), color=style.INK, linewidth=2.4, label=label)
            style.remark(axes, _which_classes(len(classes), len(codes), len(drawn)))
        _draw_baseline(axes, curve, rows[codes] / rows.sum())
        figure.legend(loc="outside lower left" if two else "outside right upper", fontsize=9)
        return figure


def _which_classes(known: int, present: int, drawn: int) -> str:
    """The remark of a figure with more than two classes: which of their curves it shows."""
    said = ["each class against the rest"]
    if drawn < present:
        said.append(f"the {drawn} most frequent are drawn")
    if present < known:
        said.append(f"{known - present} of {known} not in these rows")
    return "; ".join(said)


def _draw_baseline(axes: Axes, curve: _Curve, prevalences: Floats) -> None:
    """Draw the curve of a random model."""
    if curve is ROC:
        axes.plot([0, 1], [0, 1], color=style.FAINT, linestyle=":", label="chance, AUC 0.500")
        return
    word = "prevalence" if len(prevalences) == 1 else "mean prevalence"
    level = float(np.mean(prevalences))
    axes.axhline(level, color=style.FAINT, linestyle=":", label=f"{word}, AP {level:.3f}")


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most `MOST_POINTS` of a curve's points, evenly spaced along its length, with both ends."""
    if len(x) <= MOST_POINTS:
        return x, y
    travelled = np.r_[0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
    stops = np.searchsorted(travelled, np.linspace(0, travelled[-1], MOST_POINTS - 1))
    kept = np.unique(np.r_[stops, len(x) - 1])
    return x[kept], y[kept]


def confusion_matrix(
    y: Codes,
    probabilities: Floats,
    *,
    classes: Sequence[object],
    positive: int = 1,
    threshold: float = DEFAULT_THRESHOLD,
    weights: Floats | None = None,
    title: str,
) -> Figure:
    """Plot the confusion matrix: counts as text, shares of each true class's rows as colours.

    Of weighted rows the texts are sums of weights, and shares are of these. With more than 20 classes there are only
    colours. Parameters are those of `roc_curve`, and `threshold`: with two
    classes, the positive one is predicted from this probability up.
    """
    k = len(classes)
    label = predicted_codes(probabilities, positive=positive, threshold=threshold)
    counts = confusion(y, label, k, weights)
    true = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(true > 0, true, 1)
    with style.house():
        side = min(3.0 + 0.42 * k, 8.0)  # of the matrix, in inches
        shown = range(0, k, -(-k // 30))
        names = [style.text(classes[code]) for code in shown]
        longest = 0.07 * max(map(len, names))
        slanted = longest * len(names) > 0.8 * side
        figure, axes = style.new_figure(title, width=side + 1.9 + longest, height=side + 1.1 + slanted * 0.7 * longest)
        # aspect="auto", since the constrained layout cuts off the labels of axes with a fixed aspect ratio
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        tuned = "" if threshold == DEFAULT_THRESHOLD else f" ({style.text(classes[positive])} from {threshold:.3f} up)"
        axes.set(xlabel=f"predicted class{tuned}", ylabel="true class")
        axes.grid(False)
        axes.tick_params(length=0)
        axes.set_xticks(
            list(shown),
            names,
            rotation=45 if slanted else 0,
            ha="right" if slanted else "center",
            rotation_mode="anchor",
            fontsize=9 if k <= 20 else 7.5,
        )
        axes.set_yticks(list(shown), names, fontsize=9 if k <= 20 else 7.5)
        if k <= MOST_CELLS_WITH_TEXT:
            _write_cells(axes, counts, shares)
        counted = "rows" if weights is None else "weight"
        bar = figure.colorbar(image, ax=axes, shrink=0.7, label=f"share of the true class's {counted}")
        bar.outline.set_visible(False)
        absent = int(np.count_nonzero(counts.sum(axis=1) == 0))
        style.remark(axes, f"{absent} of {k} classes not in these rows" if absent else "")
        return figure


def _write_cells(axes: Axes, counts: Floats, shares: Floats) -> None:
    k = len(counts)
    size = 10 if k <= 6 else 8.5 if k <= 12 else 7
    for row, column in np.ndindex(k, k):
        if counts[row, column] or k <= 6:  # in a big matrix the zeros would hide the errors
            color = "white" if shares[row, column] > 0.55 else style.INK
            axes.text(
                column,
                row,
                _cell(float(counts[row, column]), exact=k <= 6),
                ha="center",
                va="center",
                color=color,
                fontsize=size,
                in_layout=False,  # the text lies inside the matrix: the layout need not measure it
            )


def _cell(count: float, *, exact: bool) -> str:
    """A count of rows, or a sum of weights with three digits."""
    is_count = count.is_integer() or count >= 1000
    return style.brief(round(count), exact=exact) if is_count else f"{count:.3g}"


def calibration_curve(
    y: Codes,
    probabilities: Floats,
    *,
    classes: Sequence[object],
    positive: int = 1,
    weights: Floats | None = None,
    title: str,
) -> Figure:
    """Plot the observed share of the positive class against its predicted probability, above a histogram.

    The probabilities are put into up to ten bins with about the same number of rows each. With more than two classes,
    the probability is that of the predicted class, and the share is that of the rows where this class is the true one.
    Error bars are 95% confidence intervals (E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22, 1927). Of weighted rows the means and
    shares are weighted, and an interval is that of as many rows as the weights are worth (L. Kish, "Survey Sampling",
    1965: the square of their sum through the sum of their squares).

    Parameters are those of `roc_curve`.
    """
    if len(classes) == 2:
        score, came_true = probabilities[:, positive], y == positive
        of, came = f"of {style.text(classes[positive])}", f"observed share of {style.text(classes[positive])}"
    else:
        label = predicted_codes(probabilities)
        score, came_true = probabilities[np.arange(len(y)), label], y == label
        of, came = "of the predicted class", "share of rows where it was right"
    with style.house():
        figure, axes = style.new_figure(title, width=6.4, height=6.4, heights=(3, 1))
        below = figure.axes[1]
        middle, share, low, high = _calibration(score, came_true, np.ones(len(y)) if weights is None else weights)
        axes.plot([0, 1], [0, 1], color=style.FAINT, linestyle=":", label="perfectly calibrated")
        axes.errorbar(
            middle,
            share,
            yerr=(share - low, high - share),
            color=style.BLUE,
            elinewidth=1,
            capsize=2,
            marker="o",
            markersize=4,
            label=style.count(len(middle), "bin of equal rows", "bins of equal rows"),
        )
        axes.set(ylabel=came, ylim=(-0.02, 1.02))
        axes.tick_params(labelbottom=False)
        below.hist(score, bins=np.linspace(0, 1, 41).tolist(), weights=weights, color=style.BLUE)
        counted = "rows" if weights is None else "weight"
        below.set(xlabel=f"probability {of}", ylabel=counted, xlim=(-0.02, 1.02))
        figure.legend(loc="outside lower left", ncols=2, fontsize=9)
        style.remark(
            axes, "" if len(classes) == 2 else "the predicted class's probability against how often it was right"
        )
        return figure


def _calibration(score: Floats, came_true: NDArray[np.bool_], counts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The calibration by quantile bins of the score, of rows that count so much.

    Four (bins,) arrays: the mean score, the share of rows that came true, and the lower and upper end of the share's
    95% interval.
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, 11)))
    bins = np.searchsorted(edges[1:-1], score, side="right")
    whole = np.bincount(bins, weights=counts)
    filled = whole > 0
    middle = np.bincount(bins, weights=counts * score)[filled] / whole[filled]
    share = np.bincount(bins, weights=counts * came_true)[filled] / whole[filled]
    rows = whole[filled] ** 2 / np.bincount(bins, weights=counts**2)[filled]
    z = 1.96
    center = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return middle, share, np.minimum(center - reach, share), np.maximum(center + reach, share)


# --- a model, its candidates, its data, its search --------------------------------------------------------------------


def feature_importance(importances: Mapping[str, float], *, kind: str, title: str) -> Figure:
    """Plot the importances of the 20 most important features as bars.

    Parameters
    ----------
    importances : mapping of feature to importance
        On any scale; may be negative, for a permutation that raised the score.
    kind : str
        The measure of importance, such as "gain" or "permutation, drop in roc_auc".
    title : str
        The title of the figure.

    """
    top = sorted(importances.items(), key=lambda item: (-item[1], str(item[0])))[:MOST_BARS]
    with style.house():
        figure, axes = style.new_figure(title, width=7, height=1.6 + 0.26 * max(len(top), 5))
        axes.set_xlabel(f"importance ({style.text(kind, longest=80)})")
        if not top:
            style.say(axes, "The model has no importances.")
            return figure
        axes.barh(range(len(top)), [value for _, value in top], color=style.BLUE, height=0.7)
        style.one_a_line(axes, [style.text(name) for name, _ in top])
        hidden = len(importances) - len(top)
        style.remark(axes, f"the first {len(top)} of {len(importances)} features" if hidden else "")
        return figure


def metrics_of_candidates(metrics: Mapping[str, Mapping[str, float]], *, title: str) -> Figure:
    """Plot the metrics of all candidates side by side as bars.

    Metrics of which less is better are on axes of their own, and are marked by an arrow.

    Parameters
    ----------
    metrics : mapping of model to mapping of metric to value
        A metric that a model lacks, or that is not finite, is written as "n/a".
    title : str
        The title of the figure.

    """
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    sides = [side for better in (True, False) if (side := [n for n in names if _greater_is_better(n) is better])]
    bars = len(names) * len(metrics)
    with style.house():
        figure, first = style.new_figure(
            title,
            width=min(max(5.0, 2.4 + 0.32 * bars + 0.3 * len(names)), 14),
            height=4.6,
            widths=[len(side) for side in sides] or [1],
        )
        if not bars:
            style.say(first, "There are no metrics.")
            return figure
        for axes, side in zip(figure.axes, sides, strict=True):
            _draw_bars(axes, metrics, side, with_values=bars <= 40)
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=min(len(labels), 4), fontsize=9)
        return figure


def _draw_bars(axes: Axes, metrics: Mapping[str, Mapping[str, float]], names: Sequence[str], with_values: bool) -> None:
    """Draw a group of bars for each metric, with a bar for each model."""
    width = 0.84 / len(metrics)
    for position, ((model, values), color) in enumerate(zip(metrics.items(), style.colors(len(metrics)), strict=True)):
        at = np.arange(len(names)) + (position - (len(metrics) - 1) / 2) * width
        heights = np.array([values.get(name, np.nan) for name in names], dtype=float)
        known = np.isfinite(heights)
        axes.bar(at, np.where(known, heights, 0), width=0.92 * width, color=color, label=style.text(model))
        for x, height, is_known in zip(at, heights, known, strict=True):
            if with_values or not is_known:
                axes.annotate(
                    f"{height:.3f}" if is_known else "n/a",
                    (x, height if is_known else 0),
                    (0, 3),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    rotation=90,
                    fontsize=8,
                    color=style.INK if is_known else style.FAINT,
                )
    labels = [
        style.text(name) if _greater_is_better(name) else f"{style.text(name)} \N{DOWNWARDS ARROW}" for name in names
    ]
    axes.set_xticks(range(len(names)), labels, rotation=25, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.margins(y=0.14)
    style.remark(axes, "more is better" if _greater_is_better(names[0]) else "less is better")


def learning_curve(
    curves: Mapping[str, Sequence[float]], *, iterations: Sequence[int] | None = None, metric: str, title: str
) -> Figure:
    """Plot scores by iteration, with a mark at the best score of each curve that is not of training rows.

    Parameters
    ----------
    curves : mapping of name to sequence of float
        Such as {"train": ..., "validation": ...}. A curve whose name begins with "train" gets no mark if there are
        other curves.
    iterations : sequence of int, optional
        The iterations after which the scores were computed, by default 1, 2, 3, ….
    metric : str
        The score's name. Less is better if `tabular.metrics.lookup.metric` says so or, for an unknown name, if
        the name holds "loss" or "error".
    title : str
        The title of the figure.

    """
    with style.house():
        figure, axes = style.new_figure(title)
        axes.set(xlabel="iteration", ylabel=style.text(metric))
        drawn = {name: np.asarray(scores, dtype=float) for name, scores in curves.items() if np.isfinite(scores).any()}
        if not drawn:
            style.say(axes, "No score was recorded.")
            return figure
        after = np.arange(1, max(map(len, drawn.values())) + 1) if iterations is None else np.asarray(iterations)
        style.number_from_one(axes, int(after[-1]))
        judged = [name for name in drawn if not str(name).startswith("train")] or list(drawn)
        for (name, scores), color in zip(drawn.items(), style.colors(len(drawn)), strict=True):
            x = after[: len(scores)]
            label = style.text(name)
            if name in judged:
                best = int(np.nanargmax(scores) if _greater_is_better(metric) else np.nanargmin(scores))
                label += f", best {scores[best]:.4g} at {x[best]}"
                axes.plot(x[best], scores[best], marker="o", markersize=7, markerfacecolor="none", color=color)
            axes.plot(x, scores, color=color, label=label, marker="." if len(scores) <= 25 else "")
        figure.legend(loc="outside lower left", ncols=2, fontsize=9)
        return figure


def class_balance(counts: Mapping[str, Mapping[str, int]], *, title: str) -> Figure:
    """Plot the share of each class in each part of the data.

    Parameters
    ----------
    counts : mapping of part to mapping of class to number of rows
        Such as {"train": {"no": 80, "yes": 20}, "holdout": {"no": 21, "yes": 4}}. At most the 30 most frequent classes
        are drawn; shares are always of all rows.
    title : str
        The title of the figure.

    """
    totals: dict[str, int] = {}
    for part in counts.values():
        for name, n in part.items():
            totals[name] = totals.get(name, 0) + n
    names = sorted(totals, key=lambda name: -totals[name])[:MOST_CLASSES_IN_BALANCE]
    with style.house():
        figure, axes = style.new_figure(
            title, width=7, height=min(2.0 + 0.2 * max(len(names), 3) * max(len(counts), 1), 11)
        )
        axes.set_xlabel("share of the rows of each part")
        if not names:
            style.say(axes, "There are no rows.")
            return figure
        height = 0.8 / len(counts)
        for position, ((part_name, of_class), color) in enumerate(
            zip(counts.items(), style.colors(len(counts)), strict=True)
        ):
            rows = sum(of_class.values())
            shares = np.array([of_class.get(name, 0) / max(rows, 1) for name in names])
            at = np.arange(len(names)) + (position - (len(counts) - 1) / 2) * height
            label = f"{style.text(part_name)}, {style.count(rows, 'row', 'rows')}"
            bars = axes.barh(at, shares, height=0.9 * height, color=color, label=label)
            texts = [f"{share:.1%}  ({of_class.get(name, 0):,})" for name, share in zip(names, shares, strict=True)]
            axes.bar_label(bars, texts, padding=3, fontsize=8)
        style.one_a_line(axes, [style.text(name) for name in names])
        axes.margins(x=0.2)
        axes.xaxis.set_major_formatter(style.percent)
        hidden = len(totals) - len(names)
        style.remark(axes, f"the {len(names)} most frequent of {len(totals)} classes" if hidden else "")
        figure.legend(loc="outside lower left", ncols=4, fontsize=9)
        return figure


def _greater_is_better(metric: str) -> bool:
    try:
        return sign(metric) > 0
    except UserError:  # the name is not one of a known metric
        return not any(word in metric for word in ("loss", "error"))
