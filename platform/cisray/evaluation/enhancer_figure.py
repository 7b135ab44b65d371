"""The figure of enhancers: average precision of each score by distance.

Knows matplotlib, without pyplot and its global state; knows nothing of how numbers came about.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from cisray.evaluation.enhancers import strata_names
from cisray.evaluation.metrics import Metric
from cisray.evaluation.points import DPI, SPREAD, STYLE, draw_points


def draw_enhancers(metrics: Sequence[Metric], edges_bp: Sequence[int], path: Path) -> None:
    """Draw AUPRC by bin of distance, with intervals; grey lines are the share of positives."""
    shown = [m for m in metrics if m.metric == "auprc" and not m.control]
    places = {name: at for at, name in enumerate(["all", *strata_names(edges_bp)])}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        axes = figure.subplots()
        for metric in shown:
            told = metric.estimate
            if told.n and told.n_positive is not None:
                at, share = places[metric.stratum], told.n_positive / told.n
                axes.plot([at - SPREAD / 2, at + SPREAD / 2], [share] * 2, color="0.6", lw=1)
        names = sorted({m.scores for m in shown if m.estimate.value is not None})
        draw_points(axes, shown, places, names)
        axes.set_xticks(list(places.values()), list(places))
        axes.set(xlim=(-0.6, len(places) - 0.4), ylim=(0, 1.02), ylabel="average precision")
        axes.set_title(
            "Element-gene pairs: bars are 95 % intervals, grey lines the share of positives",
            loc="left",
            fontsize=9,
        )
        axes.legend(frameon=False, fontsize=6, loc="best")
        # Without a date, the same numbers give the same file.
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "cisray"})
