"""Pictures of data, of a search and of a classifier: each function takes plain values and returns a figure.

Every figure is drawn in one style, whatever the machine's matplotlibrc says, so that the same values give the same
picture; `save` turns it into the same bytes. pyplot, with its global state and slow import, is not used.

What cannot be drawn (one class only, no rows of a class, a failed trial) is said in the picture rather than raised:
a picture is the last thing that should end a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabular.metrics import METRICS, Codes, Floats, predicted_codes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
MOST_CURVES = 10  # as many as there are colours that anyone can tell apart
MOST_BARS = 20
MOST_CELLS_WITH_TEXT = 20
MOST_POINTS = 1000  # of a curve: more than the picture has pixels across
MOST_CLASSES_IN_BALANCE = 30
LONGEST_NAME = 28

INK = "#333333"
FAINT = "#8a8a8a"
BLUE = "#3f90da"

STYLE: Mapping[Any, Any] = {
    "figure.dpi": DPI,
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#b0b0b0",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ebebeb",
    "xtick.color": "#b0b0b0",
    "ytick.color": "#b0b0b0",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}

# DejaVu Sans comes with matplotlib and has no Chinese, Japanese or Korean: the first of these that is installed helps.
WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


# --- a classifier's answers -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Curve:
    """A curve over all thresholds: how to get its points and its area, and what to call them."""

    x: str
    y: str
    area: str
    points: Callable[[NDArray[np.bool_], Floats], tuple[Floats, Floats]]
    area_of: Callable[[Floats, Floats], float]
    between: str  # how points are joined: matplotlib's drawstyle


def _roc_points(truth: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    from sklearn.metrics import roc_curve as points

    false_positives, true_positives, _ = points(truth, score)
    return false_positives, true_positives


def _precision_recall_points(truth: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    from sklearn.metrics import precision_recall_curve as points

    precision, recall, _ = points(truth, score)
    return recall[::-1], precision[::-1]


def _trapezoids(x: Floats, y: Floats) -> float:
    return float(np.trapezoid(y, x))


def _steps(x: Floats, y: Floats) -> float:
    return float(np.sum(np.diff(x) * y[1:]))


ROC = _Curve("false positive rate", "true positive rate", "AUC", _roc_points, _trapezoids, "default")
PRECISION_RECALL = _Curve("recall", "precision", "AP", _precision_recall_points, _steps, "steps-pre")


def roc_curve(y: Codes, probabilities: Floats, *, classes: Sequence[object], positive: int = 1, title: str) -> Figure:
    """The receiver operating characteristic, with the area under it in the legend.

    Parameters
    ----------
    y : (n,) integer array
        The true classes as codes 0..k-1: positions in `classes`.
    probabilities : (n, k) float array
        The probability of each class.
    classes : sequence of length k
        The labels.
    positive : int, default 1
        The code of the positive class of two. Without a meaning for more than two: then each class stands against
        the rest, the 10 most frequent ones are drawn, and the mean over all of them.
    title : str
        The title.

    Returns
    -------
    matplotlib.figure.Figure

    """
    return _threshold_curve(ROC, y, probabilities, classes=classes, positive=positive, title=title)


def precision_recall_curve(
    y: Codes, probabilities: Floats, *, classes: Sequence[object], positive: int = 1, title: str
) -> Figure:
    """Precision against recall, with the average precision in the legend and the prevalence as baseline.

    Parameters are those of `roc_curve`. With more than two classes the baseline is the mean of their prevalences.
    """
    return _threshold_curve(PRECISION_RECALL, y, probabilities, classes=classes, positive=positive, title=title)


def _threshold_curve(
    curve: _Curve, y: Codes, probabilities: Floats, *, classes: Sequence[object], positive: int, title: str
) -> Figure:
    with _house_style():
        two = len(classes) == 2
        figure, axes = _figure(title, width=6.4 if two else 8.2, height=5.6 if two else 5.2)
        axes.set(xlabel=curve.x, ylabel=curve.y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        rows = np.bincount(y, minlength=len(classes))
        if np.count_nonzero(rows) < 2:
            _say(axes, "These rows hold one class only:\nthere is no curve to draw.")
            return figure
        codes = np.array([positive]) if two else np.flatnonzero(rows)
        points = {int(code): curve.points(y == code, probabilities[:, code]) for code in codes}
        drawn = sorted(sorted(points, key=lambda code: -rows[code])[:MOST_CURVES])
        for code, color in zip(drawn, _colors(), strict=False):
            label = f"{_text(classes[code])}, {curve.area} {curve.area_of(*points[code]):.3f}"
            axes.plot(*_thinned(*points[code]), color=color, drawstyle=curve.between, label=label, clip_on=False)
        if not two:
            mean = float(np.mean([curve.area_of(*xy) for xy in points.values()]))
            label = f"mean of {_count(len(points), 'class', 'classes')}, {curve.area} {mean:.3f}"
            axes.plot(*_mean_curve(points.values()), color=INK, linewidth=2.4, label=label)
            _remark(axes, _which_classes(len(classes), len(points), len(drawn)))
        _draw_baseline(axes, curve, rows[codes] / len(y))
        figure.legend(loc="outside lower left" if two else "outside right upper", fontsize=9)
        return figure


def _which_classes(known: int, present: int, drawn: int) -> str:
    """What a picture of curves leaves out, in words."""
    said = ["each class against the rest"]
    if drawn < present:
        said.append(f"the {drawn} most frequent are drawn")
    if present < known:
        said.append(f"{known - present} of {known} not in these rows")
    return "; ".join(said)


def _draw_baseline(axes: Axes, curve: _Curve, prevalences: Floats) -> None:
    """What a model that knows nothing would reach."""
    if curve is ROC:
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", label="chance, AUC 0.500")
        return
    word = "prevalence" if len(prevalences) == 1 else "mean prevalence"
    level = float(np.mean(prevalences))
    axes.axhline(level, color=FAINT, linestyle=":", label=f"{word}, AP {level:.3f}")


def _mean_curve(curves: Iterable[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """The mean height of curves over [0, 1], from the mean of their first points: at 0 a curve can stand upright."""
    grid = np.linspace(0, 1, 501)
    heights = [np.r_[y[0], np.interp(grid, x, y)] for x, y in curves]
    return np.r_[0, grid], np.mean(heights, axis=0)


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most `MOST_POINTS` of a curve's points, evenly spaced along its length, the ends among them."""
    if len(x) <= MOST_POINTS:
        return x, y
    travelled = np.r_[0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
    stops = np.searchsorted(travelled, np.linspace(0, travelled[-1], MOST_POINTS - 1))
    kept = np.unique(np.r_[stops, len(x) - 1])
    return x[kept], y[kept]


def confusion_matrix(
    y: Codes, probabilities: Floats, *, classes: Sequence[object], positive: int = 1, title: str
) -> Figure:
    """How many rows of each true class were predicted as which: counts as text, the row's shares as colours.

    Parameters are those of `roc_curve`. Above 20 classes there are only colours.
    """
    k = len(classes)
    label = predicted_codes(probabilities, positive=positive)
    counts = np.bincount(y.astype(np.int64) * k + label, minlength=k * k).reshape(k, k)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with _house_style():
        side = min(3.0 + 0.42 * k, 8.0)  # of the matrix, in inches
        shown = range(0, k, -(-k // 30))
        names = [_text(classes[code]) for code in shown]
        longest = 0.07 * max(map(len, names))
        slanted = longest * len(names) > 0.8 * side
        figure, axes = _figure(title, width=side + 1.9 + longest, height=side + 1.1 + slanted * 0.7 * longest)
        # aspect: the constrained layout cuts labels off axes whose sides are in a fixed proportion.
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set(xlabel="predicted class", ylabel="true class")
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
        bar = figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class's rows")
        bar.outline.set_visible(False)
        absent = int(np.count_nonzero(counts.sum(axis=1) == 0))
        _remark(axes, f"{absent} of {k} classes not in these rows" if absent else "")
        return figure


def _write_cells(axes: Axes, counts: Codes, shares: Floats) -> None:
    k = len(counts)
    size = 10 if k <= 6 else 8.5 if k <= 12 else 7
    for row, column in np.ndindex(k, k):
        if counts[row, column] or k <= 6:  # in a big matrix the zeros would drown the mistakes
            color = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column,
                row,
                _brief(int(counts[row, column]), exact=k <= 6),
                ha="center",
                va="center",
                color=color,
                fontsize=size,
                in_layout=False,  # it lies inside the matrix: no need to measure it
            )


def calibration_curve(
    y: Codes, probabilities: Floats, *, classes: Sequence[object], positive: int = 1, title: str
) -> Figure:
    """How often a probability comes true, in up to ten bins of about as many rows each, above their histogram.

    Two classes: the positive one's probability. More: the probability of the class that was predicted, and how often
    it was the true one. The bars are 95% intervals (E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", Journal of the American Statistical Association 22, 1927).

    Parameters are those of `roc_curve`.
    """
    if len(classes) == 2:
        score, came_true = probabilities[:, positive], y == positive
        of, came = f"of {_text(classes[positive])}", f"observed share of {_text(classes[positive])}"
    else:
        label = predicted_codes(probabilities)
        score, came_true = probabilities[np.arange(len(y)), label], y == label
        of, came = "of the predicted class", "share of rows where it was right"
    with _house_style():
        figure, axes = _figure(title, width=6.4, height=6.4, heights=(3, 1))
        below = figure.axes[1]
        middle, share, low, high = _calibration(score, came_true)
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", label="perfectly calibrated")
        axes.errorbar(
            middle,
            share,
            yerr=(share - low, high - share),
            color=BLUE,
            elinewidth=1,
            capsize=2,
            marker="o",
            markersize=4,
            label=_count(len(middle), "bin of equal rows", "bins of equal rows"),
        )
        axes.set(ylabel=came, ylim=(-0.02, 1.02))
        axes.tick_params(labelbottom=False)
        below.hist(score, bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
        below.set(xlabel=f"probability {of}", ylabel="rows", xlim=(-0.02, 1.02))
        figure.legend(loc="outside lower left", ncols=2, fontsize=9)
        _remark(axes, "" if len(classes) == 2 else "the predicted class's probability against how often it was right")
        return figure


def _calibration(score: Floats, came_true: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean score, share that came true, and the ends of the share's 95% interval, by quantile bin of the score."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, 11)))
    bins = np.searchsorted(edges[1:-1], score, side="right")
    rows = np.bincount(bins)
    filled = rows > 0
    rows = rows[filled]
    middle = np.bincount(bins, weights=score)[filled] / rows
    share = np.bincount(bins, weights=came_true)[filled] / rows
    z = 1.96
    center = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return middle, share, np.minimum(center - reach, share), np.maximum(center + reach, share)


# --- a model, its candidates, its data, its search --------------------------------------------------------------------


def feature_importance(importances: Mapping[str, float], *, kind: str, title: str) -> Figure:
    """The 20 features that matter most, as bars.

    Parameters
    ----------
    importances : mapping of feature to importance
        Any scale; negative values (a permutation that helped) are drawn as such.
    kind : str
        What the numbers are: "gain", or "permutation, drop in roc_auc".
    title : str
        The title.

    Returns
    -------
    matplotlib.figure.Figure

    """
    top = sorted(importances.items(), key=lambda item: (-item[1], str(item[0])))[:MOST_BARS]
    with _house_style():
        figure, axes = _figure(title, width=7, height=1.6 + 0.26 * max(len(top), 5))
        axes.set_xlabel(f"importance ({_text(kind, longest=80)})")
        if not top:
            _say(axes, "The model has no importances.")
            return figure
        axes.barh(range(len(top)), [value for _, value in top], color=BLUE, height=0.7)
        axes.set_yticks(range(len(top)), [_text(name) for name, _ in top])
        axes.set_ylim(len(top) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        hidden = len(importances) - len(top)
        _remark(axes, f"the first {len(top)} of {len(importances)} features" if hidden else "")
        return figure


def metrics_of_candidates(metrics: Mapping[str, Mapping[str, float]], *, title: str) -> Figure:
    """The metrics of all candidate models side by side; those where less is better (marked by an arrow) apart.

    Parameters
    ----------
    metrics : mapping of model to mapping of metric to value
        A metric that a model lacks, or that is not finite, is written as "n/a".
    title : str
        The title.

    Returns
    -------
    matplotlib.figure.Figure

    """
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    sides = [side for better in (True, False) if (side := [n for n in names if _greater_is_better(n) is better])]
    bars = len(names) * len(metrics)
    with _house_style():
        figure, first = _figure(
            title,
            width=min(max(5.0, 2.4 + 0.32 * bars + 0.3 * len(names)), 14),
            height=4.6,
            widths=[len(side) for side in sides] or [1],
        )
        if not bars:
            _say(first, "There are no metrics.")
            return figure
        for axes, side in zip(figure.axes, sides, strict=True):
            _draw_bars(axes, metrics, side, with_values=bars <= 40)
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=min(len(labels), 4), fontsize=9)
        return figure


def _draw_bars(axes: Axes, metrics: Mapping[str, Mapping[str, float]], names: Sequence[str], with_values: bool) -> None:
    """One group of bars a metric, one bar a model."""
    width = 0.84 / len(metrics)
    for position, ((model, values), color) in enumerate(zip(metrics.items(), _colors(len(metrics)), strict=True)):
        at = np.arange(len(names)) + (position - (len(metrics) - 1) / 2) * width
        heights = np.array([values.get(name, np.nan) for name in names], dtype=float)
        known = np.isfinite(heights)
        axes.bar(at, np.where(known, heights, 0), width=0.92 * width, color=color, label=_text(model))
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
                    color=INK if is_known else FAINT,
                )
    labels = [_text(name) if _greater_is_better(name) else f"{_text(name)} \N{DOWNWARDS ARROW}" for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=25, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.margins(y=0.14)
    _remark(axes, "more is better" if _greater_is_better(names[0]) else "less is better")


def learning_curve(
    curves: Mapping[str, Sequence[float]], *, iterations: Sequence[int] | None = None, metric: str, title: str
) -> Figure:
    """Scores by iteration, the best of each curve that is not of training rows marked.

    Parameters
    ----------
    curves : mapping of name to sequence of float
        Such as {"train": ..., "validation": ...}; one whose name begins with "train" gets no mark if there are others.
    iterations : sequence of int, optional
        After which ones the scores were taken, by default 1, 2, 3, ….
    metric : str
        The score's name. Less is better if `METRICS` says so or, for a name that it lacks, if it holds "loss" or
        "error".
    title : str
        The title.

    Returns
    -------
    matplotlib.figure.Figure

    """
    with _house_style():
        figure, axes = _figure(title)
        axes.set(xlabel="iteration", ylabel=_text(metric))
        drawn = {name: np.asarray(scores, dtype=float) for name, scores in curves.items() if np.isfinite(scores).any()}
        if not drawn:
            _say(axes, "No score was recorded.")
            return figure
        after = np.arange(1, max(map(len, drawn.values())) + 1) if iterations is None else np.asarray(iterations)
        _number_from_one(axes, int(after[-1]))
        judged = [name for name in drawn if not str(name).startswith("train")] or list(drawn)
        for (name, scores), color in zip(drawn.items(), _colors(len(drawn)), strict=True):
            x = after[: len(scores)]
            label = _text(name)
            if name in judged:
                best = int(np.nanargmax(scores) if _greater_is_better(metric) else np.nanargmin(scores))
                label += f", best {scores[best]:.4g} at {x[best]}"
                axes.plot(x[best], scores[best], marker="o", markersize=7, markerfacecolor="none", color=color)
            axes.plot(x, scores, color=color, label=label, marker="." if len(scores) <= 25 else "")
        figure.legend(loc="outside lower left", ncols=2, fontsize=9)
        return figure


def class_balance(counts: Mapping[str, Mapping[str, int]], *, title: str) -> Figure:
    """The share of each class in each part of the data.

    Parameters
    ----------
    counts : mapping of part to mapping of class to number of rows
        Such as {"train": {"no": 80, "yes": 20}, "holdout": {"no": 21, "yes": 4}}. Of more than
        30 classes the most frequent are drawn; the shares are still those of all rows.
    title : str
        The title.

    Returns
    -------
    matplotlib.figure.Figure

    """
    totals: dict[str, int] = {}
    for part in counts.values():
        for name, n in part.items():
            totals[name] = totals.get(name, 0) + n
    names = sorted(totals, key=lambda name: -totals[name])[:MOST_CLASSES_IN_BALANCE]
    with _house_style():
        figure, axes = _figure(title, width=7, height=min(2.0 + 0.2 * max(len(names), 3) * max(len(counts), 1), 11))
        axes.set_xlabel("share of the rows of each part")
        if not names:
            _say(axes, "There are no rows.")
            return figure
        height = 0.8 / len(counts)
        for position, ((part_name, of_class), color) in enumerate(
            zip(counts.items(), _colors(len(counts)), strict=True)
        ):
            rows = sum(of_class.values())
            shares = np.array([of_class.get(name, 0) / max(rows, 1) for name in names])
            at = np.arange(len(names)) + (position - (len(counts) - 1) / 2) * height
            label = f"{_text(part_name)}, {_count(rows, 'row', 'rows')}"
            bars = axes.barh(at, shares, height=0.9 * height, color=color, label=label)
            texts = [f"{share:.1%}  ({of_class.get(name, 0):,})" for name, share in zip(names, shares, strict=True)]
            axes.bar_label(bars, texts, padding=3, fontsize=8)
        axes.set_yticks(range(len(names)), [_text(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.2)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.xaxis.set_major_formatter(_percent)
        hidden = len(totals) - len(names)
        _remark(axes, f"the {len(names)} most frequent of {len(totals)} classes" if hidden else "")
        figure.legend(loc="outside lower left", ncols=4, fontsize=9)
        return figure


def search_history(scores: Sequence[float], *, metric: str, greater_is_better: bool, title: str) -> Figure:
    """Each trial's score as a point, a failed one as a cross on the lower edge, and the best so far as a line.

    Parameters
    ----------
    scores : sequence of float
        One a trial, in order; NaN for a failed one.
    metric : str
        The score's name.
    greater_is_better : bool
        The score's direction.
    title : str
        The title.

    Returns
    -------
    matplotlib.figure.Figure

    """
    values = np.asarray(scores, dtype=float)
    trial = np.arange(1, len(values) + 1)
    worked = np.isfinite(values)
    with _house_style():
        figure, axes = _figure(title)
        axes.set(xlabel="trial", ylabel=_text(metric))
        _number_from_one(axes, len(values))
        if worked.any():
            best = np.fmax.accumulate(values) if greater_is_better else np.fmin.accumulate(values)
            size = 5 if len(values) <= 200 else 2.5
            axes.plot(
                trial[worked],
                values[worked],
                linestyle="",
                marker="o",
                markersize=size,
                alpha=0.6,
                color=BLUE,
                markeredgewidth=0,
                label="a trial",
            )
            axes.plot(trial, best, drawstyle="steps-post", color=INK, label=f"best so far, {best[-1]:.4g} in the end")
        else:
            axes.set_yticks([])
            _say(axes, "No trial has a score.")
        if not worked.all():
            axes.plot(
                trial[~worked],
                np.zeros(np.count_nonzero(~worked)),
                linestyle="",
                marker="x",
                markersize=5,
                color="#bd1f01",
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                label=_count(int(np.count_nonzero(~worked)), "failed trial", "failed trials"),
            )
        if len(values):
            figure.legend(loc="outside lower left", ncols=3, fontsize=9)
        return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG at 120 dots an inch: the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Of any function of this module.
    path : pathlib.Path
        The file, in a folder that exists.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _house_style():  # ticks are made when they are drawn
        # Not savefig: with a constrained layout it goes through the whole figure twice.
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]


# --- the style --------------------------------------------------------------------------------------------------------


@contextmanager
def _house_style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", *_wide_fonts()]
        yield


def _figure(
    title: str,
    *,
    width: float = 6.4,
    height: float = 4.8,
    heights: Sequence[float] = (1,),
    widths: Sequence[float] = (1,),
) -> tuple[Figure, Axes]:
    """A titled figure of `width` by `height` inches, and the first of its axes."""
    import textwrap

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(round(width, 1), round(height, 1)), layout="constrained")  # of whole pixels
    FigureCanvasAgg(figure)
    lines = textwrap.wrap(_text(title, longest=200), width=int(9 * width), max_lines=2, placeholder=" …")
    figure.suptitle("\n".join(lines), x=0.012, ha="left", fontsize=11.5, fontweight="bold")
    all_axes = figure.subplots(
        len(heights), len(widths), squeeze=False, height_ratios=heights, width_ratios=widths, sharex="col"
    )
    return figure, all_axes[0, 0]


def _colors(n: int = MOST_CURVES) -> list[Any]:
    """Colours that colour-blind people can tell apart too (M. A. Petroff, arXiv:2107.02270), over again if need be."""
    import matplotlib

    palette = matplotlib.color_sequences["petroff10"]
    return [palette[position % len(palette)] for position in range(n)]


def _say(axes: Axes, sentence: str) -> None:
    """Say in the middle of a picture why there is nothing else in it."""
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", fontsize=11, color=FAINT)


def _remark(axes: Axes, words: str) -> None:
    """A line below the title on what is drawn, if there is something to say."""
    if words:
        axes.set_title(words, loc="left", fontsize=9, color="#666666")


def _number_from_one(axes: Axes, last: int) -> None:
    """Whole numbers 1 to `last` along x, with a little air on both sides."""
    from matplotlib.ticker import MaxNLocator

    air = max(0.5, 0.02 * last)
    axes.set_xlim(1 - air, max(last, 1) + air)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _percent(value: float, _position: float) -> str:
    return f"{100 * value:.3g}%"


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _brief(n: int, *, exact: bool) -> str:
    """A count that fits into a cell."""
    if exact or n < 10_000:
        return f"{n:,}" if exact else str(n)
    return f"{n / 1e3:.0f}k" if n < 1_000_000 else f"{n / 1e6:.1f}M"


def _greater_is_better(metric: str) -> bool:
    if metric in METRICS:
        return METRICS[metric].greater_is_better
    return not any(word in metric for word in ("loss", "error"))


def _text(name: object, *, longest: int = LONGEST_NAME) -> str:
    """A name as matplotlib shows it literally: on one line, of bounded length, with glyphs that exist, and no maths.

    The middle of a long name goes, since the ends tell names apart. A character without a glyph in any font is
    written as its escape: two boxes look the same, two escapes do not.
    """
    line = "".join(char if char.isprintable() else " " for char in str(name))
    if not line.isascii():
        line = "".join(char if _has_glyph(char) else char.encode("unicode_escape").decode() for char in line)
    if len(line) > longest:
        line = f"{line[: longest - longest // 2 - 1]}…{line[-(longest // 2) :]}"
    if line.startswith("_"):
        line = "\N{ZERO WIDTH SPACE}" + line  # matplotlib leaves labels that begin with _ out of its legends
    return line.replace("$", r"\$")


@cache
def _has_glyph(char: str) -> bool:
    from matplotlib import font_manager

    families = ["DejaVu Sans", *_wide_fonts()]
    fonts = (font_manager.get_font(font_manager.findfont(family)) for family in families)
    return char.isascii() or any(font.get_char_index(ord(char)) for font in fonts)


@cache
def _wide_fonts() -> tuple[str, ...]:
    """The first of `WIDE_FONTS` that this machine has, if any."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in WIDE_FONTS if name in installed)[:1]
