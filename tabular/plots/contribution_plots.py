"""Plots of what columns add to a model's answers, by the value of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabular.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS, IN_A_ROW = 6, 3
MOST_CATEGORIES = 8
LONGEST_CATEGORY = 16


def contributions_by_value(
    values: Mapping[str, NDArray[Any]], added: Mapping[str, NDArray[np.float64]], *, scale: str, title: str
) -> Figure:
    """Plot what each of the strongest columns adds to the answers of rows, against its value.

    Parameters
    ----------
    values : mapping of column to array
        (n,) numbers, missing ones NaN; or objects of a column of categories, missing ones None.
    added : mapping of column to array
        (n,) what the column adds to each row's answer, the strongest column first.
    scale : str
        What the columns add to, in words.
    title : str
        The title of the figure.

    """
    names = [name for name in added if name in values and np.any(added[name])][:PANELS]
    rows = -(-len(names) // IN_A_ROW) or 1
    with style.house():
        about: dict[str, Any] = {"heights": (1,) * rows, "widths": (1,) * min(max(len(names), 1), IN_A_ROW)}
        figure, axes = style.new_figure(title, width=9, height=1.0 + 2.5 * rows, share=False, **about)
        if not names:
            style.say(axes, "No column adds anything.")
            return figure
        ends = [end for name in names for end in (added[name].min(), added[name].max())]
        air = 0.05 * (max(ends) - min(ends)) or 1.0
        for panel, name in zip(figure.axes, names, strict=False):
            panel.set_xlim(min(ends) - air, max(ends) + air)
            draw = _categories if values[name].dtype == object else _numbers
            draw(panel, values[name], added[name])
            panel.set_title(style.text(name), loc="left", fontsize=9.5)
        for panel in figure.axes[len(names) :]:
            panel.set_axis_off()
        figure.supxlabel(f"what the column adds to the {style.text(scale, longest=60)}", fontsize=9.5)
        return figure


def _numbers(axes: Axes, values: NDArray[Any], added: NDArray[np.float64]) -> None:
    """Points of what is added to the right, by the number upwards; where it is missing on a line below."""
    known = ~np.isnan(values)
    axes.axvline(0, color=style.FAINT, linewidth=0.8)
    axes.plot(added[known], values[known], linestyle="", marker=".", markersize=4, alpha=0.5, color=style.BLUE)
    if known.all():
        return
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
    below = low - 0.12 * ((high - low) or 1.0)
    axes.plot(
        added[~known],
        np.full((~known).sum(), below),
        linestyle="",
        marker=".",
        markersize=4,
        alpha=0.5,
        color=style.RED,
    )
    axes.annotate("missing", (0, below), (2, 3), textcoords="offset points", fontsize=8, color=style.RED)


def _categories(axes: Axes, values: NDArray[Any], added: NDArray[np.float64]) -> None:
    """Points of what is added to the right, a line for each of the commonest categories."""
    named = np.array(["(missing)" if value is None else str(value) for value in values])
    every, counts = np.unique(named, return_counts=True)
    chosen = every[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES]
    axes.axvline(0, color=style.FAINT, linewidth=0.8)
    for place, one in enumerate(chosen):
        found = added[named == one]
        line = np.full(len(found), place)
        axes.plot(found, line, linestyle="", marker=".", markersize=4, alpha=0.5, color=style.BLUE)
    style.one_a_line(axes, [style.text(one, longest=LONGEST_CATEGORY) for one in chosen])
    hidden = len(every) - len(chosen)
    if hidden:
        axes.annotate(
            f"and {hidden:,} more", (1, 0), (0, 3), "axes fraction", textcoords="offset points", ha="right", fontsize=8
        )
