"""The words of the engine: a task, its receipts, failures, progress and the policy of a pool.

Knows nothing of Ray, and of a shard only its number. What a shard means, and where its output
goes, is the task's business.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from cisray.errors import ConfigError

Receipt = dict[str, object]
"""What a finished shard reports: JSON-able, small.

Of its keys the engine knows `rows`, which feeds the progress, and `GPU_FACT`.
"""

GPU_FACT = "gpu_percent"
"""The key of the mean utilisation of the GPU while the shard was computed, in percent."""

ShardWork = Callable[[int], Receipt]
"""Does one shard, writes its output itself, and returns the receipt."""

FailureKind = Literal["application", "infrastructure", "deadline"]


@dataclass(frozen=True, slots=True)
class RunLabel:
    """What a run is called in the names of its workers, in their log records and in metrics.

    `kind` is one of a few: what sort of job it is.
    """

    run: str = "run"
    kind: str = "run"


NO_LABEL = RunLabel()


class ShardTask(Protocol):
    """A picklable description of a job; a frozen dataclass of paths and numbers serves best."""

    def open(self) -> ShardWork:
        """Load once per worker what is heavy (model, genome) and return what does one shard.

        An `InputError` raised here or in a shard stops the whole run, and so does a
        `SelfCheckFailed`; any other exception counts as a failed start or a failed attempt.
        """
        ...


@dataclass(frozen=True, slots=True)
class ShardFailure:
    """A shard that was given up, and why: the last of its counted attempts."""

    shard: int
    reason: str
    attempts: int
    kind: FailureKind


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended: `done` + `len(failed)` is the number of shards handed in.

    `retries` counts the attempts that followed a blamed one, `workers_lost` the workers that died
    or were killed while they had something to do.
    """

    done: int
    failed: tuple[ShardFailure, ...]
    retries: int
    workers_lost: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; `workers` counts those that have opened the task."""

    total: int
    done: int
    failed: int
    in_flight: int
    workers: int
    retries: int
    elapsed_s: float


OnDone = Callable[[int, Receipt], None]
OnProgress = Callable[[Progress], None]


def ignore_receipt(shard: int, receipt: Receipt) -> None:
    """Do nothing with a receipt."""


def ignore_progress(progress: Progress) -> None:
    """Do nothing with a progress report."""


class Executor(Protocol):
    """Runs the shards of a task; the two implementations share one contract suite."""

    def run(
        self,
        task: ShardTask,
        shards: Iterable[int],
        *,
        label: RunLabel = NO_LABEL,
        on_done: OnDone = ignore_receipt,
        on_progress: OnProgress = ignore_progress,
    ) -> RunSummary:
        """Do every shard once, or report it as failed.

        `on_done` is called once per finished shard, in the order of completion, in the calling
        thread; `on_progress` at least once a second and at the end. An exception of either ends
        the run.

        Raises:
            InputError: raised by the task, of the class that the task raised.
            SelfCheckFailed: raised by the task, whose results cannot be trusted.
            StorageError: no space is left; nothing more is scheduled.
            EngineError: workers do not start, or were lost and did not come back.
            ValueError: a shard number is negative or occurs twice.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """How many workers, what each one gets, and when to give up.

    `workers` is the most that live at once (0: this process, no pool); the run goes on with
    whatever is alive. `queue` calls wait at each worker, so that it never idles between two shards.
    `max_attempts` bounds the counted attempts of a shard, whatever the reasons but one: the loss of
    the whole machine that it runs on, which may happen `max_node_losses` times. `threads` is per
    worker (None: as many as the libraries choose). Times are in seconds, None means without limit:
    `shard_timeout_s` for one shard, `open_timeout_s` for `ShardTask.open`, `capacity_timeout_s` for
    a pool in which nothing is alive. `num_cpus` is what Ray books per worker, not how many it may
    use.
    """

    workers: int
    queue: int = 2
    max_attempts: int = 3
    max_node_losses: int = 20
    max_start_failures: int = 3
    num_cpus: float = 0.5
    num_gpus: float = 0.0
    threads: int | None = None
    shard_timeout_s: float | None = None
    open_timeout_s: float | None = None
    capacity_timeout_s: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field and its value."""
        least: dict[str, float] = {
            "workers": 0,
            "queue": 1,
            "max_attempts": 1,
            "max_node_losses": 1,
            "max_start_failures": 1,
            "num_cpus": 0,
            "num_gpus": 0,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {bound:g}")
        for name in ("threads", "shard_timeout_s", "open_timeout_s", "capacity_timeout_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} is {value}; it must be above 0, or left out")
