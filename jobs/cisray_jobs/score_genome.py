"""The job `cisray score genome`: tile chromosomes, predict every tile, write one sealed run.

Knows how the parts are put together; the parts (tiling, predicting, storing, supervising) live
in `cisray`, and what other scoring jobs do alike in `scoring_job`. The same configuration, run
again, finishes what an earlier run left.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
from cisray.store.seal import RunSummary
from cisray.store.tile_plan import TilePlan
from cisray_jobs.checks import SelfCheckSummary
from cisray_jobs.config import split_names
from cisray_jobs.plan import fit_memory, speed
from cisray_jobs.prepared import Forecast, Prepared
from cisray_jobs.provenance import digest_of, now
from cisray_jobs.scoring_job import (
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan(Forecast):
    """What a run along a genome will do. Tiles and rows are counted exactly, the rest estimated."""

    chromosomes: int
    tiles: int
    tiles_without_acgt: int
    tiles_per_shard: int
    tiles_to_check: int


class ScoreGenome(ScoringJob):
    """Which tiles to score, besides what every scoring job is told."""

    job: ClassVar[str] = "score-genome"
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

    @property
    def files(self) -> dict[str, Path]:
        """The files that go in."""
        return super().files | ({"bed": self.bed} if self.bed else {})

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
            tiles=TilePlan(cut_shards(tiles, size), spec.bin_bp),
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
        session = now()
        prepared = self.prepare()
        done = self.carry_out(prepared, display, unit="tile", session=session)
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
class PreparedGenome(Prepared):
    """A job whose inputs are open and whose tiles are planned."""

    config: ScoreGenome
    costs: TileCosts
    tiles: TilePlan
    tiles_per_shard: int

    @property
    def plan(self) -> TilePlan:
        """The tiles, and which are scored."""
        return self.tiles

    @property
    def table(self) -> str:
        """The format of the run's data."""
        return GENOME_TRACKS.format

    @property
    def blocks(self) -> dict[str, list[int]]:
        """The tracks of each file of a shard."""
        return assign_blocks(self.tracks)

    def settings(self) -> dict[str, JsonValue]:
        """Tell which tiles there are, and how they are cut."""
        bed = self.config.bed
        return {
            "tiles_per_shard": self.tiles_per_shard,
            "chromosomes": list(self.plan.chromosomes),
            "bed_sha256": digest_of(bed) if bed else None,
        }

    def history(self) -> dict[str, JsonValue]:
        """Tell how much is checked."""
        return {"self_check": self.sample.told()}

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

    def task(self, session: str) -> TileTask:
        """What the workers do for a driver that began then."""
        config, approach = self.config, self.costs.approach
        return TileTask(
            place=config.place(session),
            method=approach.predictor.method,
            precision=approach.precision.precision,
            batch_size=self.resources.batch_size,
            sample=self.sample,
        )

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
        checks = sum(self.sample.holds(window) for shard in windows for window, _ in shard)
        costs, table = self.costs, self.plan.table
        flops = sum(costs.tile.of(len(s)) for shard in windows for s in stretches(shard))
        passes = checks * costs.plain_flops
        checking = passes / speed(self.resources, "plain", "float32")
        forecast = self.forecast(
            done,
            flops=flops + passes,
            seconds=flops / costs.speed(self.resources) + checking,
        )
        return RunPlan(
            **forecast.told(),
            chromosomes=len(self.plan.chromosomes),
            tiles=table.num_rows,
            tiles_without_acgt=table.num_rows - table.filter(table["scored"]).num_rows,
            tiles_per_shard=self.tiles_per_shard,
            tiles_to_check=checks,
        )
