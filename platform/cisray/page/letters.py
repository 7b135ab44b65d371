"""The outlines of A, C, G and T as polygons in a box of width and height 1.

Knows matplotlib's letters; knows nothing of where they are drawn. Holes run the other way round, so
that they stay empty where a path is filled by its winding.
"""

from functools import cache

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from pydantic import JsonValue

_DIGITS = 3


@cache
def outline(letter: str) -> list[JsonValue]:
    """Give the polygons of a letter, each a list of points from the lower left corner."""
    bold = FontProperties(family="DejaVu Sans", weight="bold")
    polygons = TextPath((0, 0), letter, size=1, prop=bold).to_polygons()
    every = np.concatenate(polygons)
    low, span = every.min(axis=0), np.ptp(every, axis=0)
    return [np.round((polygon - low) / span, _DIGITS).tolist() for polygon in polygons]
