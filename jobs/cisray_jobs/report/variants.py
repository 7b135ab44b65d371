"""The report of a run of variants: the strongest, how scores are spread, and what was not scored.

Knows variants and the parts of a page. The columns of the tracks that are shown are read once, in
pieces; all else is the plan and the rejects.
"""

from collections.abc import Sequence

import polars as pl

from cisray.page.charts import Axis, Curve, Figure, curves, points
from cisray.page.document import Cell, Chart, Column, DataTable, Section
from cisray.store.export.columns import meaning_of
from cisray.store.scan import Run
from cisray.store.selection import select_statistics
from cisray_jobs.report.cells import number, whole, words
from cisray_jobs.report.options import ReportOptions, ShownTracks, choose_tracks
from cisray_jobs.report.passes import pieces
from cisray_jobs.report.spread import Spread
from cisray_jobs.units import counted

FIRST_STATISTIC = "SAD"
EXAMPLES = 3  # of each reason for a reject
_BESIDES = ("site", "site_name", "id")
_KEYS = ("variant", *_BESIDES, "chrom", "pos", "ref", "alt")
_SHOWN_BASES = 12


def variant_sections(run: Run, options: ReportOptions) -> list[Section]:
    """Lay out the strongest variants and distributions by statistic, and the rejects."""
    stats = _statistics(run, options.stats)
    shown = choose_tracks(run, options.tracks, len(stats))
    best = [Strongest(shown, stat, options.top) for stat in stats]
    for frame in pieces(run, shown.query, stats):
        for one in best:
            one.add(frame)
    sections = [section for one in best for section in _sections(run, shown, one)]
    return [*sections, _rejects(run)]


class Strongest:
    """The rows that are among the `top` largest of some track, and the spread of every track.

    Of equal values the first row of the run counts, as in `Run.top`.
    """

    def __init__(self, shown: ShownTracks, stat: str, top: int) -> None:
        """Begin without rows."""
        self.stat = stat
        self.top = top
        self.labels = {f"{stat}_{column}": label for column, label in shown.labels.items()}
        self.spreads = {name: Spread() for name in self.labels}
        self.rows = pl.DataFrame()
        self.count = 0
        self._floors = dict.fromkeys(self.labels, -1.0)

    def add(self, frame: pl.DataFrame) -> None:
        """Take further rows, in the order of the run."""
        self.count += frame.height
        for name, spread in self.spreads.items():
            spread.add(frame[name].fill_null(float("nan")).to_numpy())
        keys = [name for name in _KEYS if name in frame.columns]
        better = [pl.col(name).abs() > floor for name, floor in self._floors.items()]
        hopeful = frame.filter(pl.any_horizontal(better)).select(*keys, *self.labels)
        every = pl.concat([self.rows, hopeful]) if self.rows.width else hopeful
        is_in = pl.any_horizontal(self._rank(name) <= self.top for name in self.labels)
        self.rows = every.filter(is_in)
        for name in self.labels:
            sizes = self.rows[name].abs().drop_nulls().top_k(self.top).to_list()
            if len(sizes) == self.top:
                self._floors[name] = min(sizes)

    def ranked(self) -> pl.DataFrame:
        """Give the rows, best ones first, with their rank by every track (`rank_SAD_t0003`)."""
        ranks = [self._rank(name).alias(f"rank_{name}") for name in self.labels]
        best = pl.min_horizontal(f"rank_{name}" for name in self.labels).alias("rank")
        return self.rows.with_columns(ranks).with_columns(best).sort("rank", maintain_order=True)

    def _rank(self, name: str) -> pl.Expr:
        """Rank by size from 1; without the sign equal ones would be ranked from the last."""
        return (-pl.col(name).abs()).rank("ordinal")


def _statistics(run: Run, wanted: Sequence[str]) -> list[str]:
    """Choose statistics: those asked for, or SAD, or the first where there is none."""
    known = list(run.statistics or ())
    if wanted:
        return select_statistics(known, wanted, run.path) or []
    return [FIRST_STATISTIC if FIRST_STATISTIC in known else known[0]]


def _sections(run: Run, shown: ShownTracks, best: Strongest) -> list[Section]:
    stat = best.stat
    if not best.rows.height:
        lead = ["There is nothing to show: the run has no rows, or none yet."]
        return [Section(title=f"Strongest by {stat}", anchor=f"strongest-{stat}", lead=lead)]
    others = [name for name in run.statistics or () if name != stat]
    lead = [shown.told, f"{stat} is {meaning_of(stat).text}."]
    if others:
        lead.append(f"Other statistics by --stats: {', '.join(others)}.")
    return [
        Section(title=f"Strongest by {stat}", anchor=f"strongest-{stat}", lead=lead,
                tables=[_table(best)], charts=[_along(run, best)]),
        Section(title=f"How {stat} is spread", anchor=f"spread-{stat}",
                tables=[_spread_table(best)], charts=[_spread_chart(best)]),
    ]  # fmt: skip


def _table(best: Strongest) -> DataTable:
    besides = [name for name in _BESIDES if name in best.rows.columns]
    columns = (
        Column("variant"),
        *(Column(name) for name in besides),
        Column("rank", numeric=True, meaning="the best one by any of the tracks"),
        Column("by track"),
        *(Column(label, numeric=True) for label in best.labels.values()),
    )
    rows = []
    for row in best.ranked().iter_rows(named=True):
        by = next(name for name in best.labels if row[f"rank_{name}"] == row["rank"])
        rows.append(
            [
                words(_spell(row)),
                *(words(str(row[name])) for name in besides),
                whole(row["rank"]),
                words(best.labels[by]),
                *(number(row[name]) for name in best.labels),
            ]
        )
    caption = (
        f"{best.stat} of {len(rows):,} of {best.count:,} rows: those that are among the "
        f"{best.top} with the largest size by one of {counted(len(best.labels), 'track')}."
    )
    return DataTable(caption, columns, rows)


