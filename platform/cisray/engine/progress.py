"""What a person sees of a run: a live bar on a terminal, else a line now and then on stderr.

Knows lines, progress reports and receipts (their key `rows`); nothing of executors or Ray.
"""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from cisray.engine.task import Progress, Receipt

# Of its own level: progress is wanted where a log without --verbose has warnings only.
_progress = logging.getLogger("cisray.progress")
_progress.setLevel(logging.INFO)


class Display(Enum):
    """How progress is shown; AUTO is BAR on a terminal and LINES elsewhere, LOG are log records."""

    AUTO = "auto"
    BAR = "bar"
    LINES = "lines"
    LOG = "log"
    NONE = "none"


class LiveLine:
    """One line that says how far something is: a bar with it on a terminal, else now and then.

    A context manager. `every_s` is the least time between two lines; the first and the last are
    always written.
    """

    def __init__(
        self,
        *,
        display: Display = Display.AUTO,
        every_s: float = 30.0,
        stream: TextIO | None = None,
    ) -> None:
        """Choose the display; `stream` is stderr unless given."""
        self._stream = stream if stream is not None else sys.stderr
        if display is Display.AUTO:
            display = Display.BAR if self._stream.isatty() else Display.LINES
        self._display = display
        self._every_s = every_s
        self._waiting: _State | None = None
        self._written_at: float | None = None
        self._bar: RichProgress | None = None
        self._bar_task = TaskID(0)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._display is Display.BAR:
            self._bar = RichProgress(
                BarColumn(),
                TextColumn("{task.fields[line]}"),
                console=Console(file=self._stream),
            )
            self._bar_task = self._bar.add_task("", total=None, line="starting")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the last state, and leave the terminal as it was."""
        if self._waiting is not None:
            self._write(self._waiting)
        if self._bar is not None:
            self._bar.stop()

    def show(self, line: Callable[[], str], completed: int, total: int) -> None:
        """Show a state, or keep it until it is time for the next line."""
        self._waiting = _State(line, completed, total)
        due = self._written_at is None or time.monotonic() - self._written_at >= self._every_s
        if due or self._display is Display.BAR:
            self._write(self._waiting)

    def _write(self, state: "_State") -> None:
        line = state.line()
        if self._bar is not None:
            self._bar.update(
                self._bar_task, total=state.total, completed=state.completed, line=line
            )
        elif self._display is Display.LINES:
            self._stream.write(line + "\n")
            self._stream.flush()
        elif self._display is Display.LOG:
            facts = {"completed": state.completed, "total": state.total}
            _progress.info("%s", line, extra={"facts": facts})
        self._waiting = None
        self._written_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class _State:
    """What there is to be shown, once it is its turn."""

    line: Callable[[], str]
    completed: int
    total: int


class ProgressReporter(LiveLine):
    """Show shards while they are worked on; its methods are an executor's callbacks."""

    _rows = 0

    def on_done(self, shard: int, receipt: Receipt) -> None:
        """Count the rows of a finished shard."""
        rows = receipt.get("rows")
        if isinstance(rows, int):
            self._rows += rows

    def on_progress(self, progress: Progress) -> None:
        """Show a report."""
        self.show(
            lambda: progress_line(progress, self._rows),
            progress.done + progress.failed,
            progress.total,
        )


def progress_line(progress: Progress, rows: int) -> str:
    """Put a report into one line.

    >>> progress_line(Progress(8, 2, 0, 2, 1, 0, 60.0), rows=1800)
    '2/8 shards, 1,800 rows, 30 rows/s, 3:00 left, 1 worker'

    The time left takes the shards still to do to cost what the settled ones did on average.
    """
    settled = progress.done + progress.failed
    parts = [f"{progress.done}/{progress.total} shards"]
    if rows:
        parts.append(f"{rows:,} rows")
        if progress.elapsed_s > 0:
            parts.append(f"{rows / progress.elapsed_s:,.0f} rows/s")
    if settled == progress.total:
        parts.append(f"{clock(progress.elapsed_s)} in all")
    elif settled:
        left_s = progress.elapsed_s * (progress.total - settled) / settled
        parts.append(f"{clock(left_s)} left")
    parts.append(f"{progress.workers} worker{'' if progress.workers == 1 else 's'}")
    if progress.retries:
        parts.append(f"{progress.retries} retried")
    if progress.failed:
        parts.append(f"{progress.failed} FAILED")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Write seconds as `m:ss` or `h:mm:ss`.

    >>> clock(61.4), clock(3_600)
    ('1:01', '1:00:00')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
