"""What `cisray score variants` and `cisray score saturation` have in common.

Knows how effects are asked for, planned into shards, and put into a run; knows nothing of where
variants come from. A job adds its inputs, and how they become rows (`plan_rows`).
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from cisray.engine.progress import Display
from cisray.errors import ConfigError, StorageError
from cisray.genome.reference import Genome
from cisray.genome.windows import Placement, WindowSpec, central_bins
from cisray.inference.ensemble import Ensemble
from cisray.inference.precision import Purpose
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.registry import read_model
from cisray.scoring.alignment import Policy
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.shards import MAX_ROWS, Cutting
from cisray.scoring.statistics import find
from cisray.scoring.variants import EffectOptions
from cisray.store.directory import check_free
from cisray.store.files import free_bytes
from cisray.store.keyed_plan import KeyedPlan
from cisray.store.layout import RunLayout, assign_blocks
from cisray.store.manifest import RunManifest
from cisray.store.run import ShardSink
from cisray.tracks import TrackSet
from cisray.version import __version__
from cisray_jobs.config import split_names
from cisray_jobs.effect_costs import EffectCosts, effect_file_bytes
from cisray_jobs.effect_summary import EffectPlan, ScoredEffects
from cisray_jobs.effect_task import EffectTask
from cisray_jobs.gradient_costs import GradientCosts
from cisray_jobs.plan import Resources, fit_memory, speed
from cisray_jobs.row_check import RowSample
from cisray_jobs.row_task import RowTask
from cisray_jobs.scoring_job import (
    Approach,
    Auto,
    ScoringJob,
    at_least_one,
    given,
    one_or_several,
    whole_or_auto,
)
from cisray_jobs.units import size

SHARD_SECONDS = 60.0
DEFAULT_STATISTICS = ("SAD", "SADR")


class EffectJob(ScoringJob):
    """Which numbers to compute for every variant, besides what every scoring job is told."""

    narrowed_by: ClassVar[str] = "--tracks or --stats"
    job: ClassVar[str]

    stats: tuple[str, ...] = DEFAULT_STATISTICS
    bins: int | Literal["all"] = "all"
    window_placement: Placement = "centered"
    indels: str = Policy.STITCH.value
    rc: bool = False
    shifts: tuple[int, ...] = (0,)
    std: bool = False
    strict: bool = False
    rows_per_shard: Annotated[int, Field(le=MAX_ROWS)] | Auto = "auto"

    @field_validator("stats", mode="before")
    @classmethod
    def _names_of_statistics(cls, value: object) -> object:
        return split_names(value) if isinstance(value, str) else one_or_several(value)

    @field_validator("stats")
    @classmethod
    def _known_statistics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        find(value)
        return value

    @field_validator("bins", mode="before")
    @classmethod
    def _number_or_all(cls, value: object) -> object:
        if value == "all" or (isinstance(value, str | int) and str(value).isdigit()):
            return value
        raise ValueError("must be an even number of bins around the variant, or all")

    @field_validator("shifts", mode="before")
    @classmethod
    def _numbers_with_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return (value,) if type(value) is int else value
        parts = [part.strip() for part in value.split(",")]
        if not all(re.fullmatch(r"[+-]?\d+", part) for part in parts):
            raise ValueError("must be whole numbers of bases with commas between, as 0,-43,43")
        return tuple(int(part) for part in parts)

    @field_validator("indels")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        return Policy.named(value).value

    @field_validator("rows_per_shard", mode="before")
    @classmethod
    def _whole_rows(cls, value: object) -> object:
        return whole_or_auto(value)

    @field_validator("rows_per_shard")
    @classmethod
    def _a_row_at_least(cls, value: int | str) -> int | str:
        return at_least_one(value)

    @model_validator(mode="after")
    def _options_that_fit(self) -> Self:
        self.options()
        return self

    def options(self) -> EffectOptions:
        """Say what is computed of every variant; raise ConfigError for what contradicts itself."""
        return EffectOptions(
            stats=self.stats,
            placement=self.window_placement,
            policy=Policy.named(self.indels),
            ensemble=Ensemble(self.rc, self.shifts),
            spread=self.std,
        )

    @abstractmethod
    def plan_rows(self, genome: Genome, files: PlanFiles, cutting: Cutting) -> Planned:
        """Turn the inputs into a plan of rows and a table of rejects."""

    @abstractmethod
    def told_inputs(self) -> dict[str, JsonValue]:
        """Name the inputs for the manifest's provenance."""

    @property
    def purpose(self) -> Purpose:
        """What the model is run for."""
        return "effects"

    @property
    def columns(self) -> tuple[str, ...]:
        """Name what every row gets for each track."""
        return self.options().columns

    @property
    def partial(self) -> tuple[str, ...]:
        """Name the columns that not every row has a value in."""
        return ()

    @property
    def task_type(self) -> Callable[..., RowTask]:
        """Give what makes the workers' task out of the fields that all tasks have."""
        return EffectTask

    @property
    def checked_unit(self) -> str:
        """Say what the self-check takes samples of."""
        return "variant"

    def told_check(self, sample: RowSample) -> dict[str, JsonValue]:
        """Describe the self-check for the manifest's provenance."""
        return sample.told()

    def own_settings(self) -> dict[str, JsonValue]:
        """Tell what else is part of the run's identity."""
        return {}

    def costs(self, effects: EffectCosts, genome: Genome) -> EffectCosts:
        """Say what the job costs, given what its effects would."""
        return effects

    @property
    @abstractmethod
    def source(self) -> str:
        """What the inputs are called in the table of rejects."""

    @contextmanager
    def prepared(self) -> Iterator["PreparedEffects"]:
        """Open and check every input, and plan all rows, before anything is computed.

        The plan lies in a temporary folder for the length of the block.
        """
        device = self.settled_device()
        check_free(RunLayout(self.out))
        checkpoint = read_model(self.model)
        checkpoint.config.check_head(self.head)
        tracks = checkpoint.tracks[self.head]
        tracks = tracks.select(self.tracks) if self.tracks else tracks
        spec = window_spec_of(checkpoint)
        options = self.options()
        options.ensemble.check_fits(spec)
        bins = range(spec.target_bins) if self.bins == "all" else central_bins(spec, self.bins)
        genome = Genome.open(self.fasta)
        effects = EffectCosts(
            checkpoint,
            tracks,
            self.approach(checkpoint, device, self.purpose),
            bins=len(bins),
            placement=self.window_placement,
            members=len(options.ensemble.members),
        )
        costs = self.costs(effects, genome)
        resources = self.spread_over(device)
        cut = self._cut(costs, resources)
        with TemporaryDirectory(prefix="cisray-plan-") as scratch:
            folder = Path(scratch)
            files = PlanFiles(
                folder / "plan.parquet", folder / "rejects.parquet", self.source, folder
            )
            cutting = Cutting(
                chromosomes=genome.chromosomes,
                spec=spec,
                placement=self.window_placement,
                seconds=lambda *work: costs.work(*work) / 1e9,
                shard_seconds=cut.gigaflop,
                max_rows=cut.rows,
            )
            planned = self.plan_rows(genome, files, cutting)
            planned = replace(planned, plan=planned.plan.with_rejects(files.rejects))
            prepared = PreparedEffects(
                config=self,
                genome=genome,
                costs=costs,
                planned=planned,
                resources=resources,
                bins=bins,
                cut=cut,
            )
            if self.workers == "auto" and device == "cpu":
                fitting = fit_memory(resources, prepared.worker_bytes)
                prepared = replace(prepared, resources=fitting)
            yield prepared

    def run(self, display: Display = Display.AUTO) -> ScoredEffects:
        """Score what is pending and seal the run.

        Raises ShardsFailed naming what could not be scored, and SelfCheckFailed.
        """
        with self.prepared() as prepared:
            done = self.carry_out(prepared, display, unit=self.checked_unit)
            return ScoredEffects(
                **asdict(done.sealed),
                entries=prepared.planned.entries,
                rejected=prepared.rejected,
                self_check=done.self_check,
            )

    def foresee(self) -> EffectPlan:
        """State what the run will do and roughly what it will cost. Writes nothing that stays."""
        with self.prepared() as prepared:
            return prepared.summary()

    def _cut(self, costs: EffectCosts, resources: Resources) -> "Cut":
        """Choose the size of a shard: that of a run that is resumed, or about a minute of work.

        A power of two of operations, so that a small change of the estimate seldom changes the
        plan; the plan of a machine of another speed is another plan, hence the run's own comes
        first.
        """
        rows = given(self.rows_per_shard)
        if rows is not None:
            return Cut(float(2**62), rows)
        kept = self.setting_there("gigaflop_per_shard")
        if isinstance(kept, int | float):
            return Cut(float(kept), MAX_ROWS)
        method, precision = costs.approach.predictor.method, costs.approach.precision.precision
        slow = min(speed(resources, method, p) for p in ("float32", precision))
        exponent = max(0, round_down_log2(SHARD_SECONDS * slow / 1e9))
        return Cut(float(2**exponent), MAX_ROWS)


