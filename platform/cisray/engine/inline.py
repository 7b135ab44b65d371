"""Running the shards of a task in this process, one after the other, without Ray.

The executor of zero workers: for small runs, unit tests and a debugger that stops inside the work.
Judges errors as the pool does; what it cannot survive is the death of the process itself.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from cisray import logs
from cisray.engine.attempt import Fault
from cisray.engine.ledger import Ledger
from cisray.engine.station import Station
from cisray.engine.task import (
    NO_LABEL,
    OnDone,
    OnProgress,
    Progress,
    RunLabel,
    RunSummary,
    ShardTask,
    ignore_progress,
    ignore_receipt,
)
from cisray.errors import EngineError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InlineExecutor:
    """Do shards here and now; a shard is tried up to `max_attempts` times."""

    max_attempts: int = 3

    def run(
        self,
        task: ShardTask,
        shards: Iterable[int],
        *,
        label: RunLabel = NO_LABEL,
        on_done: OnDone = ignore_receipt,
        on_progress: OnProgress = ignore_progress,
    ) -> RunSummary:
        """Do every shard once, or report it as failed; see `task.Executor.run`.

        Progress is reported before the first shard and after each one. Nothing is exported here,
        so that the label is not needed. KeyboardInterrupt goes through to the caller.
        """
        started = time.monotonic()
        ledger = Ledger(shards, max_attempts=self.max_attempts)

        def report() -> None:
            on_progress(_progress(ledger, time.monotonic() - started))

        station = Station(task)
        if not ledger.is_settled:
            _open(station)
        report()
        while not ledger.is_settled:
            shard = ledger.take()
            outcome = station.do(shard)
            if isinstance(outcome, Fault):
                _record(ledger, shard, outcome)
            else:
                ledger.settle(shard)
                on_done(shard, outcome)
            report()
        return RunSummary(
            done=ledger.done,
            failed=tuple(ledger.failed),
            retries=ledger.retries,
            workers_lost=0,
            wall_s=time.monotonic() - started,
        )


def _open(station: Station) -> None:
    fault = station.open()
    if fault is not None:
        fault.raise_if_stopping()
        raise EngineError(f"the task could not be opened: {fault.reason}")


def _record(ledger: Ledger, shard: int, fault: Fault) -> None:
    """Count a failed attempt, or raise what ends the run."""
    fault.raise_if_stopping()
    if fault.breaks_process:
        raise EngineError(
            f"shard {shard} lost the CUDA context of this process, in which nothing more can run: "
            f"{fault.reason}. Run the same command again; finished shards are kept."
        )
    failure = ledger.blame(shard, fault.reason, "application")
    if failure is not None:
        with logs.here(shard=shard):
            log.error("shard %d given up after %d tries: %s", shard, failure.attempts, fault.reason)


def _progress(ledger: Ledger, elapsed_s: float) -> Progress:
    return Progress(
        total=ledger.total,
        done=ledger.done,
        failed=len(ledger.failed),
        in_flight=ledger.in_flight,
        workers=1,
        retries=ledger.retries,
        elapsed_s=elapsed_s,
    )