def _spell(row: dict[str, object]) -> str:
    ref, alt = (_cut(str(row[name])) for name in ("ref", "alt"))
    return f"{row['chrom']}:{row['pos']:,} {ref}>{alt}"


def _cut(allele: str) -> str:
    """Shorten an allele that is too long to be read, and say how long it is."""
    if len(allele) <= _SHOWN_BASES:
        return allele
    return f"{allele[:_SHOWN_BASES]}... ({len(allele):,} bases)"


def _along(run: Run, best: Strongest) -> Chart:
    """Draw the strongest variants of each track along the genome."""
    places = _places(run)
    ticks = [(at + width / 2, chrom) for chrom, (at, width) in places.items()]
    walls = [float(at) for at, _ in places.values()][1:]
    axis = Axis("chromosome", ticks=ticks, walls=walls)
    ranked = best.ranked()
    figures: dict[tuple[str, ...], Figure] = {}
    for name, label in best.labels.items():
        mine = ranked.filter(pl.col(f"rank_{name}") <= best.top).sort(f"rank_{name}")
        groups = [
            _group(mine.filter(pl.col(name) < 0), name, "lowers", places),
            _group(mine.filter(pl.col(name) >= 0), name, "raises", places),
        ]
        figures[(label,)] = points(groups, axis, Axis(f"{best.stat} of {label}"))
    caption = (
        f"The strongest {best.top} rows of each track along the genome, or all where there are "
        f"fewer; of {best.count:,} rows."
    )
    return Chart(caption, figures, ("Track",))


def _group(rows: pl.DataFrame, column: str, name: str, places: dict[str, tuple[int, int]]) -> Curve:
    x, y, told = [], [], []
    for row in rows.iter_rows(named=True):
        x.append(float(places[str(row["chrom"])][0] + row["pos"]))
        y.append(float(str(row[column])))
        named = f"{row['id']}, " if row.get("id") else ""
        told.append(f"{_spell(row)}, {named}{row[column]:.4g}")
    return Curve(name, x, y, told)


def _places(run: Run) -> dict[str, tuple[int, int]]:
    """Set the chromosomes side by side: where each begins, and how far its variants reach."""
    spans = [*run.plan.spans.values(), *(run.links.spans.values() if run.links else ())]
    reach: dict[str, int] = {}
    for span in spans:
        reach[span.chrom] = max(reach.get(span.chrom, 0), span.end)
    at, places = 0, {}
    for chrom in run.chromosomes:
        if chrom in reach:
            places[chrom] = at, reach[chrom]
            at += reach[chrom]
    return places


def _spread_chart(best: Strongest) -> Chart:
    figures: dict[tuple[str, ...], Figure] = {}
    for name, label in best.labels.items():
        lines = []
        for direction, negative in (("lowers", True), ("raises", False)):
            x, y = best.spreads[name].at_least(negative=negative)
            lines.append(Curve(direction, x, y))
        x_axis = Axis(f"size of {best.stat} of {label}", log=True)
        figures[(label,)] = curves(lines, x_axis, Axis("rows with at least this size", log=True))
    caption = (
        f"How many rows change a track by at least so much: all {best.count:,} are counted, apart "
        f"for those that raise and those that lower it."
    )
    return Chart(caption, figures, ("Track",))


def _spread_table(best: Strongest) -> DataTable:
    columns = (
        Column("track"),
        *(Column(name, numeric=True)
          for name in ("rows", "no value", "mean", "deviation", "lowest", "highest")),
    )  # fmt: skip
    rows = []
    for name, label in best.labels.items():
        spread = best.spreads[name]
        there = bool(spread.count)
        rows.append(
            [
                words(label),
                whole(spread.count),
                whole(spread.missing),
                number(spread.mean),
                number(spread.deviation),
                number(spread.low if there else None),
                number(spread.high if there else None),
            ]
        )
    return DataTable(f"{best.stat} of all rows, by track.", columns, rows)


def _rejects(run: Run) -> Section:
    """List what was not scored: how many by reason, and the first of each."""
    reasons = run.rejects.group_by("reason").agg(pl.len().alias("count"))
    counts = reasons.sort("count", "reason", descending=[True, False]).collect()
    if not counts.height:
        lead = ["Nothing was rejected: every allele that was read has rows."]
        return Section(title="Rejects", anchor="rejects", lead=lead)
    total = int(counts["count"].sum())
    by_reason = DataTable(
        f"{total:,} rejected, by reason.",
        (Column("reason"), Column("alleles", numeric=True)),
        [[words(reason), whole(count)] for reason, count in counts.iter_rows()],
    )
    first = run.rejects.group_by("reason", maintain_order=True).head(EXAMPLES).collect()
    names = ("reason", "file", "line", "chrom", "pos", "id", "ref", "alt", "detail")
    examples = DataTable(
        f"The first {EXAMPLES} of each reason; all are in rejects.parquet of the run.",
        tuple(Column(name, wide=name == "detail") for name in names),
        [[_example(row[name]) for name in names] for row in first.iter_rows(named=True)],
    )
    return Section(title="Rejects", anchor="rejects", tables=[by_reason, examples])


def _example(value: object) -> Cell:
    if value is None:
        return words("")
    return words(_cut(value) if isinstance(value, str) and value.isalpha() else str(value))
