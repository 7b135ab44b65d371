"""Reading a run with Polars: `open_run(path).scan(...)`.

Knows manifests, file lists and Polars; knows nothing of models or FASTA files. Only files that a
run names are opened, never what happens to lie in a folder, and of those only the ones that a
query can need.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from cisray.errors import RunNotFound, StorageError
from cisray.store.directory import read_files, read_manifest, read_plan, read_tracks
from cisray.store.group_summary import require_summary
from cisray.store.keyed_plan import KeyedPlan, as_keyed
from cisray.store.kinds import kind_of
from cisray.store.layout import RunLayout, value_columns
from cisray.store.linked_rows import LinkedRows, Place
from cisray.store.links import find_origin
from cisray.store.locate import locate
from cisray.store.manifest import KeyedConfig, RunManifest
from cisray.store.place import RunPlace
from cisray.store.plan import Plan
from cisray.store.queries.frames import AnyFrame
from cisray.store.queries.join import KEY, join_variants
from cisray.store.queries.sums import How, sum_over
from cisray.store.queries.top import Sign, top_variants
from cisray.store.query import Bounds, RowQuery
from cisray.store.receipt import read_all_committed
from cisray.store.seal import is_sealed, list_files
from cisray.store.selection import Region, TrackQuery, resolve_region, select_statistics
from cisray.store.tile_plan import as_tiles
from cisray.store.verify import require_sound
from cisray.store.verify_links import link_problems
from cisray.tracks import TrackSet
from cisray_schemas.linked import LINKED


@dataclass(frozen=True, slots=True)
class Run:
    """A run on the disk, ready to be queried: bins along the genome, or variants.

    `files` are the data files that are part of the run; of a run that is not sealed, those
    committed when it was opened. A file holds its `shard`, or all that owe rows up to `last_shard`.
    `since` are places where runs that it links to may lie now.
    """

    layout: RunLayout
    manifest: RunManifest
    tracks: TrackSet
    plan: Plan
    files: pl.DataFrame
    sealed: bool
    blocks: dict[str, list[int]]
    since: tuple[RunPlace, ...] = ()

    def __repr__(self) -> str:
        """Say in one line which run it is."""
        state = "sealed" if self.sealed else "not sealed"
        return f"Run({str(self.path)!r}, {self.manifest.job}, {self.plan.rows:,} rows, {state})"

    @property
    def path(self) -> RunPlace:
        """Where the run lies: a path on a disk."""
        return self.layout.root

    @property
    def chromosomes(self) -> list[str]:
        """The chromosomes that the run covers, with its links, in the order of the genome."""
        return self._query.chromosomes

    @property
    def shards(self) -> list[int]:
        """The shards whose rows are part of the run, in the order of its plan."""
        if self.sealed:
            return list(self.plan.spans)
        return self.files["shard"].unique().sort().to_list()

    @property
    def statistics(self) -> list[str] | None:
        """The statistics of a run of variants, in the order of its columns; None of bins."""
        return kind_of(self.manifest).statistics(self.manifest)

    @property
    def windows(self) -> pl.DataFrame:
        """The plan of a run along the genome: one row per tile, coordinates 0-based.

        Raises WrongRun for a run of variants.
        """
        return pl.DataFrame(as_tiles(self.plan).table)

    @property
    def variants(self) -> pl.LazyFrame:
        """The plan of a run of variants or substitutions: every row that it scores, in order.

        Raises WrongRun for a run along the genome.
        """
        return self._plan_frame(as_keyed(self.plan))

    @property
    def linked(self) -> pl.LazyFrame:
        """What was read and other runs have scored: `since_run` and `since_variant` say which row.

        Raises WrongRun for a run along the genome.
        """
        linked = as_keyed(self.plan).linked
        if linked is None:
            return pl.LazyFrame(pl.DataFrame(LINKED.schema.empty_table()))
        return self._plan_frame(linked)

    @property
    def links(self) -> KeyedPlan | None:
        """The plan of rows that are linked to other runs; None where there are none."""
        linked = self.plan.linked if isinstance(self.plan, KeyedPlan) else None
        return linked if linked is not None and linked.rows else None

    @property
    def rejects(self) -> pl.LazyFrame:
        """What was read and is not scored, each with its reason, as the input states it.

        Raises WrongRun for a run along the genome.
        """
        return as_keyed(self.plan).rejects.scan()

    def linked_runs(self) -> dict[str, "Run"]:
        """Open the runs that rows are linked to, by their ids. Raises what `linked_run` raises."""
        known = KeyedConfig.of(self.manifest).since if self.links else ()
        return {run_id: self.linked_run(run_id) for run_id in known}

    def linked_run(self, run_id: str) -> "Run":
        """Open one of the runs that rows are linked to, as `find_origin` does."""
        return find_origin(self, run_id, open_run)

    def scan(
        self,
        tracks: TrackQuery | None = None,
        region: Region | None = None,
        stats: str | Sequence[str] | None = None,
        *,
        linked: bool = True,
    ) -> pl.LazyFrame:
        """Query the predictions: key columns, then float32 columns of the tracks.

        Of a run along the genome, rows are bins in genome order with `chrom`, `start`, `end`
        (0-based half-open), and each track is a column. Of a run of variants, rows are variants by
        chromosome, `pos` (1-based), `ref`, `alt` and `variant` (sort by `variant` for the order of
        the input), and each of the statistics has a column for every track, such as `SAD_t0042`.
        Columns are in the order of the run's statistics and of the head. `tracks` selects as
        `TrackSet.select` does, `stats` by name; None takes all.

        `region` takes every bin, and every variant whose reference allele, that it overlaps, also
        in part: text such as `chr21:25,000,000-25,100,000` (1-based inclusive, as in genome
        browsers) or `chr21`, or a tuple or Interval (0-based half-open). Where the run has no rows
        (tiles without any A, C, G or T, parts not planned, or beyond the end of the chromosome)
        the frame is empty there.

        Variants that another run has scored, and this one links to (`--since`), are among the rows,
        with the keys of this run's input and the values of the other; without `linked` they are
        left out, and the other runs need not be there.

        Raises TrackError for a selection without tracks, StatisticError for an unknown statistic,
        WrongRun for statistics of a run along the genome, UnknownChromosome for a chromosome that
        the run does not cover, CoordinateError for an empty region, StorageError when a file it
        needs is missing or not of the recorded size, and what `linked_runs` raises.
        """
        selected = self.tracks if tracks is None else self.tracks.select(tracks)
        statistics = select_statistics(self.statistics, stats, self.path)
        place = None if region is None else resolve_region(region, self.chromosomes, self.path)
        own = partial(self._own_rows, selected, statistics)
        links = self.links
        if links is None or not linked:
            return own(place)
        rows = LinkedRows(
            own=own,
            origins={
                run_id: partial(_rows_at, run, tracks, stats)
                for run_id, run in self.linked_runs().items()
            },
            links=links.file.scan(),
            spans=[*self.plan.spans.values(), *links.spans.values()],
            query=self._query,
        )
        return rows.scan(value_columns(statistics, selected.columns), place)

    def _own_rows(
        self, selected: TrackSet, statistics: list[str] | None, place: Place | None
    ) -> pl.LazyFrame:
        """Query the rows that the run itself holds."""
        files = self._files_of(place)
        query, bounds = self._query, None if place is None else place[1:]
        wanted = dict(zip(selected.indices.tolist(), selected.columns, strict=True))
        parts: list[pl.LazyFrame] = []
        for block, members in self.blocks.items():
            held = [wanted[track] for track in members if track in wanted]
            of_block = files.filter(pl.col("block") == block)
            if held and of_block.height:
                keys = [] if parts else list(query.keys)
                frame = self._scan_block(query, of_block, bounds)
                parts.append(frame.select(*keys, *value_columns(statistics, held)))
        columns = value_columns(statistics, selected.columns)
        if not parts:
            return pl.LazyFrame(schema=query.keys | dict.fromkeys(columns, pl.Float32()))
        frame = parts[0] if len(parts) == 1 else pl.concat(parts, how="horizontal")
        return frame.select(*query.keys, *columns)

    def summary(self) -> pl.LazyFrame:
        """Query the strongest tracks of groups, as `cisray runs summarise` has found them.

        A row for each of the run, in its order: its keys, and for each statistic and group the
        value whose size is largest, with its sign (`SAD_CAGE`), and the index of the track that has
        it (`SAD_CAGE_track`). Raises WrongRun for a run along the genome, ConfigError where nothing
        was summarised, and StorageError.
        """
        as_keyed(self.plan)
        kept = require_summary(self.layout, sealed=self.sealed)
        return kept.scan(self.layout, pl.Enum(self.chromosomes))

    def join_variants(
        self,
        frame: AnyFrame,
        on: Sequence[str] = KEY,
        tracks: TrackQuery | None = None,
        stats: str | Sequence[str] | None = None,
    ) -> pl.LazyFrame:
        """Set scores beside a frame of variants; each of its rows comes back, in its order.

        `on` names the frame's columns of chromosome (in any spelling), position (1-based),
        reference and alternative allele. A row means the variant that the run scored under these
        alleles, or was given under them: they need not be normalised if they are as the run's
        input had them. The result has the frame's columns, `status`, `variant` (and what else
        tells rows of a variant apart, such as `site`), and the values of `tracks` and `stats`.

        `status` is `scored`; of rows without values it says why: `rejected: REASON`, `not in run`,
        or, of a run that is not sealed, `not scored yet`. A row comes once for each row of the run
        that it means: of a variant that the input had twice, or at two sites, two.

        The keys are looked up when this is called, and only files and pages of scores at their
        places are read. Raises WrongRun for a run along the genome, FrameError for a frame without
        these columns or with columns of the result, and what `scan` raises.
        """
        return join_variants(self, frame, on=on, tracks=tracks, stats=stats)

    def top(
        self,
        k: int,
        by: str = "SAD",
        tracks: TrackQuery | Mapping[str, TrackQuery] | None = None,
        sign: Sign = "abs",
        region: Region | None = None,
    ) -> pl.DataFrame:
        """Rank the variants by a statistic: the `k` strongest of each track, or group of tracks.

        `tracks` are ranked one by one. A mapping of names to tracks makes groups, of which each
        ranks a variant by its strongest track. `sign` is `abs`, or `positive` and `negative`, which
        rank values of that sign alone, so that fewer than `k` may be there. Rows of one value are
        in the order of chromosome, pos, ref, alt and variant; of equal tracks the first one counts.

        The result has `group` (a name, or the column of the track), `rank` from 1, `track`, the
        value under the name of the statistic, and the key columns of the variant. The run is read
        once, a file or some 130,000 rows at a time; of groups that were summarised, their summary.
        Raises WrongRun for a run along the genome, ConfigError for a `k` or `sign` that cannot be,
        and what `scan` raises.
        """
        return top_variants(self, k, by=by, tracks=tracks, sign=sign, region=region)

    def sum_over(
        self,
        intervals: AnyFrame,
        tracks: TrackQuery | None = None,
        how: How = "sum",
        by: str | None = None,
    ) -> pl.DataFrame:
        """Sum tracks over intervals, or average them: one row for each, in the order given.

        `intervals` has `chrom` (in any spelling), `start` and `end`, 0-based half-open as in BED.
        An interval takes every bin of which it holds a base, whole. `by` names a column, such as
        that of genes: intervals with the same text there on a chromosome, such as exons, are one
        row, and a bin that several of them hold counts once.

        The result has the columns of `intervals` (with `by`, the first start, the last end and
        that column), `bins` (how many were there), `bins_missing` (how many the run does not have:
        not planned, without any A, C, G or T, or beyond the end of the chromosome), and a Float64
        column per track: the sum of the bins that were there, or their mean, null where none was.

        Raises WrongRun for a run of variants, FrameError for a frame without these columns,
        CoordinateError for an interval without bases, and what `scan` raises.
        """
        return sum_over(self, intervals, tracks=tracks, how=how, by=by)

    def verify(self) -> int:
        """Read every file again, hold it against what was recorded and owed, and count data files.

        So are the runs that it links to, and whether links lead to the same alleles. Queries do
        not: Polars does not check the checksums of pages. Raises StorageError for the first thing
        that is wrong; `cisray.store.verify` and `verify_links` list all of them.
        """
        files = require_sound(self.path, allow_unsealed=not self.sealed)
        for problem in link_problems(self):
            raise StorageError(problem.message)
        return files

    def check_files(self) -> None:
        """Check that every data file is there, with its recorded size. Raises StorageError."""
        self._check_sizes(self.files)

    @property
    def _query(self) -> RowQuery:
        return kind_of(self.manifest).query(self.plan, self.manifest)

    def _plan_frame(self, plan: KeyedPlan) -> pl.LazyFrame:
        chroms = pl.col("chrom").cast(pl.Enum(self.chromosomes))
        return plan.file.scan().with_columns(chroms)

    def _files_of(self, place: Place | None) -> pl.DataFrame:
        """List the files that can hold rows of a place."""
        if place is None:
            return self.files
        chrom, start, end = place
        files = self.files.filter(pl.col("chrom") == chrom, pl.col("end") > start)
        return files if end is None else files.filter(pl.col("start") < end)

    def _scan_block(
        self, query: RowQuery, files: pl.DataFrame, bounds: Bounds | None
    ) -> pl.LazyFrame:
        """Scan files of one block, in plan order, the chromosome taken from the file list."""
        self._check_sizes(files)
        names = {
            str(chrom): group["path"].to_list()
            for (chrom,), group in files.group_by(["chrom"], maintain_order=True)
        }
        return query.scan(names, bounds, self.layout.folder.scan)

    def _check_sizes(self, files: pl.DataFrame) -> None:
        # Polars passes over an empty file without a word, hence the comparison of sizes.
        sizes = self.layout.folder.sizes_of(files["path"].to_list())
        for name, recorded in files.select("path", "bytes").iter_rows():
            size = sizes.get(name)
            if size != recorded:
                self._check_list()
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise StorageError(
                    f"{self.layout.tell(name)} {found}, the run recorded {recorded:,} bytes. Bring "
                    f"it back from a copy, or score again into another --out."
                )

    def _check_list(self) -> None:
        """Raise StorageError if the list of files is not the one that the run was opened with."""
        if self.sealed and not pl.DataFrame(read_files(self.layout)).equals(self.files):
            raise StorageError(
                f"the run in {self.path} was compacted, or scored anew, after it was opened here: "
                f"its files are others now. Open it again."
            )


def _rows_at(
    run: Run, tracks: TrackQuery | None, stats: str | Sequence[str] | None, place: Place
) -> pl.LazyFrame | None:
    """Query what a run holds at a place; None for a chromosome that it does not cover."""
    if place[0] not in run.chromosomes:
        return None
    return run.scan(tracks, place, stats, linked=False)


def open_run(
    path: str | Path, *, allow_unsealed: bool = False, since: Iterable[RunPlace] = ()
) -> Run:
    """Open a run for queries.

    `since` names places of runs that it links to, where these are not where they were.

    Raises RunNotFound where there is no run, or one that is not sealed unless `allow_unsealed`;
    StorageError when its parts are damaged.
    """
    return open_layout(RunLayout(locate(path)), allow_unsealed=allow_unsealed, since=since)


def open_layout(
    layout: RunLayout, *, allow_unsealed: bool = False, since: Iterable[RunPlace] = ()
) -> Run:
    """Open the run in a folder, as `open_run` does."""
    manifest = read_manifest(layout)
    layout = layout.of(manifest.begun)
    sealed = is_sealed(layout)
    if not sealed and not allow_unsealed:
        raise RunNotFound(
            f"{layout.root} holds a run that is not sealed: rows may be missing. Run the same "
            f"command again to finish it, or open it with allow_unsealed=True to read what is "
            f"there."
        )
    plan = read_plan(layout, manifest)
    tracks, blocks = read_tracks(layout, manifest)
    files = read_files(layout) if sealed else list_files(read_all_committed(layout, plan.spans))
    frame = pl.DataFrame(files)
    return Run(layout, manifest, tracks, plan, frame, sealed, blocks, since=tuple(since))
