"""Numbers as points with their intervals, a colour for each score.

Knows matplotlib, without pyplot and its global state; knows no evaluation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from cisray.evaluation.metrics import Metric

DPI = 160
# Okabe and Ito's colours, which colour-blind people tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
STYLE: Any = {  # matplotlib's own type lists every key
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "text.parse_math": False,
}
SPREAD = 0.7


def draw_points(
    axes: Axes, metrics: Sequence[Metric], places: Mapping[str, int], names: Sequence[str]
) -> None:
    """Draw every defined number of `names` with its interval at the place of its key.

    The key of a metric is its task, or its stratum where that is among the places.
    """
    for number, name in enumerate(names):
        offset = SPREAD * ((number + 0.5) / len(names) - 0.5)
        colour = COLOURS[number % len(COLOURS)]
        label = name
        for metric in metrics:
            told = metric.estimate
            key = metric.stratum if metric.stratum in places else metric.task
            if metric.scores != name or told.value is None or key not in places:
                continue
            at = places[key] + offset
            axes.plot([at], [told.value], "o", ms=3, color=colour, label=label)
            label = "_nolegend_"
            if told.ci_low is not None and told.ci_high is not None:
                axes.plot([at, at], [told.ci_low, told.ci_high], color=colour, lw=0.8)
