"""From a run on the disk to what the writers take, and which formats fit which run.

Knows runs and their manifests; knows no file format.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, cast

import polars as pl

from cisray.errors import ConfigError
from cisray.store.export.columns import GenomeTracks, Scores
from cisray.store.manifest import RunManifest
from cisray.store.scan import Run
from cisray.version import __version__

Format = Literal["vcf", "hdf5", "bigwig", "bedgraph", "png", "svg", "delta"]
_FORMATS: Mapping[str, tuple[Format, ...]] = {
    "cisray.genome_tracks": ("bigwig", "bedgraph", "delta"),
    "cisray.variant_scores": ("vcf", "hdf5", "delta"),
    "cisray.variant_site_scores": ("vcf", "hdf5", "delta"),
    "cisray.saturation_scores": ("png", "svg", "vcf", "hdf5", "delta"),
}


class ScoresRun(Protocol):
    """A run of variants or of saturation, as far as exports read it."""

    def scan(
        self,
        tracks: Sequence[str] | None = None,
        region: str | None = None,
        stats: Sequence[str] | None = None,
    ) -> pl.LazyFrame:
        """Query the scores, sorted by chromosome, pos, ref, alt and variant."""


def check_format(run: Run, wanted: Format) -> None:
    """Refuse a format that does not fit the run. Raises ConfigError, which names those that do."""
    table = run.manifest.table
    fitting = _FORMATS.get(table.rpartition("/")[0], ())
    if wanted not in fitting:
        can = f"it can as {', '.join(fitting)}" if fitting else "nor as anything else yet"
        raise ConfigError(
            f"{run.path} holds the table {table}, which cannot be exported as {wanted}; {can}."
        )


def provenance_of(manifest: RunManifest) -> dict[str, str]:
    """Tell where the numbers come from, as names and texts that every file carries."""
    return {
        "cisray_run": manifest.run_id,
        "cisray_table": manifest.table,
        "cisray_model_sha256": manifest.model_sha256,
        "cisray_genome": manifest.genome,
        "cisray_genome_sha256": manifest.genome_sha256,
        "cisray_tracks_sha256": manifest.tracks_sha256,
        "cisray_mantissa_bits": str(manifest.mantissa_bits),
        "cisray_code_version": manifest.code_version,
        "cisray_export_version": __version__,
    }


def genome_tracks_of(
    run: Run, lengths: Mapping[str, int], *, tracks: Sequence[str] = (), region: str | None = None
) -> GenomeTracks:
    """Give the bins of a genome run that the selection and the region leave.

    A region takes every bin that it overlaps, whole. Raises what `Run.scan` raises.
    """
    selected = run.tracks.select(tracks) if tracks else run.tracks
    chromosomes = run.chromosomes
    if region is not None:
        met = run.scan(selected.columns[0], region).select(pl.col("chrom").unique()).collect()
        chromosomes = met["chrom"].cast(pl.String).to_list()
    return GenomeTracks(
        tuple(chromosomes),
        lambda chrom, column: run.scan(column, chrom if region is None else region),
        lengths,
        selected,
        provenance_of(run.manifest),
    )


def scores_of(
    run: Run,
    *,
    tracks: Sequence[str] = (),
    region: str | None = None,
    stats: Sequence[str] = (),
) -> Scores:
    """Give the scores of a variant or saturation run that the selections leave.

    Raises what the run's `scan` raises.
    """
    selected = run.tracks.select(tracks) if tracks else run.tracks
    frame = cast("ScoresRun", run).scan(
        tracks=list(tracks) or None, region=region, stats=list(stats) or None
    )
    return Scores.of(frame, selected, provenance_of(run.manifest))
