"""A job over variants whose inputs are open and whose rows are planned.

Knows plans, costs, manifests and samples; knows nothing of where variants come from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from pydantic import JsonValue

from cisray.genome.reference import Genome
from cisray.genome.windows import Placement
from cisray.inference.choose import Method
from cisray.inference.precision import Precision
from cisray.scoring.planned import Planned, SiteCount
from cisray.scoring.variants import EffectOptions
from cisray.store.keyed_plan import KeyedPlan
from cisray.store.layout import assign_blocks
from cisray.store.manifest import RunManifest
from cisray.store.run import ShardSink
from cisray.store.sizes import estimate_bytes
from cisray.tracks import TrackSet
from cisray.version import __version__
from cisray_jobs.effect_costs import EffectCosts
from cisray_jobs.effect_settings import EffectSettings
from cisray_jobs.gradient_costs import GradientCosts, GradientPlan
from cisray_jobs.plan import Resources, speed
from cisray_jobs.row_check import RowSample
from cisray_jobs.row_task import RowTask
from cisray_jobs.scoring_job import (
    Approach,
)


@dataclass(frozen=True, slots=True)
class Cut:
    """How much a shard may hold: so much work, so many rows."""

    gigaflop: float
    rows: int


@dataclass(frozen=True, slots=True)
class EffectPlan:
    """What a run over variants will do. Rows and windows are counted exactly, the rest estimated.

    `windows` are reference passes, `alternates` distinct alleles; rows of one allele share both.
    `gradients` are there where alleles are scored by them, `sites` where rows are of sites.
    """

    job: str
    out: str
    model_sha256: str
    head: str
    tracks: int
    statistics: tuple[str, ...]
    entries: int
    scored: int
    rejected: Mapping[str, int]
    sites: SiteCount | None
    windows: int
    alternates: int
    gradients: GradientPlan | None
    members: int
    placement: Placement
    indels: str
    shards: int
    shards_done: int
    rows: int
    rows_left: int
    rows_to_check: int
    estimated_bytes: int
    free_bytes: int | None
    teraflop: float
    estimated_seconds: float
    worker_bytes: int
    resources: Resources
    predictor: Method
    predictor_reason: str
    precision: Precision
    precision_reason: str
    mantissa_bits: int
    max_relative_error: float


@dataclass(frozen=True)
class PreparedEffects:
    """A job whose inputs are open and whose rows are planned."""

    config: EffectSettings
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
            "bins": self.config.counted_bins(self.bins),
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
            "rows": self.plan.rows,
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
            blocks=self._blocks,
            restart=restart,
        )

    def check_space(self, pending: Iterable[int], *, reclaimed: int = 0) -> None:
        """Raise StorageError if the disk cannot hold the shards that are still to be written."""
        rows = self._rows_of(pending)
        columns = len(self.config.columns) * len(self.tracks)
        needed = self._file_bytes(rows)
        self.config.check_space(needed, sum(rows), columns, reclaimed=reclaimed)

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
        pending = [shard for shard in self.plan.spans if shard not in done]
        rows_left = self._rows_of(pending)
        left = sum(rows_left) / max(1, self.plan.rows)
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
            scored=self.planned.scored,
            rejected=self.rejected,
            sites=self.planned.sites,
            windows=self.planned.windows,
            alternates=self.planned.alternates,
            gradients=self.costs.told if isinstance(self.costs, GradientCosts) else None,
            members=self.costs.members,
            placement=self.config.window_placement,
            indels=self.options.policy.value,
            shards=self.plan.num_shards,
            shards_done=len(done),
            rows=self.plan.rows,
            rows_left=sum(rows_left),
            rows_to_check=checks,
            estimated_bytes=self._file_bytes(rows_left),
            free_bytes=self.config.layout.folder.free_bytes(),
            teraflop=(left * self.costs.work(*work) + passes) / 1e12,
            estimated_seconds=seconds / max(1, self.resources.workers),
            worker_bytes=self.worker_bytes,
            resources=self.resources,
            predictor=self.approach.predictor.method,
            predictor_reason=self.approach.predictor.reason,
            precision=self.approach.precision.precision,
            precision_reason=self.approach.precision.reason,
            mantissa_bits=self.config.mantissa_bits,
            max_relative_error=self.manifest.max_relative_error,
        )

    def _covered_bp(self) -> int:
        """Estimate the bases under all windows: what the shards span, and a window for each."""
        input_bp = self.costs.checkpoint.config.input_bp
        return sum(span.end - span.start + input_bp for span in self.plan.spans.values())

    def _rows_of(self, shards: Iterable[int]) -> list[int]:
        return [self.plan.spans[shard].rows for shard in shards]

    def _file_bytes(self, rows: list[int]) -> int:
        return estimate_bytes(self.manifest, self.plan, self._blocks, rows)

    @property
    def _blocks(self) -> dict[str, list[int]]:
        return assign_blocks(self.tracks, len(self.config.columns))
