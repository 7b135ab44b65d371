"""What a person sees of a training run while it goes on, wherever its workers are.

Knows the records that the first worker appends to the run's folder; nothing of workers.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cisray.engine.progress import Display, LiveLine, clock
from cisray_jobs.train_records import METRICS

LOOK_EVERY_S = 2.0
Show = Callable[[Callable[[], str], int, int], None]


@contextmanager
def shown_while_training(out: Path, steps: int, display: Display) -> Iterator[None]:
    """Show the newest records of `out` as long as the block lasts."""
    if display is Display.NONE:
        yield
        return
    over = threading.Event()
    with LiveLine(display=display) as line:
        watch = _Watch(NewestRecords(out / METRICS), steps, line.show)
        watcher = threading.Thread(target=watch.until, args=(over,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


class NewestRecords:
    """The last step and the last validation of each head, of a file that grows.

    Lines are read once. A start that goes on from a checkpoint puts a shorter file in the place of
    the old one, and that is read anew.
    """

    def __init__(self, path: Path) -> None:
        self.step: dict[str, Any] | None = None
        self.validated: dict[str, dict[str, Any]] = {}
        self._path = path
        self._file = 0  # its number in the file system
        self._at = 0

    def look(self) -> None:
        """Read what was added; a line that is not whole yet waits."""
        try:
            with self._path.open("rb") as stream:
                self._read(stream)
        except FileNotFoundError:
            return

    def _read(self, stream: Any) -> None:
        facts = os.fstat(stream.fileno())
        if facts.st_ino != self._file or facts.st_size < self._at:
            self._file, self._at = facts.st_ino, 0
        stream.seek(self._at)
        added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            record = json.loads(line)
            if record["kind"] == "train":
                self.step = record
            else:
                self.validated[record["head"]] = record


class _Watch:
    """The eyes on one run."""

    def __init__(self, newest: NewestRecords, steps: int, show: Show) -> None:
        self._newest = newest
        self._steps = steps
        self._show = show
        self._first: tuple[int, float] | None = None  # a step that was done, and when

    def until(self, over: threading.Event) -> None:
        """Look now and then, and once more at the end."""
        while not over.wait(LOOK_EVERY_S):
            self._look()
        self._look()

    def _look(self) -> None:
        self._newest.look()
        step = self._newest.step
        if step is None:
            return
        done, now = step["step"], time.monotonic()
        if self._first is None or done < self._first[0]:
            self._first = done, now
        since, begun = self._first
        left = (now - begun) * (self._steps - done) / (done - since) if done > since else None
        line = training_line(step, self._newest.validated, self._steps, left)
        self._show(lambda: line, done, self._steps)


def training_line(
    step: dict[str, Any], validated: dict[str, dict[str, Any]], steps: int, left_s: float | None
) -> str:
    """Put the newest records into one line.

    >>> step = {"step": 4, "loss": 0.51234, "examples_per_s": 12.3}
    >>> training_line(step, {"human": {"step": 2, "pearson_r": 0.4}}, 8, 61.0)
    'step 4/8, loss 0.5123, 12.3 examples/s, 1:01 left, human: R 0.400 at step 2'
    """
    parts = [
        f"step {step['step']:,}/{steps:,}",
        f"loss {step['loss']:.4f}",
        f"{step['examples_per_s']:.1f} examples/s",
    ]
    if left_s is not None:
        parts.append(f"{clock(left_s)} left")
    for head, record in validated.items():
        if record["pearson_r"] is not None:
            parts.append(f"{head}: R {record['pearson_r']:.3f} at step {record['step']:,}")
    return ", ".join(parts)
