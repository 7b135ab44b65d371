"""The job `cisray score genome`: tile chromosomes, predict every tile, write one sealed run.

Knows how the parts are put together; the parts (tiling, predicting, storing, supervising) live
in `cisray`, and what other scoring jobs do alike in `scoring_job`. The same configuration, run
again, finishes what an earlier run left.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from cisray.engine.progress import Display
from cisray.errors import ConfigError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed
from cisray.genome.windows import WindowSpec
from cisray.model.registry import read_model
from cisray.scoring.plan import (
    MAX_TILES_PER_SHARD,
    cut_shards,
    group_regions,
    plan_tiles,
    tiles_per_shard,
)
from cisray.scoring.tiles import stretches
from cisray.store.directory import check_free
from cisray.store.layout import assign_blocks
from cisray.store.manifest import RunManifest
from cisray.store.run import ShardSink
from cisray.store.seal import RunSummary
from cisray.store.sizes import estimate_bytes
from cisray.store.tile_plan import TilePlan
from cisray.tracks import TrackSet
from cisray.version import __version__
from cisray_jobs.checks import SelfCheckSummary
from cisray_jobs.config import split_names
from cisray_jobs.plan import (
    Resources,
    RunPlan,
    fit_memory,
    speed,
)
from cisray_jobs.scoring_job import (
    Approach,
    Auto,
    ScoringJob,
    at_least_one,
    given,
    one_or_several,
    whole_or_auto,
)
from cisray_jobs.tile_check import TileSample
from cisray_jobs.tile_costs import TileCosts
from cisray_jobs.tile_task import TileTask, planned_windows
from cisray_schemas.genome_tracks import GENOME_TRACKS


@dataclass(frozen=True, slots=True)
class ScoredGenome(RunSummary):
    """What a sealed run consists of, and what its self-check found."""

    tiles_scored: int
    tiles_skipped: int
    self_check: SelfCheckSummary


class ScoreGenome(ScoringJob):
    """Which tiles to score, besides what every scoring job is told."""

    narrowed_by: ClassVar[str] = "--tracks, --chromosomes or --bed"

    chromosomes: tuple[str, ...] = ()
    bed: Path | None = None
    tiles_per_shard: Annotated[int, Field(le=MAX_TILES_PER_SHARD)] | Auto = "auto"

    @field_validator("chromosomes", mode="before")
    @classmethod
    def _one_or_several_names(cls, value: object) -> object:
        """Take names with commas between, and numbers: chromosomes are often called 1 or 22."""
        return split_names(value) if isinstance(value, str) else one_or_several(value)

    @field_validator("tiles_per_shard", mode="before")
    @classmethod
    def _whole_tiles(cls, value: object) -> object:
        return whole_or_auto(value)

    @field_validator("tiles_per_shard")
    @classmethod
    def _a_tile_at_least(cls, value: int | str) -> int | str:
        return at_least_one(value)

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        if self.chromosomes and self.bed:
            raise ConfigError(
                "Give --chromosomes or --bed, not both: the BED already names its chromosomes."
            )
        return self

    def prepare(self) -> "PreparedGenome":
        """Open and check every input, and plan the tiles, before anything is computed."""
        device = self.settled_device()
        check_free(self.layout)
        checkpoint = read_model(self.model)
        config = checkpoint.config
        config.check_head(self.head)
        tracks = checkpoint.tracks[self.head]
        tracks = tracks.select(self.tracks) if self.tracks else tracks
        spec = WindowSpec(config.input_bp, config.bin_bp, config.target_bins)
        genome = Genome.open(self.fasta)
        costs = TileCosts(checkpoint, tracks, self.approach(checkpoint, device, "tracks"))
        resources = self.spread_over(device)
        size = given(self.tiles_per_shard) or self._size_of_run_there()
        size = size or tiles_per_shard(lambda n: costs.tile.of(n) / costs.speed(resources))
        tiles = plan_tiles(genome, spec, self._wanted(genome))
        prepared = PreparedGenome(
            config=self,
            genome=genome,
            costs=costs,
            plan=TilePlan(cut_shards(tiles, size), spec.bin_bp),
            tiles_per_shard=size,
            resources=resources,
        )
        if self.workers == "auto" and device == "cpu":
            return replace(prepared, resources=fit_memory(resources, prepared.worker_bytes))
        return prepared

    def run(self, display: Display = Display.AUTO) -> ScoredGenome:
        """Score what is pending and seal the run.

        Raises ShardsFailed naming what could not be scored, and SelfCheckFailed.
        """
        prepared = self.prepare()
        done = self.carry_out(prepared, display, unit="tile")
        return ScoredGenome(
            **asdict(done.sealed),
            tiles_scored=prepared.plan.tiles_scored,
            tiles_skipped=prepared.plan.tiles_skipped,
            self_check=done.self_check,
        )

    def foresee(self) -> RunPlan:
        """State what the run will do; see `PreparedGenome.summary`."""
        return self.prepare().summary()

    def _wanted(self, genome: Genome) -> dict[str, list[Interval] | None]:
        """Name the chromosomes to tile, in the order of the FASTA, and regions where given."""
        if self.bed:
            regions = group_regions(read_bed(self.bed, genome))
            return {chrom: regions[chrom] for chrom in genome.chromosomes if chrom in regions}
        asked = {genome.resolve(name) for name in self.chromosomes} or genome.chromosomes.keys()
        return {chrom: None for chrom in genome.chromosomes if chrom in asked}

    def _size_of_run_there(self) -> int | None:
        """Keep the shards of a run that is being resumed, even on a machine of another speed."""
        found = self.setting_there("tiles_per_shard")
        return found if isinstance(found, int) else None


@dataclass(frozen=True)
class PreparedGenome:
    """A job whose inputs are open and whose tiles are planned."""

    config: ScoreGenome
    genome: Genome
    costs: TileCosts
    plan: TilePlan
    tiles_per_shard: int
    resources: Resources

    @property
    def approach(self) -> Approach:
        """How tiles are predicted."""
        return self.costs.approach

    @property
    def tracks(self) -> TrackSet:
        """The tracks that are stored."""
        return self.costs.tracks

    @cached_property
    def manifest(self) -> RunManifest:
        """What the run directory will belong to."""
        checkpoint = self.costs.checkpoint
        return RunManifest(
            job="score-genome",
            table=GENOME_TRACKS.format,
            config=self._settings(),
            model_sha256=checkpoint.digest,
            genome_sha256=self.genome.sha256,
            tracks_sha256=self.tracks.sha256,
            plan_sha256=self.plan.sha256,
            num_shards=self.plan.num_shards,
            bin_bp=self.plan.bin_bp,
            mantissa_bits=self.config.mantissa_bits,
            code_version=__version__,
            genome=self.genome.path.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            provenance=self.config.history(
                checkpoint,
                {"reasons": self.costs.approach.reasons, "self_check": self.sample.told()},
            ),
        )

    def _settings(self) -> dict[str, JsonValue]:
        bed = self.config.bed
        return {
            "head": self.config.head,
            "tracks": len(self.tracks),
            "predictor": self.costs.approach.predictor.method,
            "precision": self.costs.approach.precision.precision,
            "tiles_per_shard": self.tiles_per_shard,
            "chromosomes": list(self.plan.chromosomes),
            "bed_sha256": hashlib.sha256(bed.read_bytes()).hexdigest() if bed else None,
        }

    @cached_property
    def sample(self) -> TileSample:
        """The tiles that are checked; none where the plain predictor itself is used."""
        return TileSample.draw(
            self.plan,
            self.costs.checkpoint.digest,
            self.config.self_check if self.costs.is_fast else "off",
            self.costs.approach.precision.precision,
        )

    @cached_property
    def sampled(self) -> Mapping[int, int]:
        """Count the tiles to check of each shard that has some."""
        return self.sample.by_shard(self.plan)

    @property
    def task(self) -> TileTask:
        """What the workers do."""
        config, approach = self.config, self.costs.approach
        return TileTask(
            place=config.place,
            method=approach.predictor.method,
            precision=approach.precision.precision,
            batch_size=self.resources.batch_size,
            sample=self.sample,
        )

    def begin(self, *, restart: bool) -> ShardSink:
        """Start the run directory, or open the one that an earlier try left."""
        return ShardSink.begin(
            self.config.out,
            self.manifest,
            plan=self.plan,
            tracks=self.tracks,
            blocks=assign_blocks(self.tracks),
            restart=restart,
        )

    def check_space(self, pending: Iterable[int], *, reclaimed: int = 0) -> None:
        """Raise StorageError if the disk cannot hold the shards that are still to be written."""
        rows = self._rows_of(pending)
        needed = self._file_bytes(rows)
        self.config.check_space(needed, sum(rows), len(self.tracks), reclaimed=reclaimed)

    def _rows_of(self, shards: Iterable[int]) -> list[int]:
        return [self.plan.spans[shard].rows for shard in shards]

    def _file_bytes(self, rows: list[int]) -> int:
        return estimate_bytes(self.manifest, self.plan, assign_blocks(self.tracks), rows)

    @property
    def worker_bytes(self) -> int:
        """Estimate the memory of one worker, which holds the model, a pass and a shard."""
        rows = max((span.rows for span in self.plan.spans.values()), default=0)
        return self.costs.worker_bytes(self.resources, rows, checks=bool(self.sample.tiles))

    def summary(self) -> RunPlan:
        """State what the run will do and roughly what it will cost. Writes nothing.

        Raises RunConflict where the run itself would: for a directory of something else.
        """
        done = self.config.shards_done(self.manifest, self.sampled)
        left = [shard for shard in self.plan.spans if shard not in done]
        windows = [planned_windows(self.plan.tiles(shard), self.plan.bin_bp) for shard in left]
        rows_left = self._rows_of(left)
        checks = sum(self.sample.holds(window) for shard in windows for window, _ in shard)
        costs, table = self.costs, self.plan.table
        flops = sum(costs.tile.of(len(s)) for shard in windows for s in stretches(shard))
        plain_speed = speed(self.resources, "plain", "float32")
        seconds = flops / costs.speed(self.resources) + checks * costs.plain_flops / plain_speed
        return RunPlan(
            job="score-genome",
            out=str(self.config.out),
            model_sha256=costs.checkpoint.digest,
            head=self.config.head,
            tracks=len(self.tracks),
            chromosomes=len(self.plan.chromosomes),
            tiles=table.num_rows,
            tiles_without_acgt=table.num_rows - table.filter(table["scored"]).num_rows,
            shards=len(self.plan.spans),
            shards_done=len(done),
            tiles_per_shard=self.tiles_per_shard,
            rows=self.plan.rows,
            rows_left=sum(rows_left),
            tiles_to_check=checks,
            estimated_bytes=self._file_bytes(rows_left),
            free_bytes=self.config.layout.folder.free_bytes(),
            teraflop=(flops + checks * costs.plain_flops) / 1e12,
            estimated_seconds=seconds / max(1, self.resources.workers),
            worker_bytes=self.worker_bytes,
            resources=self.resources,
            predictor=costs.approach.predictor.method,
            predictor_reason=costs.approach.predictor.reason,
            precision=costs.approach.precision.precision,
            precision_reason=costs.approach.precision.reason,
            mantissa_bits=self.config.mantissa_bits,
            max_relative_error=self.manifest.max_relative_error,
        )
