"""The figure of a calibration: how the scores of a background spread, track by track.

Knows matplotlib, without pyplot and its global state; knows nothing of how scores came about.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
import pyarrow as pa
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cisray.evaluation.points import COLOURS, DPI, STYLE
from cisray_schemas.calibrations import LADDER, SIGNED

_SHOWN = {0.01: 0, 0.05: 1, 0.5: 6, 0.95: 1, 0.99: 0}


def draw_calibration(table: pa.Table, path: Path) -> None:
    """Draw five quantiles of every track, in units of its deviation, in the order of the head."""
    rows = pl.DataFrame(table.select(["form", "track", "sd", "quantiles"])).filter(form=SIGNED)
    values_TP = np.array(rows["quantiles"].to_list(), dtype=np.float64)
    sd_T = rows["sd"].fill_null(0.0).to_numpy()
    shown_TP = values_TP / np.where(sd_T > 0, sd_T, np.nan)[:, np.newaxis]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.6), layout="constrained")
        axes = figure.subplots()
        figure.suptitle("Scores of the background", x=0.01, ha="left", fontsize=9)
        for share, colour in _SHOWN.items():
            at = LADDER.index(share)
            axes.plot(
                rows["track"].to_numpy(), shown_TP[:, at], ".", ms=2, color=COLOURS[colour],
                label=f"{share:g}",
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="track", ylabel="quantile / standard deviation")
        axes.legend(frameon=False, fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
        # Without a date, the same numbers give the same file.
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "cisray"})
