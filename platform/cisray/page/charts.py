"""Figures that answer to the pointer, as Plotly's script takes them: curves, points, tracks, bases.

Knows Plotly's description of a figure (https://plotly.com/javascript/reference); knows nothing of
runs. Values are written with as many digits as it takes to read the same float32 back. What can be
worked out in the browser (the places of bins, the outlines of letters) is not in the page: a
figure says under `bins` and `bases` what `charts.js` is to make of its values. Colours of text and
of the page are that script's as well, since they change with the reader's settings.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from cisray.page.colours import (
    BASES,
    DIVERGING,
    DIVERGING_IN_THE_DARK,
    series_colour,
    series_dash,
)
from cisray.page.letters import outline

Figure = Mapping[str, JsonValue]
Floats = NDArray[np.float32] | NDArray[np.float64]
_HEIGHT = 360
_PANEL = 84  # of a track, in pixels
_GENE_ROW = 24
_LETTERS = 45  # that have room across a figure on a phone
_TOP, _BOTTOM = 34, 56
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A line of a figure: places and heights of one length; `told` are words of each point.

    `marked` lines show their points, `faint` ones step back behind the others.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    told: Sequence[str] = ()
    marked: bool = False
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """A caption of an axis, and whether it is logarithmic; `ticks` name places of their own.

    `walls` are lines across the figure, such as between chromosomes.
    """

    title: str
    log: bool = False
    ticks: Sequence[tuple[float, str]] = ()
    walls: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Gene:
    """A gene beside tracks: `start` and `end` 0-based half-open, `strand` +, - or empty.

    `exons` are those to draw, starts and ends as well; None where nothing is known of them.
    """

    name: str
    start: int
    end: int
    strand: str
    exons: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Values of one track in bins; NaN where there is no bin."""

    title: str
    values_N: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Bases:
    """Effects of substitutions along a region: `first` is 1-based, `effects_LA` in A, C, G, T.

    `importance_L` are the heights of letters. NaN is the reference base, or no value.
    """

    chrom: str
    first: int
    reference: str
    effects_LA: NDArray[np.float64]
    importance_L: NDArray[np.float64]
    stat: str
    unit: str


def numbers(values: Floats) -> list[JsonValue]:
    """Write float32 values in full, and NaN as null.

    >>> numbers(np.array([0.1, np.nan], np.float32))
    [0.1, None]
    """
    as_32 = values.astype(np.float32)
    return [None if np.isnan(value) else float(str(value)) for value in as_32]


def plain(text: str) -> str:
    """Keep a text from being read as one of the tags that Plotly knows.

    >>> plain("<b>CAGE</b> & more")
    '&lt;b&gt;CAGE&lt;/b&gt; &amp; more'
    """
    return html.escape(text, quote=False)


def curves(lines: Sequence[Curve], x: Axis, y: Axis) -> Figure:
    """Draw lines, each with a colour and a dash of its own."""
    data = [_curve(line, number) for number, line in enumerate(lines)]
    return _figure(data, {"xaxis": _axis(x), "yaxis": _axis(y), "showlegend": len(lines) > 1})


def points(groups: Sequence[Curve], x: Axis, y: Axis) -> Figure:
    """Draw points, those of each group with a colour and a shape of its own."""
    data: list[JsonValue] = [
        {
            **_curve(group, number),
            "mode": "markers",
            "marker": {"color": series_colour(number), "symbol": _SYMBOLS[number], "size": 7},
        }
        for number, group in enumerate(groups)
    ]
    walls: list[JsonValue] = [
        {
            "type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": "#767676", "width": 0.5, "dash": "dot"},
        }
        for place in x.walls
    ]  # fmt: skip
    layout: dict[str, JsonValue] = {"xaxis": _axis(x), "yaxis": _axis(y), "shapes": walls}
    return _figure(data, {**layout, "showlegend": len(groups) > 1})


