"""Metrics of runs and of their workers, as Ray exports them to Prometheus.

Knows Ray's metrics and what the engine measures; what they are called is `metric_names`'s business.
Each is made where it is set, in a worker or in the driver: Ray's agent on that machine collects it.
Without an agent, as in an embedded Ray, they cost a few calls and are seen by nobody.
"""

import platform
from collections.abc import Mapping
from typing import Any

from cisray.engine import metric_names as names
from cisray.engine.attempt import Fault
from cisray.engine.metric_names import Metric
from cisray.engine.rayenv import meters
from cisray.engine.task import GPU_FACT, Progress, Receipt, RunLabel
from cisray.stopwatch import Lap

_BEFORE_THE_SHARD: frozenset[Lap] = frozenset(("open", "idle", "failed"))


class RunMetrics:
    """What the driver knows of a run."""

    def __init__(self, label: RunLabel) -> None:
        """Make them, with the tags of the run."""
        tags = _tags(label)
        self._shards, self._workers, self._retries = (
            _made(metric, tags) for metric in (names.SHARDS, names.WORKERS, names.RETRIES)
        )

    def set(self, progress: Progress) -> None:
        """Say how the run stands."""
        settled = progress.done + progress.failed
        for state, count in (
            ("waiting", progress.total - settled - progress.in_flight),
            ("in_flight", progress.in_flight),
            ("done", progress.done),
            ("failed", progress.failed),
        ):
            self._shards.set(count, {"state": state})
        self._workers.set(progress.workers)
        self._retries.set(progress.retries)


class WorkerMetrics:
    """What a worker knows of its shards."""

    def __init__(self, label: RunLabel) -> None:
        """Make them, with the tags of the run and of this host."""
        tags = {**_tags(label), "host": platform.node()}
        self._rows, self._seconds, self._faults, self._gpu = (
            _made(metric, tags) for metric in (names.ROWS, names.SECONDS, names.FAULTS, names.GPU)
        )
        self._shard_seconds = _made(names.SHARD_SECONDS, _tags(label))

    def after_attempt(self, outcome: Receipt | Fault, seconds: Mapping[Lap, float]) -> None:
        """Count what an attempt came to; see `station.AfterAttempt`."""
        if isinstance(outcome, Fault):
            self._faults.inc()
            return
        for lap, spent in seconds.items():
            _grow(self._seconds, spent, {"lap": lap})
        rows, gpu_percent = outcome.get("rows"), outcome.get(GPU_FACT)
        if isinstance(rows, int):
            _grow(self._rows, rows)
        if isinstance(gpu_percent, int | float):
            self._gpu.set(gpu_percent)
        of_the_shard = (s for lap, s in seconds.items() if lap not in _BEFORE_THE_SHARD)
        self._shard_seconds.observe(sum(of_the_shard))


class TrainMetrics:
    """What the first worker of a training run knows of its steps."""

    def __init__(self, label: RunLabel) -> None:
        """Make them, with the tags of the run."""
        tags = _tags(label)
        self._step, self._loss, self._speed = (
            _made(metric, tags)
            for metric in (names.TRAIN_STEP, names.TRAIN_LOSS, names.TRAIN_SPEED)
        )

    def after_step(self, record: Mapping[str, Any]) -> None:
        """Say what a step came to, by the record that is kept of it."""
        self._step.set(record["step"])
        self._loss.set(record["loss"], {"head": record["head"]})
        self._speed.set(record["examples_per_s"])


def _tags(label: RunLabel) -> dict[str, str]:
    return {"run": label.run, "kind": label.kind}


def _made(metric: Metric, tags: Mapping[str, str]) -> Any:
    """Make Ray's object of a metric, with the tags that do not change in this process."""
    kinds = {"counter": meters.Counter, "gauge": meters.Gauge}
    if metric.kind == "histogram":
        made = meters.Histogram(
            metric.name, metric.says, boundaries=list(metric.bounds), tag_keys=metric.tags
        )
    else:
        made = kinds[metric.kind](metric.name, metric.says, tag_keys=metric.tags)
    return made.set_default_tags(dict(tags))


def _grow(counter: Any, by: float, tags: Mapping[str, str] | None = None) -> None:
    """Count; Ray refuses to count nothing."""
    if by > 0:
        counter.inc(by, dict(tags) if tags else None)
