"""How well each assay was predicted at every validation of a training run: curves and a table.

Knows records of validations, also of runs that were begun before these told of assays; knows
nothing of models or tracks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cisray.page.charts import Axis, curves
from cisray.page.document import Chart, Column, DataTable, Section
from cisray_jobs.marks import TRAINED
from cisray_jobs.report.cells import number, whole, words
from cisray_jobs.report.record_curves import Record, record_lines
from cisray_jobs.units import counted

MOST_LINES = 12  # of a figure, and of its legend


def assay_section(checks: Sequence[Record]) -> Section:
    """Lay out the mean correlation of each assay, a figure for each head."""
    told: list[str] = []
    charts: list[Chart] = []
    for head in dict.fromkeys(str(record["head"]) for record in checks):
        mine = [record for record in checks if record["head"] == head]
        told += _missing(head, mine)
        if rows := _by_assay(mine):
            charts.append(_chart(head, rows))
    columns = (
        Column("head"),
        Column("assay"),
        *(Column(name, numeric=True) for name in ("step", "pearson_r", "tracks", "undefined")),
    )
    table = DataTable(
        "Every validation by assay, with how many tracks have a correlation, and how many none.",
        columns,
        [
            [
                words(str(row["head"])),
                words(row["assay"]),
                whole(row["step"]),
                number(row["pearson_r"]),
                whole(row["tracks"]),
                whole(row["undefined"]),
            ]
            for row in _by_assay(checks)
        ],
        TRAINED,
    )
    return Section(
        title="Validation by assay",
        anchor="assays",
        lead=told,
        charts=charts,
        tables=[table] if charts else [],
    )


def _missing(head: str, checks: Sequence[Record]) -> list[str]:
    """Say why a head has no curves, or not from its first validation on."""
    old = [record for record in checks if "assays" not in record]
    unnamed = [record for record in checks if record.get("assays") == {}]
    told = []
    if old:
        told.append(
            f"{counted(len(old), 'validation')} of head {head}, up to step {old[-1]['step']:,}, "
            "did not record assays: an older version of cisray made them."
        )
    if unnamed:
        told.append(f"No track of head {head} has a name that tells its assay: it has no curves.")
    return told


def _by_assay(checks: Sequence[Record]) -> list[dict[str, Any]]:
    """List the numbers of each assay and validation."""
    return [
        {"head": record["head"], "step": record["step"], "assay": assay, **found}
        for record in checks
        for assay, found in record.get("assays", {}).items()
    ]


def _chart(head: str, rows: Sequence[Record]) -> Chart:
    tracks = {row["assay"]: row["tracks"] + row["undefined"] for row in rows}
    drawn = _largest(tracks)
    shown = [row for row in rows if row["assay"] in drawn]
    lines, told = record_lines(
        shown,
        "pearson_r",
        lambda assay: f"{assay}, {counted(tracks[assay], 'track')}",
        by="assay",
        marked=True,
    )
    figure = curves(lines, Axis("step"), Axis("Pearson R, mean of tracks"))
    some = ""
    if len(drawn) < len(tracks):
        some = f" Of {len(tracks):,} assays the {len(drawn)} with the most tracks are drawn."
    caption = (
        f"Head {head}: the mean over the tracks of each assay that have a correlation. {told}{some}"
    )
    return Chart(caption, {(): figure})


def _largest(tracks: Mapping[str, int]) -> set[str]:
    """Choose the assays that are drawn; of equal ones the first."""
    return set(sorted(tracks, key=lambda assay: -tracks[assay])[:MOST_LINES])
