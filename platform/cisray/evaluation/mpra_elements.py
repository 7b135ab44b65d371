"""What is known of the elements of Kircher et al. 2019: their cells, and how replicates agree.

Knows names and numbers, and finds the tracks of a cell; knows no effects. Both tables are as
recalled from the literature around the CAGI5 challenge, and can be replaced by one's own.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import polars as pl
import pyarrow as pa

from cisray.errors import EvaluationError
from cisray.evaluation.mpra import EVERY, MATCHED, Mask
from cisray.evaluation.tables import read_table, require_columns, scan_table
from cisray.tracks import TrackSet

# Text that the descriptions of a cell's tracks hold, whatever its case.
CELLS: Mapping[str, str] = MappingProxyType(
    {
        "F9": "HepG2",
        "LDLR": "HepG2",
        "LDLR.2": "HepG2",
        "SORT1": "HepG2",
        "SORT1.2": "HepG2",
        "SORT1-flip": "HepG2",
        "GP1BA": "K562",
        "GP1BB": "K562",
        "HBB": "K562",
        "HBG1": "K562",
        "PKLR-24h": "K562",
        "PKLR-48h": "K562",
        "HNF4A": "HEK293",
        "MSMB": "HEK293",
        "TERT-HEK": "HEK293",
        "MYCrs6983267": "HEK293",
        "ZFAND3": "pancrea",
        "TERT-GBM": "glioblastoma",
        "TERT-GAa": "glioblastoma",
        "TERT-GSc": "glioblastoma",
        "IRF6": "keratinocyte",
        "IRF4": "melanoma",
    }
)
# Pearson's R of two replicates: what a score can reach at most, about.
CEILINGS: Mapping[str, float] = MappingProxyType(
    {
        "F9": 0.61,
        "GP1BA": 0.74,
        "GP1BB": 0.74,
        "HBB": 0.62,
        "HBG1": 0.78,
        "HNF4A": 0.75,
        "IRF4": 0.98,
        "IRF6": 0.90,
        "LDLR": 0.99,
        "MSMB": 0.75,
        "MYCrs6983267": 0.55,
        "PKLR-24h": 0.79,
        "SORT1": 0.98,
        "TERT-GBM": 0.90,
        "TERT-HEK": 0.65,
        "ZFAND3": 0.72,
    }
)
ASSAYS = ("CAGE", "DNASE")
_ELEMENTS = pa.schema(
    [
        pa.field("element", pa.string(), nullable=False),
        pa.field("cell", pa.string()),
        pa.field("replicate_pearson_r", pa.float64()),
        pa.field("used", pa.int64(), nullable=False),
    ]
)


def read_matching(path: Path) -> dict[str, list[str]]:
    """Read which tracks belong to which element: columns `element` and `tracks`, a query a row.

    Raises EvaluationError for missing columns and empty cells.
    """
    scanned = scan_table(path, {"element": pl.String, "tracks": pl.String})
    require_columns(scanned, ("element", "tracks"), path)
    queries: dict[str, list[str]] = {}
    rows = read_table(scanned.select("element", "tracks"), path).iter_rows()
    for number, (element, query) in enumerate(rows, start=1):
        if element is None or query is None:
            raise EvaluationError(f"{path}: row {number} after the header has an empty cell.")
        queries.setdefault(element, []).append(query)
    return queries


def track_groups(
    tracks: TrackSet, element: str, matching: Mapping[str, list[str]] | None
) -> dict[str, Mask]:
    """Choose the tracks of an element's cell, and all CAGE and DNase tracks, as masks (T,).

    Without a `matching`, those of CELLS count whose description holds the cell's text; an element
    or a cell that is not there has none. Raises TrackError for a query of `matching` that chooses
    none.
    """
    assays = tracks.table["assay"].to_pylist()
    every_T = np.array([assay in ASSAYS for assay in assays], dtype=np.bool_)
    if matching is not None:
        queries = matching.get(element)
        chosen = set(tracks.select(queries).columns) if queries else set()
        matched_T = np.array([column in chosen for column in tracks.columns], dtype=np.bool_)
    else:
        cell = CELLS.get(element, "").casefold()
        texts = tracks.table["description"].to_pylist()
        holds = [bool(cell) and cell in text.casefold() for text in texts]
        matched_T = every_T & np.array(holds, dtype=np.bool_)
    return {MATCHED: matched_T, EVERY: every_T}


def elements_table(used: Mapping[str, int]) -> pa.Table:
    """List elements with their cell, the replicates' agreement, and how many rows are used."""
    rows = [
        {
            "element": element,
            "cell": CELLS.get(element),
            "replicate_pearson_r": CEILINGS.get(element),
            "used": count,
        }
        for element, count in used.items()
    ]
    return pa.Table.from_pylist(rows, schema=_ELEMENTS)
