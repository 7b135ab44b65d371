"""Reading a run with Polars: `open_run(path).scan(...)`.

Knows manifests, file lists and Polars; knows nothing of models or FASTA files. Only files that a
run names are opened, never what happens to lie in a folder, and of those only the ones that a
query can need.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from cisray.errors import (
    CoordinateError,
    RunNotFound,
    StorageError,
    UnknownChromosome,
    near_matches,
)
from cisray.locus import match_chromosome, parse_locus
from cisray.store.directory import read_manifest, read_plan, read_table, read_tracks
from cisray.store.layout import RunLayout, run_root
from cisray.store.manifest import RunManifest
from cisray.store.receipt import read_committed, size_of
from cisray.store.seal import list_files
from cisray.tracks import TrackSet


class HasInterval(Protocol):
    """Anything with a chromosome and 0-based half-open bounds, such as an Interval."""

    @property
    def chrom(self) -> str:
        """Name of the chromosome."""

    @property
    def start(self) -> int:
        """First base, 0-based."""

    @property
    def end(self) -> int | None:
        """Base after the last one; None reaches to the end of the chromosome."""


Region = str | tuple[str, int, int | None] | HasInterval
TrackQuery = str | int | Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Run:
    """A run on the disk, ready to be queried.

    `windows` is the plan (one row per tile, coordinates 0-based), `files` the data files that
    are part of the run; of a run that is not sealed, those committed when it was opened.
    """

    path: Path
    manifest: RunManifest
    tracks: TrackSet
    windows: pl.DataFrame
    files: pl.DataFrame
    sealed: bool
    blocks: dict[str, list[int]]

    @property
    def chromosomes(self) -> list[str]:
        """The chromosomes that the run covers, in the order of the genome."""
        return self.windows["chrom"].unique(maintain_order=True).to_list()

    def scan(self, tracks: TrackQuery | None = None, region: Region | None = None) -> pl.LazyFrame:
        """Query the predictions: `chrom`, `start`, `end` and one float32 column per track.

        Rows are bins in genome order, `start` and `end` 0-based half-open; columns are in the
        order of the head. `tracks` selects as `TrackSet.select` does, None takes all.

        `region` takes every bin that it overlaps, also in part: text such as
        `chr21:25,000,000-25,100,000` (1-based inclusive, as in genome browsers) or `chr21`, or a
        tuple or Interval (0-based half-open). Where the run has no rows (tiles without any A, C,
        G or T, parts not planned, or beyond the end of the chromosome) the frame is empty there.

        Raises TrackError for a selection without tracks, UnknownChromosome for a chromosome
        that the run does not cover, CoordinateError for an empty region, and StorageError when
        a file it needs is missing or not of the recorded size.
        """
        selected = self.tracks if tracks is None else self.tracks.select(tracks)
        files = self.files
        bounds: tuple[int, int | None] | None = None
        if region is not None:
            chrom, start, end = self._resolve(region)
            bounds = start, end
            files = files.filter(pl.col("chrom") == chrom, pl.col("end") > start)
            files = files if end is None else files.filter(pl.col("start") < end)
        wanted = dict(zip(selected.indices.tolist(), selected.columns, strict=True))
        parts: list[pl.LazyFrame] = []
        for block, members in self.blocks.items():
            columns = [wanted[track] for track in members if track in wanted]
            of_block = files.filter(pl.col("block") == block)
            if columns and of_block.height:
                keys = ["chrom", "start", "end"] if not parts else []
                parts.append(self._scan_block(of_block, bounds).select(*keys, *columns))
        if not parts:
            return self._empty(selected.columns)
        frame = parts[0] if len(parts) == 1 else pl.concat(parts, how="horizontal")
        return frame.select("chrom", "start", "end", *selected.columns)

    def verify(self) -> int:
        """Read every data file again, compare it with its recorded digest, and count the files.

        Queries do not: Polars does not check the checksums of pages. Raises StorageError for
        the first file that is missing or not as it was written.
        """
        for row in self.files.iter_rows(named=True):
            path = self._checked_path(row)
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != row["sha256"]:
                raise StorageError(
                    f"{path} is damaged: its sha256 is {found}, the run recorded {row['sha256']}. "
                    f"Bring it back from a copy, or score again into another --out."
                )
        return self.files.height

    def _scan_block(
        self, files: pl.DataFrame, bounds: tuple[int, int | None] | None
    ) -> pl.LazyFrame:
        """Scan files of one block, in plan order, the chromosome taken from the file list.

        Polars could take it from the folder names, but would then trip over a `key=value` folder
        above the run.
        """
        bin_bp = self.manifest.bin_bp
        chroms = self._chrom_type()
        parts = []
        for (chrom,), group in files.group_by(["chrom"], maintain_order=True):
            paths = [self._checked_path(row) for row in group.iter_rows(named=True)]
            frame = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
            if bounds is not None:
                frame = frame.filter(pl.col("start") > bounds[0] - bin_bp)
            if bounds is not None and bounds[1] is not None:
                frame = frame.filter(pl.col("start") < bounds[1])
            keys = (
                pl.lit(chrom, dtype=chroms).alias("chrom"),
                (pl.col("start") + bin_bp).alias("end"),
            )
            parts.append(frame.with_columns(*keys))
        return parts[0] if len(parts) == 1 else pl.concat(parts)

    def _checked_path(self, file: dict[str, object]) -> Path:
        # Polars passes over an empty file without a word, hence the comparison of sizes.
        path = self.path / str(file["path"])
        size = size_of(path)
        if size != file["bytes"]:
            found = "is missing" if size is None else f"has {size:,} bytes"
            raise StorageError(
                f"{path} {found}, the run recorded {file['bytes']:,} bytes. Bring it back from a "
                f"copy, or score again into another --out."
            )
        return path

    def _resolve(self, region: Region) -> tuple[str, int, int | None]:
        known = self.chromosomes
        if isinstance(region, str):
            # Names of HLA contigs look like loci: the name of a chromosome is one, whole.
            region = (region, 0, None) if region in known else parse_locus(region)
        if isinstance(region, tuple):
            name, start, end = region
        else:
            name, start, end = region.chrom, region.start, region.end
        if end is not None and end <= start:
            raise CoordinateError(
                f"region {name} {start}-{end} (0-based half-open) is empty; its end must lie after "
                f"its start"
            )
        chrom = match_chromosome(name, known)
        if chrom is None:
            more = ", ..." if len(known) > 30 else ""
            raise UnknownChromosome(
                f"the run in {self.path} has no chromosome {name!r}.{near_matches(name, known)} It "
                f"covers {', '.join(known[:30])}{more}."
            )
        return chrom, start, end

    def _chrom_type(self) -> pl.Enum:
        return pl.Enum(self.chromosomes)

    def _empty(self, columns: Sequence[str]) -> pl.LazyFrame:
        keys = {"chrom": self._chrom_type(), "start": pl.Int32(), "end": pl.Int32()}
        return pl.LazyFrame(schema=keys | dict.fromkeys(columns, pl.Float32()))


def open_run(path: str | Path, *, allow_unsealed: bool = False) -> Run:
    """Open a run for queries.

    Raises RunNotFound where there is no run, or one that is not sealed unless `allow_unsealed`;
    StorageError when its parts are damaged.
    """
    layout = RunLayout(run_root(path))
    manifest = read_manifest(layout)
    layout = RunLayout(layout.root, manifest.begun)
    sealed = layout.success.exists()
    if not sealed and not allow_unsealed:
        raise RunNotFound(
            f"{layout.root} holds a run that is not sealed: rows may be missing. Run the same "
            f"command again to finish it, or open it with allow_unsealed=True to read what is "
            f"there."
        )
    plan = read_plan(layout, manifest)
    tracks, blocks = read_tracks(layout, manifest)
    if sealed:
        files = read_table(layout.files)
    else:
        receipts = (read_committed(layout, shard) for shard in plan.spans)
        files = list_files([receipt for receipt in receipts if receipt is not None])
    return Run(
        path=layout.root,
        manifest=manifest,
        tracks=tracks,
        windows=pl.DataFrame(plan.table),
        files=pl.DataFrame(files),
        sealed=sealed,
        blocks=blocks,
    )
