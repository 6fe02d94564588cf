"""Plot of a model's health: a metric at each run of monitor, beside what the holdout promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tabular.evaluation.health import DEGRADED, HEALTHY, WATCH
from tabular.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_RUNS = 40
COLORS = {HEALTHY: style.BLUE, WATCH: "#f2b134", DEGRADED: style.RED}


def history(runs: Sequence[Mapping[str, Any]], *, metric: str, title: str) -> Figure:
    """Plot a metric with its interval at each run, coloured by the verdict, and its value on the holdout.

    Parameters
    ----------
    runs
        The runs in the order of time: `label`, `verdict`, and `value`, `low`, `high` and `promised` of the metric (NaN
        where a run has none).
    metric
        The name of the metric.
    title
        The title of the figure.

    """
    shown = list(runs)[-MOST_RUNS:]
    with style.house():
        figure, axes = style.new_figure(title, width=max(6.4, 2.0 + 0.35 * len(shown)))
        places = np.arange(len(shown))
        promised = [run["promised"] for run in shown]
        axes.step(places, promised, where="mid", color=style.FAINT, linestyle="--", label="on the holdout")
        for verdict, color in COLORS.items():
            mine = [place for place in places if shown[place]["verdict"] == verdict]
            for place in mine:
                axes.plot([place] * 2, [shown[place]["low"], shown[place]["high"]], color=color, linewidth=1.2)
            if mine:
                axes.plot(mine, [shown[place]["value"] for place in mine], "o", color=color, label=verdict)
        axes.set_xticks(places, [style.text(run["label"]) for run in shown], rotation=45, ha="right")
        axes.set_xlim(-0.5, len(shown) - 0.5)
        axes.set_ylabel(f"{style.text(metric)}, with its 95 % interval")
        axes.legend(loc="best", fontsize=8.5)
        style.remark(axes, f"the last {len(shown)} of {len(runs)} runs" if len(runs) > len(shown) else "")
        return figure
