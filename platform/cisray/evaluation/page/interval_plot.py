"""Numbers with their intervals as an SVG, to be read with the pointer, by ear, or in the dark.

Knows matplotlib, without pyplot and its global state; knows no evaluation. A row is a tissue, an
element or a bin of distance, and each score has a colour and a shape of its own. Letters stay
letters, lines take the page's colour, and every point says its number.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from xml.sax.saxutils import escape, quoteattr

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cisray.evaluation.points import COLOURS, SPREAD, STYLE

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Stands for the page's own colour until the drawing is done; near black where nobody replaces it.
_INK = "#010203"
_STYLE = {
    **STYLE,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
}
_WIDTH, _HEAD, _ROW = 7.5, 0.75, 0.17
_REFERENCE = re.compile(r'(id="|url\(#|href="#)')


@dataclass(frozen=True, slots=True)
class Point:
    """A number of one score in one row, with its interval if there is one, and its words."""

    row: str
    series: str
    value: float
    low: float | None
    high: float | None
    told: str


@dataclass(frozen=True, slots=True)
class IntervalPlot:
    """What is drawn: points by row, in the order of their first appearance.

    `chance` is a line at what a score without meaning would have.
    """

    title: str
    label: str
    points: Sequence[Point]
    chance: float | None = None

    @property
    def rows(self) -> list[str]:
        """The rows from top to bottom."""
        return list(dict.fromkeys(point.row for point in self.points))

    @property
    def series(self) -> list[str]:
        """The scores."""
        return list(dict.fromkeys(point.series for point in self.points))


def draw(plot: IntervalPlot, name: str) -> str:
    """Draw a plot as one <svg> element; `name`, letters and digits, keeps its ids apart.

    The same plot gives the same text.
    """
    told: dict[str, str] = {}
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        height = _HEAD + _ROW * len(plot.rows) * max(1.5, 0.5 * len(plot.series) + 0.5)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        _draw_points(axes, plot, told)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _embedded(stream.getvalue(), plot.title, name, told)


def _draw_points(axes: Axes, plot: IntervalPlot, told: dict[str, str]) -> None:
    """Draw every point with its interval, and note under which id it says what."""
    places = {row: place for place, row in enumerate(plot.rows)}
    numbers = count()
    if plot.chance is not None:
        axes.axvline(plot.chance, color="0.6", lw=0.8, ls=(0, (3, 3)), zorder=0)
    for order, series in enumerate(plot.series):
        colour = COLOURS[order % len(COLOURS)]
        colour = _INK if colour == "#000000" else colour
        offset = SPREAD * ((order + 0.5) / len(plot.series) - 0.5)
        label = series
        for point in plot.points:
            if point.series != series:
                continue
            at = places[point.row] + offset
            if point.low is not None and point.high is not None:
                axes.plot([point.low, point.high], [at, at], color=colour, lw=1, zorder=2)
            marker = MARKERS[order % len(MARKERS)]
            (drawn,) = axes.plot(
                [point.value], [at], marker, ms=4.5, color=colour, label=label, zorder=3
            )
            gid = f"point-{next(numbers)}"
            drawn.set_gid(gid)
            told[gid] = point.told
            label = "_nolegend_"
    axes.set_yticks(list(places.values()), list(places))
    axes.set(ylim=(len(places) - 0.5, -0.5), xlabel=plot.label)
    axes.tick_params(axis="y", length=0)
    if len(plot.series) > 1:
        columns = min(4, len(plot.series))
        axes.legend(
            frameon=False, ncols=columns, fontsize=7, loc="lower left", bbox_to_anchor=(0, 1)
        )


def _embedded(text: str, title: str, name: str, told: dict[str, str]) -> str:
    """Make a file of matplotlib's a part of a page: ids of its own, the page's ink, and words."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _REFERENCE.sub(rf"\g<1>{name}-", svg).replace(_INK, "currentColor")
    for gid, words in told.items():
        mark = f'<g id="{name}-{gid}">'
        svg = svg.replace(mark, f"{mark}<title>{escape(words)}</title>", 1)
    opening = f'<svg role="img" aria-label={quoteattr(title)} '
    return opening + svg.removeprefix("<svg ").strip()
