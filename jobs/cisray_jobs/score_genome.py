"""The job `cisray score genome`: tile chromosomes, predict every tile, write one sealed run.

Knows how the parts are put together; the parts (tiling, predicting, storing, supervising) live
in `cisray`. The same configuration, run again, finishes what an earlier run left.
"""

import hashlib
import logging
import platform
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator

from cisray.engine.progress import Display
from cisray.engine.task import Executor
from cisray.errors import ConfigError, RunNotFound, StorageError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed
from cisray.genome.windows import WindowSpec
from cisray.inference.precision import resolve_precision
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.registry import read_model
from cisray.scoring.plan import (
    MAX_TILES_PER_SHARD,
    cut_shards,
    group_regions,
    plan_tiles,
    tiles_per_shard,
)
from cisray.store.directory import check_free, has_run, read_manifest, require_same
from cisray.store.encode import FLOAT32_MANTISSA_BITS
from cisray.store.files import free_bytes
from cisray.store.layout import RunLayout, assign_blocks
from cisray.store.manifest import RunManifest
from cisray.store.plan import ShardPlan
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray.store.seal import RunSummary
from cisray.tracks import TrackSet
from cisray.version import __version__
from cisray_jobs.config import JobConfig, split_names
from cisray_jobs.devices import settle_device
from cisray_jobs.execute import open_executor, run_shards, shards_failed
from cisray_jobs.plan import (
    Resources,
    RunPlan,
    fit_memory,
    seconds_per_tile,
    spread,
    stored_bytes,
    worker_bytes,
)
from cisray_jobs.tile_task import TileTask
from cisray_jobs.units import size
from cisray_schemas.genome_tracks import GENOME_TRACKS

Auto = Literal["auto"]

log = logging.getLogger(__name__)


