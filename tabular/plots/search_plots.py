"""Plots of a search: its history, the importance of the hyperparameters, and the scores along each of them.

If something cannot be drawn, the figure says so, as in `tabular.plots.classifier_plots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabular.metrics.metric import Floats
from tabular.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SLICES = 12
# The fewest trials from which the importance of hyperparameters is estimated.
FEWEST_TRIALS = 12
# A score more than this many times as far from the best score as the median is drawn at the edge of the plot.
FAR = 4.0
# A column whose largest value is more than this many times its least positive one has a logarithmic axis.
WIDE_SPAN = 20.0


def search_history(
    scores: Sequence[float],
    seconds: Sequence[float],
    complete: Sequence[bool],
    *,
    baseline: float | None = None,
    metric: str,
    greater_is_better: bool,
    title: str,
) -> Figure:
    """Plot each trial's score over the time at which it ended, and the best score so far as a line.

    A failed trial is a cross at the lower edge.

    Parameters
    ----------
    scores : sequence of float
        The score of each trial, in order; NaN for a failed trial.
    seconds : sequence of float
        The end of each trial, in seconds since the search began.
    complete : sequence of bool
        Whether each trial is complete. A pruned trial is drawn hollow, and is never the best.
    baseline : float, optional
        The score of the prior, which any model has to beat. It is written and not drawn, since it may be far away.
    metric : str
        The score's name.
    greater_is_better : bool
        Whether a greater score is better.
    title : str
        The title of the figure.

    """
    values, at, whole = np.asarray(scores, float), np.asarray(seconds, float), np.asarray(complete, bool)
    worked = np.isfinite(values)
    with style.house():
        figure, axes = style.new_figure(title)
        axes.set(xlabel="seconds", ylabel=style.text(metric))
        if baseline is not None:
            style.remark(axes, f"the classes' shares alone score {baseline:.4g}")
        if not worked.any():
            axes.set_yticks([])
            style.say(axes, "No trial has a score.")
        shown, far = _in_view(values, greater_is_better)
        near = worked & ~far
        for which, fill, label in ((near & whole, style.BLUE, "a trial"), (near & ~whole, "none", "pruned")):
            if which.any():
                axes.plot(at[which], shown[which], linestyle="", marker="o", markersize=5 if len(values) <= 200 else 3,
                          alpha=0.7, markeredgecolor=style.BLUE, markerfacecolor=fill, label=label)  # fmt: skip
        _draw_far(axes, at[far], shown[far], greater_is_better)
        if (worked & whole).any():
            best = _best_so_far(np.where(whole, values, np.nan), greater_is_better)
            label = f"best so far, {best[-1]:.4g} in the end"
            axes.plot(at, best, drawstyle="steps-post", color=style.INK, label=label)
        _draw_failed(axes, at[~worked])
        if len(values):
            figure.legend(loc="outside lower left", ncols=4, fontsize=9)
        return figure


def _best_so_far(values: Floats, greater_is_better: bool) -> Any:
    return (np.fmax if greater_is_better else np.fmin).accumulate(values)


def _in_view(values: Floats, greater_is_better: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Limit the scores to the range that is shown: see `FAR`.

    Returns the scores, with those that are far worse than most moved to the edge, and which scores were moved.
    """
    worked = values[np.isfinite(values)]
    if not len(worked):
        return values, np.zeros(len(values), bool)
    best = worked.max() if greater_is_better else worked.min()
    edge = best + FAR * (float(np.median(worked)) - best)
    far = (values < edge) if greater_is_better else (values > edge)
    return np.where(far, edge, values), far


def _draw_far(axes: Axes, at: Floats, values: Floats, greater_is_better: bool) -> None:
    if len(at):
        axes.plot(at, values, linestyle="", marker="v" if greater_is_better else "^", markersize=6, color=style.BLUE,
                  label=f"{len(at):,} far {'below' if greater_is_better else 'above'}")  # fmt: skip


def _draw_failed(axes: Axes, at: Floats) -> None:
    if len(at):
        axes.plot(at, np.zeros(len(at)), linestyle="", marker="x", markersize=5, color=style.RED, clip_on=False,
                  transform=axes.get_xaxis_transform(),
                  label=style.count(len(at), "failed trial", "failed trials"))  # fmt: skip


def hyperparameter_importance(columns: Mapping[str, Sequence[Any]], scores: Sequence[float], *, title: str) -> Figure:
    """Plot the importance of each hyperparameter for the trials' scores, as bars.

    Parameters
    ----------
    columns : mapping of name to sequence
        Each hyperparameter's value in each trial; None if the trial does not use the hyperparameter.
    scores : sequence of float
        The score of each trial; NaN for a failed trial.
    title : str
        The title of the figure.

    """
    with style.house():
        figure, axes = style.new_figure(title, width=7, height=1.9 + 0.3 * max(len(columns), 4))
        found = importances(columns, scores)
        if not found:
            axes.set_axis_off()
            style.say(axes, f"It takes {FEWEST_TRIALS} trials that differ in their scores to tell.")
            return figure
        ordered = sorted(found.items(), key=lambda item: item[1])
        bars = axes.barh([style.text(name) for name, _ in ordered], [share for _, share in ordered], color=style.BLUE)
        axes.bar_label(bars, [f"{share:.0%}" for _, share in ordered], padding=3, fontsize=8)
        axes.set_xlabel("share of the drop in a forest's fit when the values are shuffled")
        axes.xaxis.set_major_formatter(style.percent)
        axes.margins(x=0.12)
        axes.grid(False, axis="y")
        return figure


