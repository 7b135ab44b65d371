"""Frames as scans of variant and saturation runs give them, and runs that are no more than that.

Knows the columns; values are made by formulas, so that a test can tell what any reader must find.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from store_runs import make_manifest, make_tracks

from cisray.store.export.columns import Scores
from cisray.store.manifest import RunManifest
from cisray.tracks import TrackSet

LENGTHS = {"chr2": 5_000, "chr10": 3_000, "chrM": 700}
CHROMS = pl.Enum(list(LENGTHS))
PROVENANCE = {"cisray_run": "score-variants-0123456789ab", "cisray_model_sha256": "ab" * 32}
# variant, chrom, pos, ref, alt, id, source chrom, pos, ref, alt, missing bp. Entry 4 was given
# unnormalised and under another name of the chromosome; 2 and 6 are the same variant.
ROWS = (
    (3, "chr2", 17, "A", "G", "rs3", "chr2", 17, "A", "G", 0),
    (4, "chr2", 120, "AT", "A", "", "2", 122, "TTT", "TT", 0),
    (2, "chr2", 130, "C", "T", "rs2;x", "chr2", 130, "C", "T", 12),
    (6, "chr2", 130, "C", "T", None, "chr2", 130, "C", "T", 12),
    (0, "chr10", 5, "G", "GCC", ".", "chr10", 5, "G", "GCC", 0),
    (9, "chr10", 5, "G", "T", "rs9", "chr10", 5, "G", "T", 0),
)
KEYS = {
    "variant": pl.Int64, "chrom": CHROMS, "pos": pl.Int32, "ref": pl.String, "alt": pl.String,
    "id": pl.String, "source_chrom": pl.String, "source_pos": pl.Int64, "source_ref": pl.String,
    "source_alt": pl.String, "missing_bp": pl.Int32,
}  # fmt: skip
STATS = ("SAD", "SAD_sd", "gradSAD")


def value(variant: int, stat: str, track: int) -> np.float32:
    """The score of an entry: no two are equal, and most need nine digits."""
    return np.float32((variant + 1) / 7 * 10.0 ** (3 * STATS.index(stat) - 4) * (track - 6.5))


def variant_frame(tracks: TrackSet | None = None, stats: Sequence[str] = STATS) -> pl.LazyFrame:
    held = (make_tracks() if tracks is None else tracks).indices.tolist()
    frame = pl.DataFrame(ROWS, schema=KEYS, orient="row")
    columns = [
        pl.Series(f"{s}_t{t:04d}", [value(row[0], s, t) for row in ROWS], pl.Float32)
        for s in stats
        for t in held
    ]
    return frame.with_columns(columns).lazy()


def variant_scores(**options) -> Scores:
    tracks = make_tracks()
    return Scores.of(variant_frame(tracks, **options), tracks, PROVENANCE)


# number, name, first base, base after the last; every variant of `ROWS` has rows at both.
SITES = ((1, "TSS 2;x=y", 40, 41), (4, "", 100, 300))


def site_value(variant: int, stat: str, track: int, site: int) -> np.float32:
    return np.float32(value(variant, stat, track) * (2 if site == 1 else -3))


def site_scores() -> Scores:
    """Scores at two sites: each row of `ROWS` twice."""
    tracks = make_tracks()
    rows = [(*row, *site) for row in ROWS for site in SITES]
    keys = KEYS | {
        "site": pl.Int32, "site_name": pl.String, "site_start": pl.Int32, "site_end": pl.Int32,
    }  # fmt: skip
    columns = [
        pl.Series(f"{s}_t{t:04d}", [site_value(r[0], s, t, r[11]) for r in rows], pl.Float32)
        for s in STATS
        for t in tracks.indices.tolist()
    ]
    frame = pl.DataFrame(rows, schema=keys, orient="row").with_columns(columns)
    return Scores.of(frame.lazy(), tracks, PROVENANCE)


def effect(region: int, position: int, alt: str, track: int) -> float:
    """The effect of one substitution; exact in float32."""
    return (position % 16 - 5) * ("ACGT".index(alt) + 1) / 8 + track / 4 + region


# number, chromosome, position of the first base, reference; N has no rows.
REGIONS = ((0, "chr2", 101, "ACGTNTTGCA"), (1, "chr2", 106, "TTGCACC"), (2, "chr10", 40, "GATTACA"))


def saturation_frame(regions=REGIONS) -> pl.LazyFrame:
    tracks = make_tracks().indices.tolist()
    rows = [
        (number, number, chrom, first + i, ref, alt,
         *(effect(number, first + i, alt, track) for track in tracks))
        for number, chrom, first, bases in regions
        for i, ref in enumerate(bases)
        for alt in "ACGT"
        if ref not in ("N", alt)
    ]  # fmt: skip
    keys = {
        "variant": pl.Int64, "region": pl.Int32, "chrom": CHROMS, "pos": pl.Int32,
        "ref": pl.String, "alt": pl.String,
    }  # fmt: skip
    values = {f"SAD_t{track:04d}": pl.Float32 for track in tracks}
    frame = pl.DataFrame(rows, schema=keys | values, orient="row")
    return frame.sort("chrom", "pos", "ref", "alt", "variant").lazy()


def saturation_scores(regions=REGIONS) -> Scores:
    return Scores.of(saturation_frame(regions), make_tracks(), PROVENANCE)


@dataclass(frozen=True)
class FrameRun:
    """A sealed run, as far as exports read one, over a frame in memory."""

    path: Path
    frame: pl.LazyFrame
    table: str
    genome_sha256: str = "cd" * 32
    tracks: TrackSet = field(default_factory=make_tracks)

    @property
    def manifest(self) -> RunManifest:
        return make_manifest(table=self.table, genome_sha256=self.genome_sha256)

    def scan(self, tracks=None, region=None, stats=None) -> pl.LazyFrame:
        """Select; `region` is `CHROM:FIRST-LAST`, 1-based, met by the first base of a row."""
        names = self.frame.collect_schema().names()
        held = self.tracks.select(tracks).columns if tracks else self.tracks.columns
        wanted = [f"{s}_{t}" for s in stats or STATS for t in held]
        keys = [name for name in names if "_t" not in name]
        frame = self.frame.select(*keys, *(name for name in names if name in wanted))
        if region is None:
            return frame
        chrom, _, span = region.partition(":")
        first, last = map(int, span.split("-"))
        return frame.filter(pl.col("chrom") == chrom, pl.col("pos").is_between(first, last))