def track_view(
    chrom: str, start: int, bin_bp: int, panels: Sequence[Panel], genes: Sequence[Gene] = ()
) -> Figure:
    """Draw tracks below one another along a region that begins at `start`, 0-based, with genes.

    Every bin is drawn from its first base to its last, over 1-based positions.
    """
    count_bins = len(panels[0].values_N)
    region_bp = count_bins * bin_bp
    rows = _gene_rows(genes, range(start, start + region_bp))
    below = (1 + max(rows)) * _GENE_ROW if rows else 0
    inner = below + _PANEL * len(panels)
    layout: dict[str, JsonValue] = {
        "height": inner + _TOP + _BOTTOM,
        "margin": {"l": 52, "r": 12, "t": _TOP, "b": _BOTTOM},
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "showlegend": False,
        "dragmode": "pan",
        "xaxis": {
            "tickformat": ",d",
            "nticks": 5,
            "title": {"text": plain(f"{chrom}, position (1-based)")},
            "hoverformat": ",d",
            "anchor": "free",
            "position": 0,
        },
        "annotations": [
            _panel_title(panel.title, (inner - number * _PANEL - 22) / inner)
            for number, panel in enumerate(panels)
        ],
    }
    for number in range(len(panels)):
        top = inner - number * _PANEL
        domain: JsonValue = [(top - _PANEL + 4) / inner, (top - 24) / inner]
        layout[f"yaxis{_number(number)}"] = {"domain": domain, "nticks": 3, "fixedrange": True}
    told: dict[str, JsonValue] = {}
    if genes:
        layout[f"yaxis{_number(len(panels))}"] = {
            "domain": [0, (below - 2) / inner],
            "range": [-0.7 - max(rows), 0.7],
            "visible": False,
            "fixedrange": True,
        }
        told["genes"] = _genes(genes, rows, f"y{_number(len(panels))}", region_bp)
    bins: JsonValue = {"chrom": plain(chrom), "start": start, "bp": bin_bp, "count": count_bins}
    data: list[JsonValue] = [_panel(panel, number) for number, panel in enumerate(panels)]
    return {"data": data, "layout": layout, "bins": bins, **told}


def _number(place: int) -> str:
    """Number axes as Plotly does, of which the first has none."""
    return "" if place == 0 else f"{place + 1}"


def _panel(panel: Panel, number: int) -> JsonValue:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(panel.title),
        "values": numbers(panel.values_N),
        "yaxis": f"y{_number(number)}",
        "line": {"color": series_colour(number), "width": 1},
        "fill": "tozeroy",
        "hovertemplate": "%{y}",
    }


def base_view(bases: Bases) -> Figure:
    """Draw letters as high as their bases matter, over the effect of every substitution.

    The scale of colours is symmetric about zero; a dot is the reference base.
    """
    known = bases.effects_LA[~np.isnan(bases.effects_LA)]
    largest = float(np.abs(known).max(initial=0)) or 1.0
    unit = f" ({bases.unit})" if bases.unit else ""
    stat = plain(bases.stat)
    heat: dict[str, JsonValue] = {
        "type": "heatmap",
        "x0": bases.first,
        "dx": 1,
        "y": ["A", "C", "G", "T"],
        "z": [numbers(row) for row in bases.effects_LA.T],
        "zmin": -largest,
        "zmax": largest,
        "ygap": 1,
        "hoverongaps": False,
        "hovertemplate": f"%{{customdata}}%{{y}}: {stat} %{{z}}%{{text}}<extra></extra>",
        "yaxis": "y2",
        "colorbar": {
            "orientation": "h",
            "thickness": 10,
            "len": 0.9,
            "y": -0.2,
            "yanchor": "top",
            "nticks": 5,
            "exponentformat": "power",
            "title": {"text": plain(f"{bases.stat}{unit}"), "side": "bottom"},
        },
    }
    layout: dict[str, JsonValue] = {
        "height": 430,
        "margin": {"l": 52, "r": 12, "t": 12, "b": 120},
        "hovermode": "closest",
        "showlegend": False,
        "dragmode": "pan",
        "xaxis": {
            "tickformat": ",d",
            "nticks": 5,
            "showgrid": False,
            "zeroline": False,
            "anchor": "y2",
            "title": {"text": plain(f"{bases.chrom}, position (1-based)")},
        },
        "yaxis": {
            "domain": [0.48, 1],
            "title": {"text": plain(f"\N{MINUS SIGN}mean {bases.stat}")},
            "nticks": 5,
            "fixedrange": True,
        },
        "yaxis2": {
            "domain": [0, 0.44],
            "autorange": "reversed",
            "fixedrange": True,
            "showgrid": False,
        },
    }
    told: JsonValue = {
        "chrom": plain(bases.chrom),
        "stat": plain(bases.stat),
        "first": bases.first,
        "reference": bases.reference,
        "heights": numbers(bases.importance_L),
        "outlines": {base: outline(base) for base in BASES},
        "colours": dict(BASES),
        "scales": {"light": _steps(DIVERGING), "dark": _steps(DIVERGING_IN_THE_DARK)},
    }
    return {"data": [heat], "layout": layout, "bases": told}


