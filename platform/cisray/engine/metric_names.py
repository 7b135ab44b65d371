"""The metrics that cisray exports by way of Ray, each with its unit in its name.

Knows names, tags and words; knows nothing of Ray. `docs/observability.md` shows the same table, and
the dashboard in `deploy/grafana` asks for these names: tests hold all three together. Tags are of
few values: a run, its kind, a host, a state; never a shard.
"""

from dataclasses import dataclass
from typing import Literal

from cisray.stopwatch import LAPS

PREFIX = "ray_"  # Ray puts it before every name


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: a counter only grows in each process, a gauge says how it is now."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    tags: tuple[str, ...]
    says: str
    bounds: tuple[float, ...] = ()

    @property
    def exported(self) -> tuple[str, ...]:
        """The names under which Prometheus finds it."""
        name = PREFIX + self.name
        if self.kind == "histogram":
            return tuple(f"{name}_{part}" for part in ("bucket", "sum", "count"))
        return (name,)


_RUN = ("run", "kind")
_WORKER = (*_RUN, "host")

SHARDS = Metric(
    "cisray_run_shards", "gauge", (*_RUN, "state"),
    "Shards of the run: waiting, in_flight, done or failed (given up)",
)  # fmt: skip
WORKERS = Metric("cisray_run_workers", "gauge", _RUN, "Workers that have opened the task")
RETRIES = Metric(
    "cisray_run_retries", "gauge", _RUN, "Attempts that followed one that failed or was lost"
)
ROWS = Metric("cisray_rows_total", "counter", _WORKER, "Rows of shards that were finished")
SECONDS = Metric(
    "cisray_worker_seconds_total", "counter", (*_WORKER, "lap"),
    f"Where the time of workers went: {', '.join(LAPS)}",
)  # fmt: skip
SHARD_SECONDS = Metric(
    "cisray_shard_seconds", "histogram", _RUN,
    "Seconds that a finished shard took its worker, without waiting for it",
    (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)  # fmt: skip
FAULTS = Metric(
    "cisray_attempts_failed_total", "counter", _WORKER, "Attempts that raised; the worker went on"
)
GPU = Metric(
    "cisray_gpu_utilisation_percent", "gauge", _WORKER,
    "Mean utilisation of a worker's GPU over its last shard, where it can be measured",
)  # fmt: skip
TRAIN_STEP = Metric("cisray_train_steps", "gauge", _RUN, "Steps of training that were done")
TRAIN_LOSS = Metric(
    "cisray_train_loss", "gauge", (*_RUN, "head"), "Loss of the last step of a head"
)
TRAIN_SPEED = Metric(
    "cisray_train_examples_per_second", "gauge", _RUN, "Speed of the last step, all workers"
)

METRICS = (
    SHARDS, WORKERS, RETRIES, ROWS, SECONDS, SHARD_SECONDS, FAULTS, GPU, TRAIN_STEP, TRAIN_LOSS,
    TRAIN_SPEED,
)  # fmt: skip
