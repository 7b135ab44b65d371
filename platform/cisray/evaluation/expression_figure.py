"""The figure of expression: a track's genes, measured against predicted, and R of all tracks.

Knows matplotlib, without pyplot and its global state; knows nothing of how numbers came about.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cisray.evaluation.expression import QUARTILES, GeneTable, JudgedGenes
from cisray.evaluation.points import COLOURS, DPI, STYLE


def draw_expression(
    table: GeneTable, judged: JudgedGenes, descriptions: Sequence[str], path: Path
) -> None:
    """Draw genes of the median track of the first score, R by track, and R by variance; as PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 3.0), layout="constrained")
        genes, tracks, strata = figure.subplots(1, 3)
        figure.suptitle(
            f"Expression of {len(table.genes):,} genes, {len(table.tracks):,} tracks",
            x=0.01, ha="left", fontsize=9,
        )  # fmt: skip
        _draw_genes(genes, table, judged, descriptions)
        _draw_tracks(tracks, judged)
        _draw_strata(strata, judged)
        # Without a date, the same numbers give the same file.
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "cisray"})


def median_track(r_T: Sequence[float]) -> int | None:
    """Find the track whose R is the lower median of those that have one.

    >>> median_track([0.5, float("nan"), 0.1, 0.9]), median_track([float("nan")])
    (0, None)
    """
    order = [track for track in np.argsort(r_T).tolist() if not np.isnan(r_T[track])]
    return order[(len(order) - 1) // 2] if order else None


def _draw_genes(
    axes: Axes, table: GeneTable, judged: JudgedGenes, descriptions: Sequence[str]
) -> None:
    name = next(iter(table.predicted))
    track = median_track(judged.r_T[name].tolist())
    axes.set(xlabel=f"log(1 + predicted), {name}", ylabel="log(1 + measured)")
    if track is None:
        return
    x_G, y_G = np.log1p(table.predicted[name][:, track]), np.log1p(table.observed_GT[:, track])
    axes.plot(x_G, y_G, "o", ms=2.5, color=COLOURS[0], alpha=0.5, markeredgewidth=0)
    axes.set_title(
        f"median track: {descriptions[track][:36]}\nR {judged.r_T[name][track]:.3f}", fontsize=7
    )


def _draw_tracks(axes: Axes, judged: JudgedGenes) -> None:
    edges = np.linspace(-1, 1, 41).tolist()
    for number, (name, r_T) in enumerate(judged.r_T.items()):
        held = r_T[~np.isnan(r_T)]
        colour = COLOURS[number % len(COLOURS)]
        axes.hist(held, edges, histtype="step", color=colour, label=name)
        if len(held):
            axes.axvline(held.mean(), color=colour, lw=0.8, ls="--")
    axes.set(xlabel="Pearson R across genes", ylabel="tracks")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=6, loc="upper left")


def _draw_strata(axes: Axes, judged: JudgedGenes) -> None:
    labels = np.array(judged.stratum, dtype=object)
    axes.axhline(0, color="0.8", lw=0.6)
    for number, (name, r_G) in enumerate(judged.r_G.items()):
        values = [r_G[labels == part] for part in QUARTILES]
        means = [np.nanmean(held) if (~np.isnan(held)).any() else np.nan for held in values]
        axes.plot(range(1, 5), means, "o-", ms=3, color=COLOURS[number % len(COLOURS)], label=name)
    axes.set_xticks(range(1, 5))
    axes.set(xlabel="quartile of the variance across tracks", ylabel="mean R across tracks")