def _steps(scale: Sequence[tuple[float, str]]) -> JsonValue:
    return [list(step) for step in scale]


def _figure(data: Iterable[JsonValue], layout: Mapping[str, JsonValue]) -> Figure:
    whole: dict[str, JsonValue] = {
        "height": _HEIGHT,
        "margin": {"l": 64, "r": 12, "t": 12, "b": 56},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **layout,
    }
    return {"data": list(data), "layout": whole}


def _curve(line: Curve, number: int) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {}
    if line.told:
        texts: list[JsonValue] = [plain(text) for text in line.told]
        told = {"text": texts, "hovertemplate": "%{text}<extra></extra>"}
    return {
        "type": "scatter",
        "mode": "lines+markers" if line.marked else "lines",
        "name": plain(line.name),
        "x": list(line.x),
        "y": list(line.y),
        "line": {
            "color": series_colour(number),
            "dash": series_dash(number),
            "width": 1 if line.faint else 2.5,
        },
        "opacity": 0.6 if line.faint else 1,
        "marker": {"symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 6},
        **told,
    }


def _axis(axis: Axis) -> JsonValue:
    told: dict[str, JsonValue] = {
        "title": {"text": plain(axis.title)},
        "type": "log" if axis.log else "linear",
    }
    if axis.log:
        told |= {"exponentformat": "power", "dtick": None, "nticks": 6}
    if axis.ticks:
        told |= {
            "showgrid": False,
            "zeroline": False,
            "tickvals": [place for place, _ in axis.ticks],
            "ticktext": [plain(name) for _, name in axis.ticks],
        }
    return told


def _panel_title(title: str, height: float) -> JsonValue:
    return {
        "text": plain(title),
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": height,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "align": "left",
    }


def _genes(genes: Sequence[Gene], rows: Sequence[int], axis: str, region_bp: int) -> JsonValue:
    """Tell which genes are drawn, in which row, and how many bases a letter of a name is wide."""
    told: list[JsonValue] = [
        {
            "name": plain(gene.name),
            "start": gene.start,
            "end": gene.end,
            "strand": gene.strand,
            "row": row,
            "letters": len(gene.name) + 3,
            **({} if gene.exons is None else {"exons": [list(one) for one in gene.exons]}),
        }
        for gene, row in zip(genes, rows, strict=True)
    ]
    return {"axis": axis, "letter_bp": _letter_bp(region_bp), "every": told}


def _letter_bp(region_bp: int) -> float:
    """Say how many bases a letter is wide on a phone, where all of a region is seen."""
    return region_bp / _LETTERS


def _gene_rows(genes: Sequence[Gene], region: range) -> list[int]:
    """Give each gene the first row in which it and its name meet no other.

    The name of one that starts beyond the region stands at the region's edge, in the row above.
    """
    ends: dict[int, float] = {}
    rows: dict[int, int] = {}
    for place in sorted(range(len(genes)), key=lambda at: genes[at].start):
        gene = genes[place]
        name = _letter_bp(len(region)) * (len(gene.name) + 4)
        low, high = gene.start - name, gene.end + name
        first_base = gene.end - 1 if gene.strand == "-" else gene.start
        tall = 1 if first_base in region else 2
        row = next(
            row
            for row in count(tall - 1)
            if all(ends.get(taken, low) <= low for taken in range(row - tall + 1, row + 1))
        )
        ends |= dict.fromkeys(range(row - tall + 1, row + 1), high)
        rows[place] = row
    return [rows[place] for place in range(len(genes))]
