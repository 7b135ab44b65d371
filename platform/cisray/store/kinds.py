"""The kinds of run that there are, and everything in which they differ.

Knows every kind of plan and of data file; what a run is made from says which kind it is
(`kind_of`). Nothing else in the store asks.
"""

from dataclasses import dataclass
from typing import Protocol

import pyarrow.parquet as pq

from cisray.errors import StorageError
from cisray.store.encode import EFFECT_PAGES, TRACK_PAGES, Pages
from cisray.store.keyed_plan import KeyedPlan
from cisray.store.layout import RunLayout, effect_path, track_path
from cisray.store.manifest import KeyedConfig, RunManifest
from cisray.store.plan import Plan, ShardSpan
from cisray.store.query import BinQuery, EffectQuery, RowQuery
from cisray.store.tile_plan import TilePlan
from cisray_schemas.genome_tracks import GENOME_TRACKS
from cisray_schemas.rejects import REJECTS
from cisray_schemas.saturation import SATURATION_SCORES, SUBSTITUTIONS
from cisray_schemas.table import Table
from cisray_schemas.variants import (
    VARIANT_SCORES,
    VARIANT_SITE_SCORES,
    VARIANT_SITES,
    VARIANTS,
)
from cisray_schemas.windows import WINDOWS


class Kind(Protocol):
    """One kind of run: its tables, its statistics, and how its files are written and found."""

    @property
    def data(self) -> Table:
        """What data files hold."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """What a run keeps beside its data: the table of the plan first."""

    @property
    def pages(self) -> Pages:
        """How data files are cut."""

    def statistics(self, manifest: RunManifest) -> list[str] | None:
        """The statistics that each track has a column for; None where a track is a column.

        Raises ValueError for a manifest that is not of this kind.
        """

    def partial(self, manifest: RunManifest) -> list[str]:
        """Those statistics of which values may be missing."""

    def read_plan(self, layout: RunLayout, manifest: RunManifest) -> Plan:
        """Read a run's plan. Raises OSError, ValueError and CoordinateError."""

    def data_path(self, block: str, span: ShardSpan, attempt: str) -> str:
        """Name the file of a block of a shard, below the run directory."""

    def query(self, plan: Plan, manifest: RunManifest) -> RowQuery:
        """Tell how rows are found."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Predictions along the genome: rows are the bins of tiles."""

    data: Table = GENOME_TRACKS
    tables: tuple[Table, ...] = (WINDOWS,)
    pages: Pages = TRACK_PAGES

    def statistics(self, manifest: RunManifest) -> None:
        """Give none: a track is one column."""

    def partial(self, manifest: RunManifest) -> list[str]:
        """Give none: every bin has a value."""
        return []

    def read_plan(self, layout: RunLayout, manifest: RunManifest) -> TilePlan:
        """Read the tiles."""
        with layout.file(layout.table(WINDOWS)).open() as stream:
            return TilePlan(pq.ParquetFile(stream).read(), manifest.bin_bp)

    def data_path(self, block: str, span: ShardSpan, attempt: str) -> str:
        """Name a file below `data/tracks`."""
        return track_path(block, span, attempt)

    def query(self, plan: Plan, manifest: RunManifest) -> BinQuery:
        """Find bins by their place."""
        return BinQuery(plan.chromosomes, manifest.bin_bp)


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects of variants or substitutions: rows are known by the keys of a plan."""

    data: Table
    plan: Table
    pages: Pages = EFFECT_PAGES

    @property
    def tables(self) -> tuple[Table, ...]:
        """The plan, and what is not in it."""
        return self.plan, REJECTS

    def statistics(self, manifest: RunManifest) -> list[str]:
        """List what the run's configuration says."""
        return KeyedConfig.of(manifest).statistics

    def partial(self, manifest: RunManifest) -> list[str]:
        """List what the run's configuration says."""
        return KeyedConfig.of(manifest).partial

    def read_plan(self, layout: RunLayout, manifest: RunManifest) -> KeyedPlan:
        """Open the plan; none of its rows is read."""
        file, rejects = (layout.file(layout.table(table)) for table in self.tables)
        return KeyedPlan(file, self.plan, self.data, rejects)

    def data_path(self, block: str, span: ShardSpan, attempt: str) -> str:
        """Name a file below `data/effects`."""
        return effect_path(block, span, attempt)

    def query(self, plan: Plan, manifest: RunManifest) -> EffectQuery:
        """Find variants by their reference alleles."""
        return EffectQuery(plan.chromosomes, self.data)


_KINDS: dict[str, Kind] = {
    kind.data.format: kind
    for kind in (
        Bins(),
        Effects(VARIANT_SCORES, VARIANTS),
        Effects(VARIANT_SITE_SCORES, VARIANT_SITES),
        Effects(SATURATION_SCORES, SUBSTITUTIONS),
    )
}
# Every table that some kind of run keeps beside its data.
PLAN_TABLES = tuple(dict.fromkeys(table for kind in _KINDS.values() for table in kind.tables))


def kind_of(manifest: RunManifest) -> Kind:
    """Tell the kind of a run. Raises StorageError for one that this version does not know."""
    kind = _KINDS.get(manifest.table)
    if kind is None:
        raise StorageError(
            f"the run holds rows of {manifest.table}, which this version of cisray does not know "
            f"({', '.join(_KINDS)}). Read it with the version that wrote it, "
            f"{manifest.code_version}, or start again with --restart."
        )
    return kind
