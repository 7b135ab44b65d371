"""The figure of an evaluation: a number of every task, with its interval, for each score.

Knows matplotlib, without pyplot and its global state; knows nothing of files of scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cisray.evaluation.metrics import Metric

DPI = 160
# Okabe and Ito's colours, which colour-blind people tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
_STYLE: Any = {  # matplotlib's own type lists every key
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "text.parse_math": False,
}
_ROW_INCHES = 0.24


def draw_tasks(
    metrics: Sequence[Metric], path: Path, *, title: str, label: str, chance: float | None
) -> None:
    """Draw one row per task and a dot per score, with its interval, and write it as PNG.

    Tasks are in the order of their first score's number, the largest on top. What has no number is
    not drawn. `chance` is a vertical line.
    """
    shown = [metric for metric in metrics if metric.estimate.value is not None]
    scores = list(dict.fromkeys(metric.scores for metric in shown))
    tasks = _ordered(shown, scores)
    with mpl.rc_context(_STYLE):
        height = 1.0 + _ROW_INCHES * max(len(tasks), 3) * max(1.0, len(scores) / 2)
        figure = Figure(figsize=(7.0, height), layout="constrained")
        axes = figure.subplots()
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        if chance is not None:
            axes.axvline(chance, color="0.6", linewidth=0.8, linestyle="--")
        for number, name in enumerate(scores):
            offset = (number - (len(scores) - 1) / 2) * 0.6 / max(len(scores), 1)
            _draw(axes, [m for m in shown if m.scores == name], tasks, offset, number)
        axes.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks])
        axes.set_ylim(-0.6, max(len(tasks), 1) - 0.4)
        axes.set_xlabel(label)
        if len(scores) > 1:
            axes.legend(frameon=False, loc="lower right")
        # Without a date, the same evaluation gives the same file.
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "cisray"})


def _ordered(shown: Sequence[Metric], scores: Sequence[str]) -> list[str]:
    first = {m.task: m.estimate.value or 0.0 for m in shown if m.scores == scores[0]}
    others = [m.task for m in shown if m.task not in first]
    return list(dict.fromkeys([*others, *sorted(first, key=lambda task: (first[task], task))]))


def _draw(
    axes: Axes, metrics: Sequence[Metric], tasks: Sequence[str], offset: float, number: int
) -> None:
    at = {task: row for row, task in enumerate(tasks)}
    rows = np.array([at[m.task] + offset for m in metrics])
    values = np.array([m.estimate.value for m in metrics], dtype=np.float64)
    low = np.array([_or(m.estimate.ci_low, m.estimate.value) for m in metrics])
    high = np.array([_or(m.estimate.ci_high, m.estimate.value) for m in metrics])
    colour = _COLOURS[number % len(_COLOURS)]
    axes.hlines(rows, low, high, color=colour, linewidth=1.2)
    axes.plot(values, rows, "o", color=colour, markersize=3.5, label=metrics[0].scores)


def _or(value: float | None, other: float | None) -> float:
    return float(np.nan if other is None else other) if value is None else value
