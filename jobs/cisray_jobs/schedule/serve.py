"""A process that makes passes over a ledger until it is told to end.

Knows signals and waiting; knows nothing of what a pass does. Jobs live in sessions of their own:
they go on when this process ends, and the next one finds them.
"""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from types import FrameType

from cisray.errors import StorageError
from cisray_jobs.schedule.cron import times_after
from cisray_jobs.schedule.tick import Event, Ticker

_LOOK_S = 1.0

log = logging.getLogger(__name__)


@contextmanager
def ending() -> Iterator[Flag]:
    """Give a flag that SIGTERM and Ctrl-C set, until the block is left."""
    flag = Flag()

    def end(number: int, frame: FrameType | None) -> None:
        flag.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(ticker: Ticker, flag: Flag, every_s: float, tell: Callable[[Event], None]) -> None:
    """Make a pass at every time of a schedule, and every few seconds, until the flag is set.

    A pass that fails for want of disk or ledger is made again.
    """
    while not flag.is_set():
        try:
            for event in ticker.tick():
                tell(event)
            pause = min(every_s, _until_next(ticker))
        except StorageError as error:
            log.warning("a pass failed and will be made again: %s", error)
            pause = every_s
        flag.wait(pause)


def wait_for_all(
    ticker: Ticker, flag: Flag, only: str | None, tell: Callable[[Event], None], *, wait: bool
) -> list[Event]:
    """Make a pass, or with `wait` passes until nothing is in flight or the flag is set.

    What a pause holds back is not waited for. `only` one schedule is brought on, if it is given.
    """
    told: list[Event] = []
    while True:
        for event in ticker.tick(only):
            tell(event)
            told.append(event)
        if not wait or not ticker.ledger.is_busy(only) or flag.wait(_LOOK_S):
            return told


def _until_next(ticker: Ticker) -> float:
    """Tell the seconds to the next time of any schedule that is not paused."""
    now = ticker.clock.now()
    waits = [
        next(times_after(schedule.cron, schedule.timezone, now)) - now
        for schedule, paused in ticker.ledger.schedules()
        if not paused
    ]
    return min(waits, default=float("inf"))
