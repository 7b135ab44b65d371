"""The report of a run along the genome: tracks of some regions with genes, and how values spread.

Knows bins and the parts of a page. Values are read once for distributions and the strongest bins,
and again of the regions that are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cisray.errors import ConfigError
from cisray.locus import format_locus
from cisray.page.charts import Axis, Curve, Figure, Gene, Panel, curves, track_view
from cisray.page.document import Cell, Chart, Column, DataTable, Section
from cisray.store.scan import Run
from cisray.store.selection import resolve_region
from cisray.store.tile_plan import as_tiles
from cisray_jobs.report.cells import number, whole, words
from cisray_jobs.report.exons import Exons, read_exons
from cisray_jobs.report.genes import Genes
from cisray_jobs.report.options import ReportOptions, ShownTracks, choose_tracks, refuse_too_many
from cisray_jobs.report.passes import pieces
from cisray_jobs.report.spread import Spread
from cisray_jobs.units import counted

AROUND_BINS = 64  # on either side of a strongest bin
MOST_GENES = 100  # drawn in a region


@dataclass(frozen=True, slots=True)
class View:
    """A region that is shown: whole bins, 0-based half-open, and why it is."""

    chrom: str
    start: int
    end: int
    reason: str

    @property
    def name(self) -> str:
        """Where it is, 1-based, and why."""
        place = format_locus(self.chrom, self.start, self.end)
        return f"{place} ({self.reason})" if self.reason else place


@dataclass(slots=True)
class TrackFacts:
    """What one pass found of a track: how its values spread, and its strongest bin."""

    spread: Spread
    peak: tuple[str, int] | None = None

    def add(self, frame: pl.DataFrame, column: str) -> None:
        """Take further bins, in the order of the genome; of equal ones the first is kept."""
        values = frame[column].to_numpy()
        if not len(values):
            return
        place = int(np.argmax(values))
        if values[place] > self.spread.high:
            self.peak = str(frame["chrom"][place]), int(frame["start"][place])
        self.spread.add(values)


def genome_sections(run: Run, options: ReportOptions, genes: Genes | None) -> list[Section]:
    """Lay out the tracks of regions, and the distribution of each track."""
    shown = choose_tracks(run, options.tracks)
    # What is asked for is refused, if it must be, before all of the run is read.
    asked = _asked(run, options.region)
    _refuse_too_many(run, shown, asked)
    found = {column: TrackFacts(Spread()) for column in shown.tracks.columns}
    for frame in pieces(run, shown.query):
        for column, facts in found.items():
            facts.add(frame, column)
    spread = _spread_section(run, shown, found)
    if not any(facts.spread.count for facts in found.values()):
        lead = ["There are no bins to show: the run has none, or none yet."]
        return [Section(title="Tracks along the genome", anchor="tracks", lead=lead), spread]
    views = asked or _strongest(run, shown, found)
    _refuse_too_many(run, shown, views)
    return [_track_section(run, shown, views, genes), spread]


def _asked(run: Run, wanted: Sequence[str]) -> list[View]:
    """Widen the regions that are asked for to whole bins, and end them with the last bin."""
    bin_bp, ends = run.manifest.bin_bp, _ends(run)
    views = []
    for text in wanted:
        chrom, start, end = resolve_region(text, run.chromosomes, run.path)
        last = ends[chrom] if end is None else end
        if start >= ends[chrom]:
            raise ConfigError(
                f"--region {text} begins beyond the last bin of {chrom}, which ends with base "
                f"{ends[chrom]:,}."
            )
        cut = f"{last:,} is beyond the last bin" if last > ends[chrom] else ""
        low, high = start // bin_bp * bin_bp, -(-min(last, ends[chrom]) // bin_bp) * bin_bp
        views.append(View(chrom, low, high, cut))
    return list(dict.fromkeys(views))


def _strongest(run: Run, shown: ShownTracks, found: Mapping[str, TrackFacts]) -> list[View]:
    """Set a region around the strongest bin of every track, unless one has it already."""
    bin_bp, ends = run.manifest.bin_bp, _ends(run)
    views: list[View] = []
    for column, facts in found.items():
        if facts.peak is None:
            continue
        chrom, start = facts.peak
        if any(v.chrom == chrom and v.start <= start < v.end for v in views):
            continue
        reach = AROUND_BINS * bin_bp
        low, high = max(0, start - reach), min(start + bin_bp + reach, ends[chrom])
        views.append(View(chrom, low, high, f"strongest bin of {shown.labels[column]}"))
    return views


def _bins_of(run: Run, views: Sequence[View]) -> int:
    return sum((view.end - view.start) // run.manifest.bin_bp for view in views)


def _refuse_too_many(run: Run, shown: ShownTracks, views: Sequence[View]) -> None:
    bins, tracks = _bins_of(run, views), len(shown.tracks)
    refuse_too_many(bins * tracks, f"{bins:,} bins of {counted(tracks, 'track')}")


def _ends(run: Run) -> dict[str, int]:
    """Give the end of the last bin that is planned on each chromosome."""
    last = pl.col("start") + pl.col("bins") * run.manifest.bin_bp
    ends = run.windows.group_by("chrom").agg(last.max().alias("end"))
    return dict(ends.select("chrom", "end").iter_rows())


def _track_section(
    run: Run, shown: ShownTracks, views: Sequence[View], genes: Genes | None
) -> Section:
    bin_bp = run.manifest.bin_bp
    bins = _bins_of(run, views)
    figures: dict[tuple[str, ...], Figure] = {}
    missing = 0
    regions = [(view.chrom, view.start, view.end) for view in views]
    exons = None if genes is None else read_exons(genes, regions)
    for view in views:
        panels = _panels(run, shown, view)
        missing += int(np.isnan(panels[0].values_N).sum())
        here = _genes_in(view, genes, exons) if genes and exons else []
        figures[(view.name,)] = track_view(view.chrom, view.start, bin_bp, panels, here)
    gaps = f" {counted(missing, 'bin')} of them the run does not have: gaps." if missing else ""
    caption = (
        f"{counted(len(shown.tracks), 'track')} over {counted(bins, 'bin')} of {bin_bp} bp in "
        f"{counted(len(views), 'region')}.{gaps} Each track has a scale of its own."
    )
    rule = (
        "Regions without --region are those around the strongest bin of each track, "
        f"{AROUND_BINS} bins on either side; a bin that a region holds already opens no other."
    )
    lead = [shown.told, rule, _genes_told(views, genes)]
    if exons is not None and exons.told:
        lead.append(exons.told)
    chart = Chart(caption, figures, ("Region",), pans=True)
    return Section(title="Tracks along the genome", anchor="tracks", lead=lead, charts=[chart])


def _panels(run: Run, shown: ShownTracks, view: View) -> list[Panel]:
    """Read the tracks of a region into arrays of all its bins; NaN where the run has none."""
    bin_bp = as_tiles(run.plan).bin_bp
    frame = run.scan(shown.query, region=(view.chrom, view.start, view.end)).collect()
    places = (frame["start"].to_numpy() - view.start) // bin_bp
    panels = []
    for column, label in shown.labels.items():
        values_N = np.full((view.end - view.start) // bin_bp, np.nan, np.float32)
        values_N[places] = frame[column].to_numpy()
        panels.append(Panel(label, values_N))
    return panels


def _genes_in(view: View, genes: Genes, exons: Exons) -> list[Gene]:
    inside = [one for one in genes.placed if one.meets(view.chrom, view.start, view.end)]
    return [exons.with_exons(one, view.start, view.end) for one in inside[:MOST_GENES]]


def _genes_told(views: Sequence[View], genes: Genes | None) -> str:
    if genes is None:
        return "Genes are drawn beside the tracks with --genes."
    told = []
    for view in views:
        inside = sum(one.meets(view.chrom, view.start, view.end) for one in genes.placed)
        if inside > MOST_GENES:
            told.append(f"{MOST_GENES} of {inside:,} in {view.name}")
    drawn = f" Not all are drawn: {', '.join(told)}." if told else ""
    others = f" {genes.elsewhere:,} more lie on others." if genes.elsewhere else ""
    count = counted(len(genes.placed), "gene")
    return f"Of {count} on chromosomes of the run those in the regions are drawn.{others}{drawn}"


def _spread_section(run: Run, shown: ShownTracks, found: dict[str, TrackFacts]) -> Section:
    table = pl.DataFrame(shown.tracks.table)
    columns = (
        Column("track"),
        Column("description"),
        Column("bins", numeric=True),
        Column("mean", numeric=True),
        Column("deviation", numeric=True),
        Column("lowest", numeric=True),
        Column("highest", numeric=True),
        Column("highest at"),
    )
    rows = []
    for row in table.iter_rows(named=True):
        facts = found[row["column"]]
        spread = facts.spread
        there = bool(spread.count)
        place = ""
        if facts.peak is not None:
            chrom, start = facts.peak
            place = format_locus(chrom, start, start + run.manifest.bin_bp)
        rows.append(
            [
                Cell(row["column"], row["column"], meaning=row["identifier"]),
                words(row["description"]),
                whole(spread.count),
                number(spread.mean),
                number(spread.deviation),
                number(spread.low if there else None),
                number(spread.high if there else None),
                words(place),
            ]
        )
    lines = []
    for column, label in shown.labels.items():
        x, y = found[column].spread.at_least()
        lines.append(Curve(label, x, y))
    figure = curves(lines, Axis("value", log=True), Axis("bins with at least this value", log=True))
    caption = "How many bins have at least a value, of every track shown: all bins are counted."
    return Section(
        title="How values are spread",
        anchor="spread",
        lead=[shown.told],
        charts=[Chart(caption, {(): figure})],
        tables=[DataTable("All bins of the run, by track.", columns, rows)],
    )