class ScoreGenome(JobConfig):
    """What to score, with what, into which run; and how to spread the work.

    The first group of fields defines the results and so the identity of the run; the second may
    differ between a run and its resumption.
    """

    model: Path
    fasta: Path
    out: Path
    head: str = "human"
    tracks: tuple[str, ...] = ()
    chromosomes: tuple[str, ...] = ()
    bed: Path | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    mantissa_bits: int = Field(10, ge=1, le=FLOAT32_MANTISSA_BITS)
    tiles_per_shard: Annotated[int, Field(le=MAX_TILES_PER_SHARD)] | Auto = "auto"

    workers: int | Auto = "auto"
    device: str = "auto"
    num_gpus: float | None = Field(None, ge=0, allow_inf_nan=False)
    threads: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    shard_timeout: float | None = Field(None, gt=0, allow_inf_nan=False)
    address: str | None = None
    restart: bool = False

    @field_validator("tracks", "chromosomes", mode="before")
    @classmethod
    def _one_or_several(cls, value: object, info: ValidationInfo) -> object:
        """Take one name for a list of one, chromosomes with commas between, and numbers as names.

        Chromosomes are often called 1 or 22, and tracks by their index.
        """
        if isinstance(value, str) and info.field_name == "chromosomes":
            return split_names(value)
        if isinstance(value, str) or type(value) is int:
            return (str(value),)
        if isinstance(value, list | tuple):
            return tuple(str(v) if type(v) is int else v for v in value)
        return value

    @field_validator("tiles_per_shard", "threads", "batch_size", "workers", mode="before")
    @classmethod
    def _number_or_auto(cls, value: object) -> object:
        """Say in one sentence what pydantic says once for each of the two types."""
        if value == "auto" or (
            isinstance(value, str | int) and re.fullmatch(r"[+-]?\d+", str(value))
        ):
            return value
        raise ValueError("must be a whole number or auto")

    @field_validator("tiles_per_shard", "threads", "batch_size")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or auto")
        return value

    @field_validator("workers")
    @classmethod
    def _not_negative(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("must be 0 (this process), 1 or more, or auto")
        return value

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        if self.chromosomes and self.bed:
            raise ConfigError(
                "Give --chromosomes or --bed, not both: the BED already names its chromosomes."
            )
        return self

    def prepare(self) -> "PreparedGenome":
        """Open and check every input, and plan the tiles, before anything is computed."""
        device = settle_device(
            self.device,
            self.workers,
            num_gpus=self.num_gpus,
            address=self.address,
            shard_timeout=self.shard_timeout,
        )
        checkpoint = read_model(self.model)
        checkpoint.config.check_head(self.head)
        tracks = checkpoint.tracks[self.head]
        config = checkpoint.config
        spec = WindowSpec(config.input_bp, config.bin_bp, config.target_bins)
        genome = Genome.open(self.fasta)
        resources = self._resources(device)
        flops = config.forward_flops(self.head)
        size = _given(self.tiles_per_shard) or self._size_of_run_there()
        size = size or tiles_per_shard(seconds_per_tile(flops, resources))
        tiles = plan_tiles(genome, spec, self._wanted(genome))
        prepared = PreparedGenome(
            config=self,
            checkpoint=checkpoint,
            genome=genome,
            tracks=tracks.select(self.tracks) if self.tracks else tracks,
            plan=ShardPlan(cut_shards(tiles, size), spec.bin_bp),
            tiles_per_shard=size,
            resources=resources,
        )
        if self.workers == "auto" and device == "cpu":
            return replace(prepared, resources=fit_memory(resources, prepared.worker_bytes))
        return prepared

    def _resources(self, device: str) -> Resources:
        return spread(
            device=device,
            workers=_given(self.workers),
            threads=_given(self.threads),
            num_gpus=self.num_gpus,
            batch=_given(self.batch_size),
        )

    def run(self, display: Display = Display.AUTO) -> RunSummary:
        """Score what is pending and seal the run. Raises ShardsFailed naming what could not be."""
        prepared = self.prepare()
        with ExitStack() as opened:
            engine = opened.enter_context(ExitStack())
            executor: Executor | None = None
            if self.restart:
                # The old run goes only when nothing foreseeable stands in the way of the new one.
                every = list(prepared.plan.spans)
                prepared.check_space(every, reclaimed=_data_bytes(self.out))
                executor = engine.enter_context(self._executor(prepared, len(every)))
            sink = opened.enter_context(prepared.begin(restart=self.restart))
            pending = sink.pending()
            if pending:
                if executor is None:
                    prepared.check_space(pending)
                    executor = engine.enter_context(self._executor(prepared, len(pending)))
                self._score(prepared, executor, sink, pending, display)
            engine.close()
            return sink.seal()

    def _executor(
        self, prepared: "PreparedGenome", shards: int
    ) -> AbstractContextManager[Executor]:
        return open_executor(
            prepared.resources,
            shards=shards,
            address=self.address,
            shard_timeout_s=self.shard_timeout,
        )

    def _score(
        self,
        prepared: "PreparedGenome",
        executor: Executor,
        sink: ShardSink,
        pending: list[int],
        display: Display,
    ) -> None:
        task = TileTask(
            run=self.out.absolute(),
            model=self.model.absolute(),
            fasta=self.fasta.absolute(),
            device=prepared.resources.device,
            precision=resolve_precision(self.precision),
            batch_size=prepared.resources.batch_size,
        )
        outcome = run_shards(executor, task, pending, display=display)
        for failure in outcome.failed:
            try:
                sink.record_failure(failure.shard, failure.reason, failure.attempts)
            except StorageError as error:
                # What failed is said below; a note of it that cannot be kept must not replace it.
                log.warning("the failure of shard %d is not on record: %s", failure.shard, error)
        if outcome.failed:
            raise shards_failed(outcome, self.out)

    def _wanted(self, genome: Genome) -> dict[str, list[Interval] | None]:
        """Name the chromosomes to tile, in the order of the FASTA, and regions where given."""
        if self.bed:
            regions = group_regions(read_bed(self.bed, genome))
            return {chrom: regions[chrom] for chrom in genome.chromosomes if chrom in regions}
        asked = {genome.resolve(name) for name in self.chromosomes} or genome.chromosomes.keys()
        return {chrom: None for chrom in genome.chromosomes if chrom in asked}

    def _size_of_run_there(self) -> int | None:
        """Keep the shards of a run that is being resumed, even on a machine of another speed."""
        if self.restart:
            return None
        try:
            found = read_manifest(RunLayout(self.out)).config.get("tiles_per_shard")
        except RunNotFound:
            return None
        return found if isinstance(found, int) else None


@dataclass(frozen=True)
class PreparedGenome:
    """A job whose inputs are open and whose tiles are planned."""

    config: ScoreGenome
    checkpoint: Checkpoint
    genome: Genome
    tracks: TrackSet
    plan: ShardPlan
    tiles_per_shard: int
    resources: Resources

    @cached_property
    def manifest(self) -> RunManifest:
        """What the run directory will belong to."""
        return RunManifest(
            job="score-genome",
            table=GENOME_TRACKS.format,
            config=self._settings(),
            model_sha256=self.checkpoint.digest,
            genome_sha256=self.genome.sha256,
            tracks_sha256=self.tracks.sha256,
            plan_sha256=self.plan.sha256,
            num_shards=self.plan.num_shards,
            bin_bp=self.plan.bin_bp,
            mantissa_bits=self.config.mantissa_bits,
            code_version=__version__,
            genome=self.genome.path.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            provenance={
                "command": self.config.model_dump(mode="json", exclude_defaults=True),
                "model": dict(self.checkpoint.provenance),
                "host": platform.node(),
                "python": platform.python_version(),
            },
        )

    def _settings(self) -> dict[str, JsonValue]:
        bed = self.config.bed
        return {
            "head": self.config.head,
            "tracks": len(self.tracks),
            "precision": resolve_precision(self.config.precision),
            "tiles_per_shard": self.tiles_per_shard,
            "chromosomes": list(self.plan.chromosomes),
            "bed_sha256": hashlib.sha256(bed.read_bytes()).hexdigest() if bed else None,
        }

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

    def check_space(self, pending: Sequence[int], *, reclaimed: int = 0) -> None:
        """Raise StorageError if the disk cannot hold the shards that are still to be written.

        `reclaimed` bytes of the disk will have become free when they are.
        """
        rows = sum(self.plan.spans[shard].rows for shard in pending)
        needed = stored_bytes(rows * len(self.tracks), self.config.mantissa_bits)
        free = free_bytes(self.config.out) + reclaimed
        if needed > free:
            raise StorageError(
                f"The run needs about {size(needed)} more ({rows:,} rows x {len(self.tracks):,} "
                f"tracks), but {self.config.out} has {size(free)} free. Make space, select fewer "
                "--tracks or --chromosomes, lower --mantissa-bits, or write to another disk."
            )

    @property
    def worker_bytes(self) -> int:
        """Estimate the memory of one worker, which holds the model, a batch and a shard."""
        config = self.checkpoint.config
        rows = max((span.rows for span in self.plan.spans.values()), default=0)
        return worker_bytes(
            weights=sum(tensor.numel() for tensor in self.checkpoint.state.values()),
            stem_values=self.resources.batch_size * config.input_bp * config.stem_channels,
            shard_values=rows * len(self.tracks),
        )

    def summary(self) -> RunPlan:
        """State what the run will do and roughly what it will cost. Writes nothing.

        Raises RunConflict where the run itself would: for a directory of something else.
        """
        done = self._shards_done()
        left = sum(span.rows for shard, span in self.plan.spans.items() if shard not in done)
        scored = self.plan.table.filter(self.plan.table["scored"])
        tiles_left = sum(shard not in done for shard in scored["shard"].to_pylist())
        flops = self.checkpoint.config.forward_flops(self.config.head)
        seconds = seconds_per_tile(flops, self.resources) * tiles_left
        return RunPlan(
            job="score-genome",
            out=str(self.config.out),
            model_sha256=self.checkpoint.digest,
            head=self.config.head,
            tracks=len(self.tracks),
            chromosomes=len(self.plan.chromosomes),
            tiles=self.plan.table.num_rows,
            tiles_without_acgt=self.plan.table.num_rows - scored.num_rows,
            shards=len(self.plan.spans),
            shards_done=len(done),
            tiles_per_shard=self.tiles_per_shard,
            rows=self.plan.rows,
            rows_left=left,
            estimated_bytes=stored_bytes(left * len(self.tracks), self.config.mantissa_bits),
            free_bytes=free_bytes(self.config.out),
            teraflop=flops * tiles_left / 1e12,
            estimated_seconds=seconds / max(1, self.resources.workers),
            worker_bytes=self.worker_bytes,
            resources=self.resources,
            precision=resolve_precision(self.config.precision),
            mantissa_bits=self.config.mantissa_bits,
        )

    def _shards_done(self) -> set[int]:
        layout = RunLayout(self.config.out)
        check_free(layout)
        if self.config.restart or not has_run(layout):
            return set()
        require_same(layout, read_manifest(layout), self.manifest)
        return set(open_run(layout.root, allow_unsealed=True).files["shard"].to_list())


def _data_bytes(out: Path) -> int:
    """Count the bytes of the data files of a run."""
    return sum(file.stat().st_size for file in RunLayout(out).data.rglob("*.parquet"))


def _given(value: int | str) -> int | None:
    return value if isinstance(value, int) else None
