"""What every scoring job has in common: its options, how they are settled, and how it runs.

Knows models, devices and run directories; knows nothing of what is scored. A job adds its own
inputs and options to `ScoringJob`, and a plan of shards.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import torch
from pydantic import Field, JsonValue, field_validator

from cisray.engine.address import EMBEDDED, choose_address
from cisray.engine.progress import Display
from cisray.engine.task import Executor, RunLabel, ShardTask
from cisray.errors import RunNotFound, StorageError
from cisray.inference.choose import (
    Method,
    MethodChoice,
    choose_method,
    subtracting_precision,
)
from cisray.inference.precision import (
    PrecisionChoice,
    Purpose,
    choose_precision,
    multiplies_bfloat16,
)
from cisray.inference.selfcheck import SampleSize
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.registry import model_from_checkpoint
from cisray.store.directory import check_free, has_run, read_manifest, require_same
from cisray.store.encode import FLOAT32_MANTISSA_BITS
from cisray.store.layout import RunLayout
from cisray.store.locate import locate
from cisray.store.manifest import RunManifest
from cisray.store.plan import Plan
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray.store.seal import RunSummary
from cisray_jobs.checks import SelfCheckSummary, checked_first, refuse_unchecked, summarise
from cisray_jobs.config import JobConfig, MachineFolder, RunLocation
from cisray_jobs.devices import settle_device
from cisray_jobs.execute import open_executor, run_shards, shards_failed
from cisray_jobs.plan import Resources, spread
from cisray_jobs.units import size
from cisray_jobs.worker import Place

Auto = Literal["auto"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Approach:
    """How a run predicts, and why so; the choices, not the reasons, are part of its identity.

    `native`: the device has instructions for products of that precision.
    """

    predictor: MethodChoice
    precision: PrecisionChoice
    native: bool = True

    @property
    def reasons(self) -> dict[str, JsonValue]:
        """Why, for the manifest's provenance."""
        return {"predictor": self.predictor.reason, "precision": self.precision.reason}

    def log(self) -> None:
        """Tell both choices."""
        for name, value, reason in (
            ("predictor", self.predictor.method, self.predictor.reason),
            ("precision", self.precision.precision, self.precision.reason),
        ):
            log.info("%s: %s (%s)", name, value, reason)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sealed run consists of, and what its self-check found."""

    sealed: RunSummary
    self_check: SelfCheckSummary


class PreparedRun(Protocol):
    """A job whose inputs are open and whose shards are planned; `ScoringJob.carry_out` does it."""

    @property
    def approach(self) -> Approach:
        """How the run computes."""

    @property
    def plan(self) -> Plan:
        """What the run owes."""

    @property
    def resources(self) -> Resources:
        """How the work is spread."""

    @property
    def sampled(self) -> Mapping[int, int]:
        """How much of each shard the self-check takes, of those that it takes any of."""

    def task(self, session: str) -> ShardTask:
        """What the workers do for a driver that began then."""

    def begin(self, *, restart: bool) -> ShardSink:
        """Start the run directory, or open the one that an earlier try left."""

    def check_space(self, pending: Iterable[int], *, reclaimed: int = 0) -> None:
        """Raise StorageError if the disk cannot hold the shards that are still to be written."""


class ScoringJob(JobConfig):
    """What to score with, into which run; and how to spread the work.

    The first group of fields defines the results and so the identity of the run; the second may
    differ between a run and its resumption. `like` names a run whose choices are taken where ours
    are left open and depend on the machine: its precision, and how its work is cut into shards.
    """

    job: ClassVar[str]  # what it is called in manifests
    narrowed_by: ClassVar[str] = "--tracks"  # the options that make a run smaller

    model: Path
    fasta: Path
    out: RunLocation
    head: str = "human"
    tracks: tuple[str, ...] = ()
    predictor: Method = "fast"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    mantissa_bits: int = Field(10, ge=1, le=FLOAT32_MANTISSA_BITS)

    workers: int | Auto = "auto"
    device: str = "auto"
    num_gpus: float | None = Field(None, ge=0, allow_inf_nan=False)
    threads: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    self_check: SampleSize = "auto"
    shard_timeout: float | None = Field(None, gt=0, allow_inf_nan=False)
    address: str | None = None
    node_cache: MachineFolder | None = None
    restart: bool = False
    like: RunLocation | None = None

    @field_validator("tracks", mode="before")
    @classmethod
    def _one_or_several_tracks(cls, value: object) -> object:
        return one_or_several(value)

    @field_validator("threads", "batch_size", "workers", mode="before")
    @classmethod
    def _number_or_auto(cls, value: object) -> object:
        return whole_or_auto(value)

    @field_validator("self_check", mode="before")
    @classmethod
    def _number_auto_or_off(cls, value: object) -> object:
        """Take YAML's bare off, which it reads as false, for what it says."""
        if value is False:
            return "off"
        if value in ("auto", "off") or (_is_whole(value) and int(str(value)) > 0):
            return value
        raise ValueError("must be a whole number, at least 1, or auto, or off")

    @field_validator("threads", "batch_size")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        return at_least_one(value)

    @field_validator("workers")
    @classmethod
    def _not_negative(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError("must be 0 (this process), 1 or more, or auto")
        return value

    def settled_device(self) -> str:
        """Resolve the device of the workers; refuse options that contradict each other."""
        return settle_device(
            self.device,
            self.workers,
            num_gpus=self.num_gpus,
            address=self.address,
            shard_timeout=self.shard_timeout,
        )

    def spread_over(self, device: str) -> Resources:
        """Choose workers, threads and batches where that was left to us."""
        return spread(
            device=device,
            workers=given(self.workers),
            threads=given(self.threads),
            num_gpus=self.num_gpus,
            batch=given(self.batch_size),
        )

    def approach(self, checkpoint: Checkpoint, device: str, purpose: Purpose) -> Approach:
        """Choose predictor and precision; a run that is resumed keeps the precision it has.

        What a cluster's devices can do is not asked: it follows from the kind of device. Where
        bfloat16 is not multiplied natively, the reason warns of it. Raises ConfigError for effects
        the plain way in bfloat16.
        """
        settled = torch.device(device)
        method = choose_method(model_from_checkpoint(checkpoint), self.predictor)
        if purpose == "effects" and method.method == "plain":
            return Approach(method, subtracting_precision(method, self.precision))
        is_here = self.workers == 0 or choose_address(self.address) == EMBEDDED
        is_open = self.precision == "auto" and purpose != "gradients"
        kept = self.kept_precision() if is_open else None
        wanted = self.precision if kept is None else kept[0]
        precision = choose_precision(wanted, settled, purpose, here=is_here)
        if kept is not None:
            precision = replace(precision, reason=f"auto: that of {kept[1]}")
        if precision.precision == "float32":
            return Approach(method, precision)
        native = multiplies_bfloat16(settled) if is_here else settled.type == "cuda"
        if not native:
            slow = f"{precision.reason}; without instructions for it on the {settled.type}, so slow"
            precision = replace(precision, reason=slow)
        return Approach(method, precision, native)

    def kept_precision(self) -> tuple[str, str] | None:
        """Look up the precision that another run has settled for this one, and name that run."""
        found = self.setting_there("precision")
        return (found, "the run to resume") if isinstance(found, str) else None

    def setting_there(self, name: str) -> JsonValue:
        """Look up a setting of the run that is being resumed, or else of the one to be `like`.

        None where there is none.
        """
        for run in (None if self.restart else self.out, self.like):
            if run is not None:
                with suppress(RunNotFound):
                    return read_manifest(RunLayout(locate(run))).config.get(name)
        return None

    def open_executor(self, resources: Resources, shards: int) -> AbstractContextManager[Executor]:
        """Be ready to do so many shards."""
        return open_executor(
            resources,
            shards=shards,
            address=self.address,
            shard_timeout_s=self.shard_timeout,
        )

    def carry_out(
        self, prepared: "PreparedRun", display: Display, *, unit: str, session: str
    ) -> Outcome:
        """Begin the run or go on with it, score what is pending, and seal it.

        `unit` is what the self-check takes samples of, `session` when this try began. Raises
        ShardsFailed naming what could not be scored, and SelfCheckFailed.
        """
        prepared.approach.log()
        with ExitStack() as opened:
            engine = opened.enter_context(ExitStack())
            executor: Executor | None = None
            if self.restart:
                # The old run goes only when nothing foreseeable stands in the way of the new one.
                every = list(prepared.plan.spans)
                prepared.check_space(every, reclaimed=data_bytes(self.layout))
                executor = engine.enter_context(self.open_executor(prepared.resources, len(every)))
            sink = opened.enter_context(prepared.begin(restart=self.restart))
            refuse_unchecked(sink.layout, prepared.sampled)
            pending = checked_first(sink.pending(), prepared.sampled)
            if pending:
                if executor is None:
                    prepared.check_space(pending)
                    executor = engine.enter_context(
                        self.open_executor(prepared.resources, len(pending))
                    )
                self.score_shards(executor, prepared.task(session), sink, pending, display)
            engine.close()
            sealed = sink.seal()
            found = summarise(sink.receipts(), sink.manifest, prepared.sampled, unit=unit)
            return Outcome(sealed, found)

    def shards_done(self, manifest: RunManifest, sampled: Mapping[int, int]) -> set[int]:
        """List the shards that a run with this manifest has done already.

        Raises RunConflict where the run itself would: for a directory of something else.
        """
        layout = self.layout
        check_free(layout)
        if self.restart or not has_run(layout):
            return set()
        there = read_manifest(layout)
        require_same(layout, there, manifest)
        refuse_unchecked(layout.of(there.begun), sampled)
        return set(open_run(layout.root, allow_unsealed=True).shards)

    @property
    def layout(self) -> RunLayout:
        """The names below `out`."""
        return RunLayout(locate(self.out))

    @property
    def files(self) -> dict[str, Path]:
        """The files that go in, by the option that names each; a job adds its own."""
        return {"model": self.model, "fasta": self.fasta}

    def place(self, session: str) -> Place:
        """Tell workers where everything is; the device is settled separately."""
        return Place(
            run=self.layout.root,
            model=self.model.absolute(),
            fasta=self.fasta.absolute(),
            device=self.settled_device(),
            session=session,
            node_cache=self.node_cache,
        )

    def score_shards(
        self,
        executor: Executor,
        task: ShardTask,
        sink: ShardSink,
        pending: list[int],
        display: Display,
    ) -> None:
        """Do the pending shards; put those that fail on record, and raise ShardsFailed for them."""
        label = RunLabel(sink.manifest.run_id, sink.manifest.job)
        outcome = run_shards(executor, task, pending, label=label, display=display)
        for failure in outcome.failed:
            try:
                sink.record_failure(failure.shard, failure.reason, failure.attempts)
            except StorageError as error:
                # What failed is said below; a note of it that cannot be kept must not replace it.
                log.warning("the failure of shard %d is not on record: %s", failure.shard, error)
        if outcome.failed:
            raise shards_failed(outcome, self.out)

    def check_space(self, needed: int, rows: int, columns: int, *, reclaimed: int = 0) -> None:
        """Raise StorageError if the disk cannot hold what is still to be written.

        That is `needed` bytes, of so many rows. `reclaimed` bytes of the disk will have become free
        when it is.
        """
        free = self.layout.folder.free_bytes()
        if free is not None and needed > free + reclaimed:
            raise StorageError(
                f"The run needs about {size(needed)} more ({rows:,} rows x {columns:,} columns), "
                f"but {self.out} has {size(free + reclaimed)} free. Make space, select less with "
                f"{self.narrowed_by}, lower --mantissa-bits, or write to another disk."
            )


def data_bytes(layout: RunLayout) -> int:
    """Count the bytes of the data files of a run."""
    return sum(layout.folder.below(layout.data).values())


def given(value: int | str) -> int | None:
    """Return a number that was given, or None where it was left to us."""
    return value if isinstance(value, int) else None


def one_or_several(value: object) -> object:
    """Take one name for a list of one, and numbers as names: tracks are called by their index.

    >>> one_or_several("CAGE"), one_or_several([4828, "5111"]), one_or_several(7)
    (('CAGE',), ('4828', '5111'), ('7',))
    """
    if isinstance(value, str) or type(value) is int:
        return (str(value),)
    if isinstance(value, list | tuple):
        return tuple(str(v) if type(v) is int else v for v in value)
    return value


def whole_or_auto(value: object) -> object:
    """Let whole numbers and auto pass; say in one sentence what pydantic says for each type.

    Raises ValueError for anything else.
    """
    if value == "auto" or _is_whole(value):
        return value
    raise ValueError("must be a whole number or auto")


def at_least_one(value: int | str) -> int | str:
    """Let numbers from 1 on and auto pass. Raises ValueError for others."""
    if isinstance(value, int) and value < 1:
        raise ValueError("must be at least 1, or auto")
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, str | int) and bool(re.fullmatch(r"[+-]?\d+", str(value)))
