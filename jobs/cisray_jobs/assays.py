"""Which tracks of a head each assay has, for jobs that tell of assays one by one.

Knows tables of tracks; knows nothing of what is told.
"""

from cisray.tracks import TrackSet

UNNAMED = "unnamed"  # what people see of an assay that is not known


def rows_by_assay(tracks: TrackSet) -> dict[str, list[int]]:
    """List the rows of the table that each assay has, in order of first appearance.

    Every row is in one list; those without an assay are under `UNNAMED`.
    """
    rows: dict[str, list[int]] = {}
    for row, assay in enumerate(tracks.table["assay"].to_pylist()):
        rows.setdefault(assay or UNNAMED, []).append(row)
    return rows
