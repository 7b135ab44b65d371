"""Where shards are done, in a worker or in this process: each try is timed and named in the log.

Knows tasks, the stopwatch and log fields; knows nothing of Ray. What a worker is sent is an
`Assignment`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from cisray import logs
from cisray.engine.attempt import Fault, open_task, try_shard
from cisray.engine.task import Receipt, RunLabel, ShardTask, ShardWork
from cisray.errors import EngineError
from cisray.stopwatch import Lap, Stopwatch, running

AfterAttempt = Callable[[Receipt | Fault, Mapping[Lap, float]], None]
"""Takes what an attempt came to, and the seconds since the last one that came to something."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task as it is sent to a worker, with what the driver calls it and how it writes its log."""

    task: ShardTask
    label: RunLabel
    log: logs.LogSettings | None

    @classmethod
    def here(cls, task: ShardTask, label: RunLabel) -> Self:
        """Send a task with the log settings of this process."""
        return cls(task, label, logs.chosen())

    def set_up_log(self, *, worker: str) -> None:
        """Write this process's log as the driver writes its own, to the stderr that Ray keeps."""
        logs.adopt(self.log, run=self.label.run, worker=worker)


def _ignore(outcome: Receipt | Fault, seconds: Mapping[Lap, float]) -> None:
    """Do nothing with what an attempt came to."""


class Station:
    """A task that is opened once, and the stopwatch that runs from then on."""

    def __init__(self, task: ShardTask, after_attempt: AfterAttempt = _ignore) -> None:
        """Keep the task; `open` loads it."""
        self._task = task
        self._after_attempt = after_attempt
        self._work: ShardWork | None = None
        self._watch = Stopwatch("idle")

    def open(self) -> Fault | None:
        """Open the task; None when it is open."""
        self._watch = Stopwatch("open")
        opened = open_task(self._task)
        self._watch.turn("idle")
        if isinstance(opened, Fault):
            return opened
        self._work = opened
        return None

    def do(self, shard: int) -> Receipt | Fault:
        """Do one shard once.

        While it is done `stopwatch.measured` tells where the time went since the last shard that
        came to something: opening and waiting are of the shard that follows.
        """
        if self._work is None:
            raise EngineError(f"shard {shard} reached a worker that has not opened its task")
        self._watch.turn("other")
        with running(self._watch), logs.here(shard=shard):
            outcome = try_shard(self._work, shard)
        self._watch.turn("idle")
        if isinstance(outcome, Fault):
            self._watch.fail()
            self._after_attempt(outcome, {})
        else:
            self._after_attempt(outcome, self._watch.take())
        return outcome
