"""The figure of a set's targets: how large values are, how they differ by track, what is cut off.

Knows matplotlib, without pyplot and its global state; knows nothing of files of examples.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cisray.dataset.statistics import TargetStatistics, cell_values
from cisray.tracks import TrackSet

DPI = 160
_OTHER = "other"
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
_SMALLEST = 2.0**-10
_LARGEST = 2.0**16


def draw_targets(statistics: TargetStatistics, tracks: TrackSet, title: str, path: Path) -> None:
    """Draw three panels, a colour for each assay, and write them as PNG.

    Left the values of all bins (per doubling), in the middle the mean of each track, right the
    share of each track's bins that are zero, and that are at its clip.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.5, 3.2), layout="constrained")
        values, means, shares = figure.subplots(1, 3)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        groups = _groups(tracks)
        _draw_values(values, statistics, groups)
        _draw_means(means, statistics, groups)
        _draw_shares(shares, statistics)
        figure.legend(*values.get_legend_handles_labels(), loc="outside right upper", frameon=False)
        # Without a date, the same dataset gives the same file.
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "cisray"})


def _groups(tracks: TrackSet) -> dict[str, list[int]]:
    """Number the tracks of each assay."""
    groups: dict[str, list[int]] = {}
    for row, assay in enumerate(tracks.table["assay"].to_pylist()):
        groups.setdefault(assay or _OTHER, []).append(row)
    return groups


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _doublings() -> list[float]:
    edges: list[float] = np.geomspace(_SMALLEST, _LARGEST, 27).tolist()
    return edges


def _draw_values(axes: Axes, statistics: TargetStatistics, groups: dict[str, list[int]]) -> None:
    values = cell_values()
    positive = np.nan_to_num(values, nan=0.0, posinf=0.0) > 0
    # A cell counts where its smallest value lies; cells are far narrower than a doubling.
    for number, (assay, rows) in enumerate(groups.items()):
        counts = statistics.histogram_TC[rows].sum(axis=0)
        share = counts[positive] / (statistics.bins * len(rows))
        axes.hist(
            values[positive],
            bins=_doublings(),
            weights=share,
            histtype="step",
            color=_colour(number),
            label=f"{assay} ({len(rows):,})",
        )
    axes.set(xscale="log", yscale="log", xlabel="target value of a bin, above 0")
    axes.set_ylabel("share of bins")
    axes.set_xscale("log", base=2)


def _draw_means(axes: Axes, statistics: TargetStatistics, groups: dict[str, list[int]]) -> None:
    means = np.array([track.mean for track in statistics.tracks()])
    for number, rows in enumerate(groups.values()):
        shown = np.clip(means[rows], _SMALLEST, _LARGEST)
        axes.hist(shown, bins=_doublings(), histtype="step", color=_colour(number))
    axes.set_xscale("log", base=2)
    axes.set(xlabel="mean target of a track (coverage)", ylabel="tracks")


def _draw_shares(axes: Axes, statistics: TargetStatistics) -> None:
    summaries = statistics.tracks()
    edges = np.linspace(0, 1, 26).tolist()
    zeros = [track.zeros for track in summaries]
    clipped = [track.clipped for track in summaries if track.clipped is not None]
    axes.hist(zeros, bins=edges, histtype="step", color="black", label="zero")
    if clipped:
        axes.hist(
            clipped, bins=edges, histtype="step", color="#D55E00", ls="--", label="at the clip"
        )
    axes.set(xlabel="share of a track's bins", ylabel="tracks", xlim=(0, 1))
    axes.legend(frameon=False)