@dataclass(frozen=True, slots=True)
class Cut:
    """How much a shard may hold: so much work, so many rows."""

    gigaflop: float
    rows: int


@dataclass(frozen=True)
class PreparedEffects:
    """A job whose inputs are open and whose rows are planned."""

    config: EffectJob
    genome: Genome
    costs: EffectCosts
    planned: Planned
    resources: Resources
    bins: range
    cut: Cut

    @property
    def approach(self) -> Approach:
        """How effects are computed."""
        return self.costs.approach

    @property
    def plan(self) -> KeyedPlan:
        """The rows that are scored."""
        return self.planned.plan

    @property
    def tracks(self) -> TrackSet:
        """The tracks that are stored."""
        return self.costs.tracks

    @cached_property
    def options(self) -> EffectOptions:
        """What is computed of every variant."""
        return self.config.options()

    @property
    def rejected(self) -> dict[str, int]:
        """Count rejects by reason."""
        return {str(reason): count for reason, count in self.planned.rejected.items()}

    @cached_property
    def manifest(self) -> RunManifest:
        """What the run directory will belong to."""
        checkpoint = self.costs.checkpoint
        return RunManifest(
            job=self.config.job,
            table=self.plan.data.format,
            config=self._settings(),
            model_sha256=checkpoint.digest,
            genome_sha256=self.genome.sha256,
            tracks_sha256=self.tracks.sha256,
            plan_sha256=self.plan.sha256,
            num_shards=self.plan.num_shards,
            bin_bp=checkpoint.config.bin_bp,
            mantissa_bits=self.config.mantissa_bits,
            code_version=__version__,
            genome=self.genome.path.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            provenance=self.config.history(
                checkpoint,
                {
                    "inputs": self.config.told_inputs(),
                    "rejected": dict(self.rejected),
                    "reasons": self.approach.reasons,
                    "self_check": self.config.told_check(self.sample),
                },
            ),
        )

    def _settings(self) -> dict[str, JsonValue]:
        ensemble = self.options.ensemble
        return {
            "head": self.config.head,
            "tracks": len(self.tracks),
            "statistics": list(self.config.columns),
            "partial": list(self.config.partial),
            "bins": [self.bins.start, self.bins.stop],
            "window_placement": self.config.window_placement,
            "indels": self.options.policy.value,
            "reverse_complement": ensemble.reverse_complement,
            "shifts": list(ensemble.shifts),
            "predictor": self.approach.predictor.method,
            "precision": self.approach.precision.precision,
            "gigaflop_per_shard": self.cut.gigaflop,
            "rows_per_shard": self.cut.rows,
            "entries": self.planned.entries,
            "scored": self.planned.scored,
            "rejected": self.planned.entries - self.planned.scored,
            "rejects_sha256": self.planned.rejects_sha256,
            **self.config.own_settings(),
        }

    @cached_property
    def sample(self) -> RowSample:
        """The rows that are checked; none where the plain way itself is used."""
        return RowSample.draw(
            self.plan,
            self.costs.checkpoint.digest,
            self.config.self_check if self.costs.is_fast else "off",
            self.approach.precision.precision,
        )

    @cached_property
    def sampled(self) -> Mapping[int, int]:
        """Count the rows to check of each shard that has some."""
        return self.sample.by_shard

    @property
    def task(self) -> RowTask:
        """What the workers do."""
        return self.config.task_type(
            place=self.config.place,
            method=self.approach.predictor.method,
            precision=self.approach.precision.precision,
            batch_size=self.resources.batch_size,
            options=self.options,
            bins=self.bins,
            sample=self.sample,
        )

    def begin(self, *, restart: bool) -> ShardSink:
        """Start the run directory, or open the one that an earlier try left."""
        return ShardSink.begin(
            self.config.out,
            self.manifest,
            plan=self.plan,
            tracks=self.tracks,
            blocks=assign_blocks(self.tracks, len(self.config.columns)),
            restart=restart,
        )

    def check_space(self, pending: Iterable[int], *, reclaimed: int = 0) -> None:
        """Raise StorageError if the disk cannot hold the shards that are still to be written."""
        needed = self._file_bytes(sum(self.plan.spans[shard].rows for shard in pending))
        free = free_bytes(self.config.out) + reclaimed
        if needed > free:
            raise StorageError(
                f"The run needs about {size(needed)} more, but {self.config.out} has {size(free)} "
                f"free. Make space, select less with {self.config.narrowed_by}, lower "
                "--mantissa-bits, or write to another disk."
            )

    @property
    def worker_bytes(self) -> int:
        """Estimate the memory of one worker, which holds the model, a window and a shard."""
        rows = max((span.rows for span in self.plan.spans.values()), default=0)
        columns = len(self.config.columns)
        checks = bool(self.sample.rows)
        return self.costs.worker_bytes(self.resources, rows, columns, checks=checks)

    def summary(self) -> EffectPlan:
        """State what the run will do and roughly what it will cost.

        Raises RunConflict where the run itself would: for a directory of something else.
        """
        done = self.config.shards_done(self.manifest, self.sampled)
        rows_left = sum(span.rows for shard, span in self.plan.spans.items() if shard not in done)
        left = rows_left / max(1, self.plan.rows)
        checks = sum(count for shard, count in self.sampled.items() if shard not in done)
        work = (self.planned.windows, self.planned.alternates, self._covered_bp())
        seconds = left * self.costs.seconds(self.resources, *work)
        passes = checks * self.costs.check_flops
        seconds += passes / speed(self.resources, "plain", "float32")
        return EffectPlan(
            job=self.config.job,
            out=str(self.config.out),
            model_sha256=self.costs.checkpoint.digest,
            head=self.config.head,
            tracks=len(self.tracks),
            statistics=self.config.columns,
            entries=self.planned.entries,
            rejected=self.rejected,
            windows=self.planned.windows,
            alternates=self.planned.alternates,
            gradients=self.costs.told if isinstance(self.costs, GradientCosts) else None,
            members=self.costs.members,
            placement=self.config.window_placement,
            indels=self.options.policy.value,
            shards=self.plan.num_shards,
            shards_done=len(done),
            rows=self.plan.rows,
            rows_left=rows_left,
            rows_to_check=checks,
            estimated_bytes=self._file_bytes(rows_left),
            free_bytes=free_bytes(self.config.out),
            teraflop=(left * self.costs.work(*work) + passes) / 1e12,
            estimated_seconds=seconds / max(1, self.resources.workers),
            worker_bytes=self.worker_bytes,
            resources=self.resources,
            predictor=self.approach.predictor.method,
            predictor_reason=self.approach.predictor.reason,
            precision=self.approach.precision.precision,
            precision_reason=self.approach.precision.reason,
            mantissa_bits=self.config.mantissa_bits,
        )

    def _covered_bp(self) -> int:
        """Estimate the bases under all windows: what the shards span, and a window for each."""
        input_bp = self.costs.checkpoint.config.input_bp
        return sum(span.end - span.start + input_bp for span in self.plan.spans.values())

    def _file_bytes(self, rows: int) -> int:
        values = rows * len(self.config.columns) * len(self.tracks)
        return effect_file_bytes(values, self.config.mantissa_bits)


def window_spec_of(checkpoint: Checkpoint) -> WindowSpec:
    """State a checkpoint's geometry as windows on a genome."""
    config = checkpoint.config
    return WindowSpec(config.input_bp, config.bin_bp, config.target_bins)


def round_down_log2(value: float) -> int:
    """Give the exponent of the largest power of two that is not above `value`, at least 1.

    >>> round_down_log2(1000.0)
    9
    """
    if value < 1:
        raise ConfigError(f"a shard of {value:g} operations has no work in it")
    return int(value).bit_length() - 1
