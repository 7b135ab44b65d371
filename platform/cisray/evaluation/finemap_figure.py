"""The figure of fine-mapping: how sure, and how many variants a credible set has.

Knows matplotlib, without pyplot and its global state; knows nothing of how sets come about.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from cisray.evaluation.points import COLOURS, DPI, STYLE


def draw_finemap(labels: pl.DataFrame, sets: pl.DataFrame, path: Path) -> None:
    """Draw probabilities of variants, and sizes of credible sets, and write them as PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.hist(labels["pip"].to_numpy(), bins=np.linspace(0, 1, 21), color=COLOURS[0])
        left.set_yscale("symlog", linthresh=1)
        left.set_xlabel("probability of an effect (PIP)")
        left.set_ylabel("variants")
        sizes = sets["variants"].to_numpy()
        largest = int(sizes.max()) if len(sizes) else 1
        edges = np.unique(np.geomspace(1, largest + 1, 21).astype(int)) - 0.5
        edges = edges if len(edges) > 1 else np.array([0.5, 1.5])
        right.hist(sizes, bins=[*edges, largest + 0.5], color=COLOURS[1])
        right.set_xscale("log")
        right.set_xlabel("variants of a credible set")
        right.set_ylabel("credible sets")
        # Without a date, the same evaluation gives the same file.
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "cisray"})
