"""What `cisray runs watch` does: look at a run, say how it goes, and end with it.

Knows runs and training runs, which record their progress; evaluations and datasets do not, and are
told apart. Knows text; how a run stands is `watch_run`'s business.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cisray.engine.progress import LiveLine, clock
from cisray.errors import RunNotFound
from cisray.store.directory import has_run
from cisray.store.driver_sign import DriverSign
from cisray.store.layout import RunLayout
from cisray.store.local_folder import LocalFolder
from cisray.store.locate import locate
from cisray.store.lock import look
from cisray.store.place import RunPlace
from cisray_jobs import marks
from cisray_jobs.train_progress import NewestRecords, training_line
from cisray_jobs.train_records import METRICS
from cisray_jobs.train_settings import MODEL_FILE, SETTINGS
from cisray_jobs.units import counted, duration
from cisray_jobs.watch_run import ENDED, Glance, RunWatch, State


@dataclass(frozen=True, slots=True)
class TrainingGlance:
    """How a training run stands; `sealed` means that its model is written."""

    run: str
    state: State
    steps: int
    step: int
    line: str


def watch_for(place: RunPlace) -> Callable[[], Glance | TrainingGlance]:
    """Choose how a folder is looked at.

    Raises RunNotFound for one of which no progress can be told, saying what it holds.
    """
    folder = locate(place)
    if has_run(RunLayout(folder)):
        return RunWatch(place).look
    if isinstance(folder, LocalFolder):
        if (folder.root / SETTINGS).exists():
            return _TrainingWatch(folder.root).look
        if any((folder.root / name).exists() for name in (marks.EVALUATION, marks.EVALUATIONS)):
            raise RunNotFound(
                f"{place} holds evaluations that are finished: there is nothing to watch. While "
                "one goes on its units lie in a hidden folder beside it, and its progress is on "
                "the stderr of the command."
            )
    raise RunNotFound(
        f"{place} holds no run that could be watched (no run.json in it). A run is there once its "
        "inputs are read and its shards are planned; until then its command says how far it is."
    )


class _TrainingWatch:
    """The eyes on a training run."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._newest = NewestRecords(out / METRICS)
        self._steps = int(json.loads((out / SETTINGS).read_text())["steps"])

    def look(self) -> TrainingGlance:
        """See how it stands."""
        sign = look(self._out / ".lock")
        self._newest.look()
        record = self._newest.step
        done = 0 if record is None else int(record["step"])
        line = f"step 0/{self._steps:,}"
        if record is not None:
            line = training_line(record, self._newest.validated, self._steps, None)
        return TrainingGlance(str(self._out), self._state(sign), self._steps, done, line)

    def _state(self, sign: DriverSign) -> State:
        if sign.alive is not False:
            return "running"
        if (self._out / MODEL_FILE).exists():
            return "sealed"
        return "stopped" if sign.owner is None else "lost"


def follow(
    looking: Callable[[], Glance | TrainingGlance],
    tell: Callable[[Glance | TrainingGlance], None],
    *,
    every_s: float,
    pause: Callable[[float], None] = time.sleep,
) -> Glance | TrainingGlance:
    """Look and tell until it has ended; give the last look."""
    while True:
        seen = looking()
        tell(seen)
        if seen.state in ENDED:
            return seen
        pause(every_s)


def follow_on_screen(
    looking: Callable[[], Glance | TrainingGlance], *, every_s: float
) -> Glance | TrainingGlance:
    """Look until it has ended, showing a bar on a terminal and else a line for each look."""
    with LiveLine(every_s=0.0, stream=sys.stdout) as shown:
        return follow(
            looking, lambda seen: shown.show(lambda: told(seen), *completed(seen)), every_s=every_s
        )


def as_line(seen: Glance | TrainingGlance) -> str:
    """Put a look into a line of JSON."""
    return json.dumps(asdict(seen))


def told(seen: Glance | TrainingGlance) -> str:
    """Put a look into a line of text."""
    if isinstance(seen, TrainingGlance):
        return seen.line
    parts = [
        f"{seen.done:,}/{seen.shards:,} shards",
        f"{seen.rows_done:,} of {seen.rows:,} rows",
    ]
    if seen.rows_per_second is not None:
        parts.append(f"{seen.rows_per_second:,.1f} rows/s")
    if seen.left_s is not None and seen.state not in ENDED:
        parts.append(f"{clock(seen.left_s)} left")
    if seen.workers is not None:
        parts.append(counted(seen.workers, "worker"))
    if seen.failures:
        parts.append(f"{len(seen.failures):,} FAILED")
    if seen.state == "stalled" and seen.quiet_s is not None:
        parts.append(f"STALLED: no shard since {duration(seen.quiet_s)}")
    return ", ".join(parts)


def completed(seen: Glance | TrainingGlance) -> tuple[int, int]:
    """Tell how much is done, of how much."""
    if isinstance(seen, TrainingGlance):
        return seen.step, seen.steps
    return seen.done + len(seen.failures), seen.shards


def ending(seen: Glance | TrainingGlance) -> str:
    """Say how it ended, and what is to be done about it."""
    again = "Run the same command again: what is finished is kept."
    match seen.state:
        case "sealed":
            return f"{seen.run} is done."
        case "failed":
            return f"{seen.run} has failed: its driver has ended and named shards. {again}"
        case "lost":
            driver = seen.driver if isinstance(seen, Glance) else "its process"
            return f"{seen.run} is not finished, and its driver ({driver}) has died. {again}"
        case _:
            return f"{seen.run} is not finished, and nobody is working on it. {again}"
