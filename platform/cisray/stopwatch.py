"""Where the time of a worker goes: a stopwatch that runs for one name at a time.

Knows names and seconds; knows nothing of what is done meanwhile. Laps nest, and a second counts for
the innermost one alone: laps add up to the time that has passed. Code that is worth a lap asks for
it without knowing whether anybody measures (`lap`); whoever runs it holds the watch (`running`).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Lap = Literal["open", "idle", "input", "model", "check", "write", "other", "failed"]
LAPS: Mapping[Lap, str] = {
    "open": "loading the model and opening the genome",
    "idle": "waiting for a shard",
    "input": "waiting for input: FASTA, variants, sequences of alleles",
    "model": "in the model, and statistics of what it predicts",
    "check": "in the self-check",
    "write": "encoding and writing",
    "other": "in a shard, and in none of these",
    "failed": "in attempts that failed, whose worker went on",
}
_NOT_OF_A_SHARD: frozenset[Lap] = frozenset(("open", "idle", "failed"))


class Stopwatch:
    """Seconds of each lap since the watch was made or taken from; for one thread.

    >>> times = iter([0.0, 2.0, 5.0, 5.5])
    >>> watch = Stopwatch("idle", clock=lambda: next(times))
    >>> watch.turn("model"), watch.turn("write")
    ('idle', 'model')
    >>> watch.seconds()
    {'idle': 2.0, 'model': 3.0, 'write': 0.5}
    """

    def __init__(self, lap: Lap, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to measure, for the named lap."""
        self._clock = clock
        self._lap: Lap = lap
        self._since = clock()
        self._seconds: dict[Lap, float] = {}

    def turn(self, lap: Lap) -> Lap:
        """Let the time from now on count for another lap, and name the one before."""
        before, now = self._lap, self._clock()
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._lap, self._since = lap, now
        return before

    def seconds(self) -> dict[Lap, float]:
        """Tell the seconds of every lap until now."""
        self.turn(self._lap)
        return dict(self._seconds)

    def take(self) -> dict[Lap, float]:
        """Tell the seconds as above, and begin again from zero."""
        taken = self.seconds()
        self._seconds = {}
        return taken

    def fail(self) -> None:
        """Count as failed what was measured of a shard: it has come to nothing."""
        seconds = self.seconds()
        lost = sum(spent for lap, spent in seconds.items() if lap not in _NOT_OF_A_SHARD)
        kept = {lap: spent for lap, spent in seconds.items() if lap in _NOT_OF_A_SHARD}
        self._seconds = {**kept, "failed": kept.get("failed", 0.0) + lost}


_running: ContextVar[Stopwatch | None] = ContextVar("cisray_stopwatch", default=None)


@contextmanager
def running(watch: Stopwatch) -> Iterator[None]:
    """Let `lap` and `measured` mean this watch for the length of a block, in this thread."""
    token = _running.set(watch)
    try:
        yield
    finally:
        _running.reset(token)


@contextmanager
def lap(name: Lap) -> Iterator[None]:
    """Count the time of a block for a lap, but for the laps within; nothing without a watch.

    Not for a block in which a generator yields: it would count what its caller does.
    """
    watch = _running.get()
    if watch is None:
        yield
        return
    before = watch.turn(name)
    try:
        yield
    finally:
        watch.turn(before)


def measured() -> dict[Lap, float]:
    """Tell the seconds of the watch that runs here; none without one."""
    watch = _running.get()
    return {} if watch is None else watch.seconds()
