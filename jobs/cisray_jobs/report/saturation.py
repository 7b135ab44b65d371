"""The report of a saturation run: letters and a heat map of some regions, and the largest effects.

Knows substitutions and the parts of a page. Of the scores only the rows of the regions that are
shown are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from cisray.errors import ConfigError
from cisray.page.charts import Bases, Figure, base_view
from cisray.page.document import Cell, Chart, Column, DataTable, Section
from cisray.store.export.columns import Scores, meaning_of
from cisray.store.export.saturation import locus_text, saturation_map
from cisray.store.kinds import kind_of
from cisray.store.scan import Run
from cisray.store.selection import resolve_region, select_statistics
from cisray_jobs.report.cells import number
from cisray_jobs.report.options import ReportOptions, ShownTracks, choose_tracks, refuse_too_many
from cisray_jobs.units import counted

MOST_REGIONS = 4  # that are chosen for the reader
MOST_BASES = 2_000  # of a region: letters of more are not seen, and slow to draw
_KEYS = ("chrom", "pos", "ref", "alt", "region")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A region of the run that is shown, from the first position that has rows to the last."""

    region: int
    chrom: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """Where it lies, and its number, since two regions may lie at one place."""
        return f"{locus_text(self.chrom, self.first, self.last)} (region {self.region})"


def saturation_sections(run: Run, options: ReportOptions) -> list[Section]:
    """Lay out the regions that are shown, for every track and statistic that is."""
    stats = _statistics(run, options.stats)
    shown = choose_tracks(run, options.tracks, len(stats))
    every = _stretches(run)
    if not every:
        lead = ["There is nothing to show: the run has no rows, or none yet."]
        return [Section(title="Bases and substitutions", anchor="bases", lead=lead)]
    chosen = _chosen(run, every, options.region)
    size = sum(one.last - one.first + 1 for one in chosen)
    told = f"{size:,} bases x 4 letters x {len(shown.tracks)} tracks x {len(stats)} statistics"
    refuse_too_many(4 * size * len(shown.tracks) * len(stats), told)
    figures: dict[tuple[str, ...], Figure] = {}
    frames = []
    for one in chosen:
        place = locus_text(one.chrom, one.first, one.last)
        frame = run.scan(shown.query, region=place, stats=stats).filter(region=one.region).collect()
        frames.append(frame)
        for stat in stats:
            for column, label in shown.labels.items():
                figures[one.name, label, stat] = _figure(run, frame, stat, column)
    rule = f"{len(chosen):,} of {counted(len(every), 'region')} are shown."
    if not options.region and len(chosen) < len(every):
        rule += " They are the first of the input; others by --region."
    caption = (
        f"Letters are as high as the loss of their base matters (minus the mean of its three "
        f"substitutions); below, every substitution: orange raises, blue lowers, a dot is the "
        f"reference. {counted(size, 'base')} in all."
    )
    chart = Chart(caption, figures, ("Region", "Track", "Statistic"), pans=True)
    meanings = [(stat, meaning_of(stat).text) for stat in stats]
    left = [stat for stat in run.statistics or () if stat not in stats]
    lead = [shown.told, rule]
    if left:
        lead.append(f"Not shown: {', '.join(left)}; choose by --stats.")
    return [
        Section(title="Bases and substitutions", anchor="bases", lead=lead, charts=[chart],
                facts=meanings),
        _largest(pl.concat(frames), shown, stats[0], options.top),
    ]  # fmt: skip


def _statistics(run: Run, wanted: Sequence[str]) -> list[str]:
    """Choose statistics: those asked for, or all that every substitution has."""
    known = list(run.statistics or ())
    if wanted:
        return select_statistics(known, wanted, run.path) or []
    partial = kind_of(run.manifest).partial(run.manifest)
    whole = [stat for stat in known if stat not in partial]
    return whole[:3]


def _stretches(run: Run) -> list[Stretch]:
    """List the regions of the plan, by number."""
    keys = run.variants.select("region", pl.col("chrom").cast(pl.String), "pos")
    ends = (pl.col("pos").min().alias("first"), pl.col("pos").max().alias("last"))
    found = keys.group_by("region", "chrom").agg(*ends).sort("region", "chrom").collect()
    return [Stretch(*row) for row in found.iter_rows()]


def _chosen(run: Run, every: Sequence[Stretch], wanted: Sequence[str]) -> list[Stretch]:
    """Choose the regions that meet a locus that is asked for, or the first ones of the input.

    Raises ConfigError for a locus without any, and for a region that is too long to be drawn.
    """
    chosen = list(every[:MOST_REGIONS])
    if wanted:
        met = [_meeting(run, every, text) for text in wanted]
        chosen = list(dict.fromkeys(one for some in met for one in some))
    for one in chosen:
        length = one.last - one.first + 1
        if length > MOST_BASES:
            raise ConfigError(
                f"{one.name} has {length:,} bases, and a report draws regions of up to "
                f"{MOST_BASES:,}: draw it with `cisray runs export --format svg`, or choose "
                f"others with --region."
            )
    return chosen


def _meeting(run: Run, every: Sequence[Stretch], text: str) -> list[Stretch]:
    chrom, start, end = resolve_region(text, run.chromosomes, run.path)
    met = [
        one
        for one in every
        if one.chrom == chrom and one.last > start and (end is None or one.first <= end)
    ]
    if not met:
        some = ", ".join(one.name for one in every[:5])
        raise ConfigError(f"--region {text} meets no region of the run, which has {some}.")
    return met


def _figure(run: Run, frame: pl.DataFrame, stat: str, column: str) -> Figure:
    """Draw one statistic of one track of one region."""
    value = f"{stat}_{column}"
    scores = Scores.of(frame.lazy().select(*_KEYS, value), run.tracks.select(column), {})
    shown = saturation_map(scores, stat, int(frame["region"][0]))
    return base_view(
        Bases(
            chrom=shown.chrom,
            first=shown.first,
            reference=shown.reference,
            effects_LA=shown.effects_LA,
            importance_L=shown.importance_L,
            stat=stat,
            unit=meaning_of(stat).unit,
        )
    )


def _largest(rows: pl.DataFrame, shown: ShownTracks, stat: str, top: int) -> Section:
    """List the substitutions of the regions whose largest effect on any track is largest."""
    names = {f"{stat}_{column}": label for column, label in shown.labels.items()}
    sizes = pl.max_horizontal(pl.col(name).abs() for name in names)
    best = rows.with_columns(__size=sizes).sort("__size", descending=True, maintain_order=True)
    best = best.head(top)
    columns = (
        Column("substitution"),
        Column("region", numeric=True),
        *(Column(label, numeric=True) for label in names.values()),
    )
    cells = []
    for row in best.iter_rows(named=True):
        name = f"{row['chrom']}:{row['pos']:,} {row['ref']}>{row['alt']}"
        cells.append(
            [
                Cell(name, name),
                Cell(str(row["region"]), row["region"]),
                *(number(row[value]) for value in names),
            ]
        )
    caption = (
        f"{stat} of the {best.height:,} of {rows.height:,} substitutions in these regions whose "
        f"largest effect on a track shown is largest."
    )
    table = DataTable(caption, columns, cells)
    return Section(title="Largest effects", anchor="largest", tables=[table])