def importances(columns: Mapping[str, Sequence[Any]], scores: Sequence[float]) -> dict[str, float]:
    """Estimate the importance of each hyperparameter for the trials' scores.

    A random forest is fitted on the ranks of the scores, and the importance is the permutation importance.

    Parameters
    ----------
    columns, scores
        As for `hyperparameter_importance`.

    Returns
    -------
    dict
        The importance of each hyperparameter as a share of the sum of all. Empty if fewer than `FEWEST_TRIALS` trials
        have a score, or all scores are equal.

    Notes
    -----
    A forest as a model of the scores: Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing
    Hyperparameter Importance", ICML 2014. Permutation importance: Breiman, "Random Forests", Machine Learning 45, 2001.
    """
    values = np.asarray(scores, float)
    worked = np.isfinite(values)
    if worked.sum() < FEWEST_TRIALS or np.ptp(values[worked]) == 0 or not columns:
        return {}
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    X = np.column_stack([_as_numbers(column)[worked] for column in columns.values()])
    # ranks, since a single very bad score would dominate the variance that the forest explains
    ranks = np.argsort(np.argsort(values[worked], kind="stable"), kind="stable")
    forest = RandomForestRegressor(n_estimators=100, random_state=0).fit(X, ranks)
    drops = permutation_importance(forest, X, ranks, n_repeats=5, random_state=0)["importances_mean"]
    shares = np.clip(drops, 0, None) / max(float(np.clip(drops, 0, None).sum()), np.finfo(float).tiny)
    return dict(zip(columns, map(float, shares), strict=True))


def _as_numbers(column: Sequence[Any]) -> Floats:
    """A hyperparameter's values as a (trials,) float array for a forest.

    A choice is its position among the sorted options; None is a number below all others.
    """
    known = [value for value in column if value is not None]
    if all(_is_number(value) for value in known):
        least = min(known, default=0.0) - 1.0
        return np.array([least if value is None else value for value in column], float)
    options = _options(column)
    return np.array([options.index(str(value)) if value is not None else -1.0 for value in column])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _options(column: Sequence[Any]) -> list[str]:
    return sorted({str(value) for value in column if value is not None})


def search_slices(
    columns: Mapping[str, Sequence[Any]],
    scores: Sequence[float],
    complete: Sequence[bool],
    *,
    metric: str,
    greater_is_better: bool,
    title: str,
) -> Figure:
    """Plot the trials' scores along each hyperparameter; pruned trials are hollow, and the best trial is marked.

    Parameters
    ----------
    columns : mapping of name to sequence
        Each hyperparameter's value in each trial; None if the trial does not use the hyperparameter.
    scores, complete, metric, greater_is_better
        As for `search_history`.
    title : str
        The title of the figure.

    """
    values, whole = np.asarray(scores, float), np.asarray(complete, bool)
    shown = list(columns)[:MOST_SLICES]
    wide = min(max(len(shown), 1), 3)
    rows = -(-max(len(shown), 1) // wide)
    with style.house():
        figure, first = style.new_figure(
            title, width=2.9 * wide + 0.6, height=2.4 * rows + 0.8, heights=(1,) * rows, widths=(1,) * wide, share=False
        )
        if not shown or not np.isfinite(values).any():
            first.set_axis_off()
            style.say(first, "No trial has a score.")
        for axes, name in zip(figure.axes, shown, strict=False):
            _draw_slice(axes, name, list(columns[name]), values, whole, greater_is_better)
        for place, axes in enumerate(figure.axes):
            axes.set_visible(place < max(len(shown), 1))
            if place % wide == 0 and shown:
                axes.set_ylabel(style.text(metric))
        hidden = len(columns) - len(shown)
        style.remark(first, f"the first {len(shown)} of {len(columns)} hyperparameters" if hidden else "")
        return figure


def _draw_slice(
    axes: Axes, name: str, column: list[Any], values: Floats, whole: NDArray[np.bool_], greater_is_better: bool
) -> None:
    axes.set_xlabel(style.text(name))
    known = np.array([value is not None for value in column], bool) & np.isfinite(values)
    if not known.any():
        return
    is_number = all(_is_number(value) for value, is_known in zip(column, known, strict=True) if is_known)
    if is_number:
        at = np.array([float(value) if is_known else np.nan for value, is_known in zip(column, known, strict=True)])
        _scale(axes, at[known])
    else:
        options = _options(column)
        at = np.array([options.index(str(value)) if value is not None else np.nan for value in column], float)
        axes.set_xticks(range(len(options)), [style.text(option, longest=12) for option in options])
    shown, far = _in_view(values, greater_is_better)
    for which, fill in ((known & ~whole & ~far, "none"), (known & whole & ~far, style.BLUE)):
        axes.plot(at[which], shown[which], linestyle="", marker="o", markersize=4, alpha=0.7,
                  markeredgecolor=style.BLUE, markerfacecolor=fill)  # fmt: skip
    _draw_far(axes, at[known & far], shown[known & far], greater_is_better)
    judged = np.where(known & whole, values if greater_is_better else -values, -np.inf)
    if np.isfinite(judged).any():
        best = int(np.argmax(judged))
        axes.plot(at[best], values[best], marker="o", markersize=9, markerfacecolor="none", color=style.INK)


def _scale(axes: Axes, values: Floats) -> None:
    """Set up the x axis: logarithmic if the numbers span many orders of magnitude, with 0 left of the least."""
    from matplotlib.ticker import MaxNLocator, NullFormatter, SymmetricalLogLocator

    least = values[values > 0].min() if (values > 0).any() else 0.0
    if values.min() < 0 or least == 0 or values.max() <= WIDE_SPAN * least:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_xscale("symlog", linthresh=least, linscale=0.5)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=least))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
