"""The figure of reporter assays: how well each score follows each element.

Knows matplotlib, without pyplot and its global state; knows nothing of how numbers came about.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cisray.evaluation.metrics import Metric
from cisray.evaluation.points import DPI, SPREAD, STYLE, draw_points


def draw_mpra(
    metrics: Sequence[Metric], ceilings: Mapping[str, float | None], title: str, path: Path
) -> None:
    """Draw Pearson's R by element, a panel for each split, with the replicates' agreement."""
    shown = [metric for metric in metrics if not metric.control and metric.task in ceilings]
    splits = sorted({metric.folds for metric in shown})
    places = {element: place for place, element in enumerate(ceilings)}
    with mpl.rc_context(STYLE):
        size = (max(5.0, 2.0 + 0.6 * len(places)), 0.6 + 2.6 * len(splits))
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        for split, axes in zip(splits, figure.subplots(len(splits), squeeze=False), strict=True):
            of_split = [metric for metric in shown if metric.folds == split]
            _draw_panel(axes[0], of_split, ceilings, places)
            rows = f"test rows, {split} split" if split else "all rows"
            axes[0].set(ylabel=f"Pearson R\n{rows}")
        # Without a date, the same numbers give the same file.
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "cisray"})


def _draw_panel(
    axes: Axes,
    metrics: Sequence[Metric],
    ceilings: Mapping[str, float | None],
    places: Mapping[str, int],
) -> None:
    for element, ceiling in ceilings.items():
        if ceiling is not None:
            at = places[element]
            axes.plot([at - SPREAD / 2, at + SPREAD / 2], [ceiling] * 2, color="0.6", lw=1)
    names = sorted({m.scores for m in metrics if m.estimate.value is not None})
    axes.axhline(0, color="0.8", lw=0.6)
    draw_points(axes, metrics, places, names)
    axes.set_xticks(list(places.values()), list(places), rotation=45, ha="right")
    axes.set(xlim=(-0.6, len(places) - 0.4))
    axes.legend(frameon=False, loc="best", fontsize=6)
