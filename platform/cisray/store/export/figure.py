"""The figure of a saturation run: letters as high as their bases matter, over a heat map.

Knows matplotlib, without pyplot and its global state; knows nothing of runs. Letters are outlines
stretched to their boxes: logomaker draws them too, but would bring pandas for it.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cisray.errors import ConfigError
from cisray.store.export.saturation import ABSENT, BASES, SaturationMap, locus_text

ROW_BASES = 200
MOST_BASES = 6000
DPI = 200
# A green, C blue, G orange, T red, as sequence logos have them.
COLOURS = {"A": "#109648", "C": "#255C99", "G": "#F7A600", "T": "#D62839"}
_GREY = "#5A5A5A"
_ABSENT_GREY = "#E3E3E3"
_COLOUR_MAP = "RdBu_r"
_BASE_INCHES = 0.05
_LETTER_WIDTH = 0.92
_TITLE_LETTERS = 11  # of the title in an inch
_STYLE: Any = {  # matplotlib's own type lists every key
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.parse_math": False,  # descriptions may hold a $
    "svg.fonttype": "path",
    "svg.hashsalt": "cisray",
}


@dataclass(frozen=True, slots=True)
class Caption:
    """The words of a figure: what was measured, which statistic and unit, and which run."""

    title: str
    stat: str
    meaning: str
    unit: str
    run: str


def draw_saturation(
    shown: SaturationMap,
    caption: Caption,
    path: Path,
    *,
    kind: Literal["png", "svg"],
    provenance: Mapping[str, str],
) -> None:
    """Draw one region and write it.

    Above, each reference base is a letter as high as `SaturationMap.importance_L`; below zero it
    is mirrored. Below, the effect of every substitution, on a scale that is symmetric about zero;
    a dot marks the reference base, and grey is where the run has no rows. More than 200 bases
    are broken into rows of the same scales. Raises ConfigError for more than 6,000.
    """
    length = len(shown.reference)
    if length > MOST_BASES:
        raise ConfigError(
            f"a figure shows up to {MOST_BASES:,} bases, and the region has {length:,}: choose a "
            f"part of it with --region."
        )
    with mpl.rc_context(_STYLE):
        figure = _figure(shown, caption)
        text = "; ".join(f"{name}={value}" for name, value in provenance.items())
        about: dict[str, Any] = {"Title": caption.title, "Description": text}
        # Without a date, the same run gives the same file.
        about |= {"Date": None} if kind == "svg" else {}
        figure.savefig(path, format=kind, dpi=DPI, metadata=about, facecolor="white")


def _figure(shown: SaturationMap, caption: Caption) -> Figure:
    rows = shown.rows(ROW_BASES)
    width = len(rows[0].reference)
    size = (max(7.2, 1.7 + _BASE_INCHES * width), 0.75 + 2.1 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(2 * len(rows), 1, height_ratios=[1.7, 1] * len(rows))
    largest = np.nanmax(np.abs(shown.effects_LA), initial=0) or 1.0
    scale = Normalize(-largest, largest)
    heights = _limits(shown)
    power = _power(largest)
    numbers = FuncFormatter(
        lambda number, _: f"{number / 10.0**power:g}".replace("-", "\N{MINUS SIGN}")
    )
    factor = f" / 1e{power}" if power else ""
    axes: list[Axes] = []
    for number, row in enumerate(rows):
        letters = figure.add_subplot(grid[2 * number])
        heat = figure.add_subplot(grid[2 * number + 1], sharex=letters)
        _draw_letters(letters, row, heights)
        letters.set_ylabel(f"importance\n(\N{MINUS SIGN}mean {caption.stat}{factor})")
        letters.yaxis.set_major_formatter(numbers)
        _draw_heat(heat, row, scale)
        letters.set_xlim(row.first - 0.5, row.first + width - 0.5)
        axes += [letters, heat]
    axes[-1].set_xlabel(f"{shown.chrom}, position (1-based)")
    bar = _colour_bar(figure, axes, scale, len(rows))
    bar.ax.yaxis.set_major_formatter(numbers)
    unit = f" ({caption.unit})" if caption.unit else ""
    bar.set_label(f"{caption.stat}{factor}{unit}")
    _titles(axes[0], size[0], shown, caption)
    return figure


def _power(largest: float) -> int:
    """Choose the power of ten that numbers are divided by, 0 for those of ordinary size."""
    power = math.floor(math.log10(largest))
    return 0 if -3 < power < 5 else power


def _limits(shown: SaturationMap) -> tuple[float, float]:
    """Give all rows the same heights, zero among them, with some air."""
    low = min(0.0, float(np.nanmin(shown.importance_L)))
    high = max(0.0, float(np.nanmax(shown.importance_L)))
    air = 0.05 * (high - low) or 1.0
    return low - (air if low else 0), high + air


def _draw_letters(axes: Axes, row: SaturationMap, limits: tuple[float, float]) -> None:
    drawn = [
        (base, row.first + offset, float(height))
        for offset, (base, height) in enumerate(zip(row.reference, row.importance_L, strict=True))
        if base != ABSENT
    ]
    outlines = [_stretched(base, centre, height) for base, centre, height in drawn]
    colours = [COLOURS[base] for base, _, _ in drawn]
    letters = PathCollection(outlines, facecolors=colours, linewidths=0)
    letters.set_transform(axes.transData)
    axes.axhline(0, color=_GREY, linewidth=0.5, zorder=0)
    axes.add_collection(letters, autolim=False)
    axes.set_ylim(limits)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


@cache
def _outline(letter: str) -> Outline:
    """Give the outline of a letter in a box of width and height 1."""
    bold = FontProperties(family="DejaVu Sans", weight="bold")
    outline = TextPath((0, 0), letter, size=1, prop=bold)
    box = outline.get_extents()
    return Outline((outline.vertices - box.min) / box.size, outline.codes)


def _stretched(letter: str, centre: float, height: float) -> Outline:
    outline = _outline(letter)
    box = np.array([_LETTER_WIDTH, height])
    corner = np.array([centre - _LETTER_WIDTH / 2, 0])
    return Outline(outline.vertices * box + corner, outline.codes)


def _draw_heat(axes: Axes, row: SaturationMap, scale: Normalize) -> None:
    length = len(row.reference)
    edges_x = row.first - 0.5 + np.arange(length + 1)
    edges_y = np.arange(len(BASES) + 1) - 0.5
    values = np.ma.masked_invalid(row.effects_LA.T)
    axes.pcolormesh(
        edges_x, edges_y, values, cmap=_COLOUR_MAP, norm=scale, edgecolors="face", linewidth=0.1
    )
    for offset, base in enumerate(row.reference):
        if base == ABSENT:
            axes.axvspan(*edges_x[offset : offset + 2], color=_ABSENT_GREY, linewidth=0)
    marks = [(row.first + i, BASES.index(b)) for i, b in enumerate(row.reference) if b != ABSENT]
    places, lines = zip(*marks, strict=True)
    axes.scatter(places, lines, s=1.6, color="black", linewidths=0)
    axes.set_ylim(len(BASES) - 0.5, -0.5)
    axes.set_yticks(range(len(BASES)), BASES)
    for label in axes.get_yticklabels():
        label.set(color=COLOURS[label.get_text()], fontweight="bold")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:,.0f}"))


def _colour_bar(figure: Figure, axes: Sequence[Axes], scale: Normalize, rows: int) -> Colorbar:
    bar = figure.colorbar(
        ScalarMappable(scale, _COLOUR_MAP),
        ax=list(axes),
        fraction=0.02,
        pad=0.01,
        shrink=0.9 / rows,
        anchor=(0, 1),
        aspect=18,
    )
    for colours in bar.ax.collections:
        colours.set(rasterized=False, edgecolor="face")  # an SVG holds lines alone
    return bar


def _titles(top: Axes, width: float, shown: SaturationMap, caption: Caption) -> None:
    place = locus_text(shown.chrom, shown.first, shown.last)
    what = f"{place}    {caption.stat}: {caption.meaning}    {caption.run}"
    top.set_title(what, loc="left", fontsize=7, color=_GREY)
    # Above that line, and flush with it.
    top.annotate(
        "\n".join(textwrap.wrap(caption.title, int(_TITLE_LETTERS * width))),
        (0, 1),
        (0, 19),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=9.5,
        fontweight="bold",
    )
