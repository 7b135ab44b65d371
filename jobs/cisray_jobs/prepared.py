"""A scoring job whose inputs are open and whose shards are planned: what is said of every run.

Knows manifests, run directories, and what a plan tells of any run; knows nothing of tiles or
variants, nor of how a job comes to be prepared.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Protocol

from pydantic import JsonValue

from cisray.genome.reference import Genome
from cisray.inference.choose import Method
from cisray.inference.precision import Precision
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.store.kinds import kind_of
from cisray.store.manifest import RunManifest
from cisray.store.plan import Plan
from cisray.store.run import ShardSink
from cisray.store.sizes import estimate_bytes
from cisray.tracks import TrackSet
from cisray.version import __version__
from cisray_jobs.plan import Resources
from cisray_jobs.provenance import told_of_job
from cisray_jobs.scoring_job import Approach, ScoringJob


class Costs(Protocol):
    """What a run costs, and so with what it is computed, and how."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The model."""

    @property
    def tracks(self) -> TrackSet:
        """The tracks that are stored."""

    @property
    def approach(self) -> Approach:
        """How the run computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What any run will do. Rows are counted exactly, the rest is estimated."""

    job: str
    out: str
    model_sha256: str
    head: str
    tracks: int
    shards: int
    shards_done: int
    rows: int
    rows_left: int
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

    def told(self) -> dict[str, Any]:
        """Give the fields by name, for what says more."""
        return {field.name: getattr(self, field.name) for field in fields(Forecast)}


@dataclass(frozen=True)
class Prepared(ABC):
    """What is known of a run before it begins; `ScoringJob.carry_out` does it."""

    config: ScoringJob
    genome: Genome
    costs: Costs
    resources: Resources

    @property
    def approach(self) -> Approach:
        """How the run computes."""
        return self.costs.approach

    @property
    def tracks(self) -> TrackSet:
        """The tracks that are stored."""
        return self.costs.tracks

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """What the run owes."""

    @property
    @abstractmethod
    def table(self) -> str:
        """The format of the run's data."""

    @property
    @abstractmethod
    def blocks(self) -> dict[str, list[int]]:
        """The tracks of each file of a shard."""

    @property
    @abstractmethod
    def worker_bytes(self) -> int:
        """Estimate the memory of one worker, which holds the model, a pass and a shard."""

    @abstractmethod
    def settings(self) -> dict[str, JsonValue]:
        """Tell what else defines the results."""

    @abstractmethod
    def history(self) -> dict[str, JsonValue]:
        """Tell what else is worth knowing of how they came about."""

    @cached_property
    def manifest(self) -> RunManifest:
        """What the run directory will belong to."""
        checkpoint = self.costs.checkpoint
        known = {"model": checkpoint.digest, "fasta": self.genome.sha256}
        return RunManifest(
            job=self.config.job,
            table=self.table,
            config={
                "head": self.config.head,
                "tracks": len(self.tracks),
                "predictor": self.approach.predictor.method,
                "precision": self.approach.precision.precision,
                **self.settings(),
            },
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
            provenance={
                **told_of_job(self.config, self.config.files, known),
                "model": dict(checkpoint.provenance),
                "reasons": self.approach.reasons,
                **self.history(),
            },
        )

    def begin(self, *, restart: bool) -> ShardSink:
        """Start the run directory, or open the one that an earlier try left."""
        return ShardSink.begin(
            self.config.out,
            self.manifest,
            plan=self.plan,
            tracks=self.tracks,
            blocks=self.blocks,
            restart=restart,
        )

    def check_space(self, pending: Iterable[int], *, reclaimed: int = 0) -> None:
        """Raise StorageError if there is no room for the shards that are still to be written."""
        rows = [self.plan.spans[shard].rows for shard in pending]
        statistics = kind_of(self.manifest).statistics(self.manifest)
        columns = len(self.tracks) * (1 if statistics is None else len(statistics))
        self.config.check_space(self._bytes(rows), sum(rows), columns, reclaimed=reclaimed)

    def _bytes(self, rows: list[int]) -> int:
        return estimate_bytes(self.manifest, self.plan, self.blocks, rows)

    def forecast(self, done: Collection[int], *, flops: float, seconds: float) -> Forecast:
        """State what the run will do beside the shards that are done.

        What is left takes so many operations, and seconds of one worker.
        """
        spans = self.plan.spans
        rows_left = [span.rows for shard, span in spans.items() if shard not in done]
        predictor, precision = self.approach.predictor, self.approach.precision
        return Forecast(
            job=self.config.job,
            out=str(self.config.out),
            model_sha256=self.costs.checkpoint.digest,
            head=self.config.head,
            tracks=len(self.tracks),
            shards=len(spans),
            shards_done=len(done),
            rows=self.plan.rows,
            rows_left=sum(rows_left),
            estimated_bytes=self._bytes(rows_left),
            free_bytes=self.config.layout.folder.free_bytes(),
            teraflop=flops / 1e12,
            estimated_seconds=seconds / max(1, self.resources.workers),
            worker_bytes=self.worker_bytes,
            resources=self.resources,
            predictor=predictor.method,
            predictor_reason=predictor.reason,
            precision=precision.precision,
            precision_reason=precision.reason,
            mantissa_bits=self.config.mantissa_bits,
            max_relative_error=self.manifest.max_relative_error,
        )
