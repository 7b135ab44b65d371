"""A group of workers that do one task together, on Ray Train or as this process alone.

Knows how such a group is started, started again and given its newest checkpoint; knows nothing of
what is trained. This module has the words and the group of one; `train_group` has Ray's.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cisray.engine.checkpoints import clear_staging, newest, prune, publish
from cisray.engine.task import NO_LABEL, RunLabel
from cisray.errors import EngineError, RunConflict
from cisray.store.files import make_folder

# Of Ray Train, which registers its checkpoints there, once it has the first one.
REGISTER = "checkpoint_manager_snapshot.json"
_ON_RAY = "on-ray"  # whose folder it is until then


class GroupSession(Protocol):
    """What a worker may ask of its group."""

    @property
    def rank(self) -> int:
        """This worker's number, from 0."""

    @property
    def ranks(self) -> int:
        """How many workers there are."""

    @property
    def device(self) -> str:
        """Where this worker computes."""

    @property
    def writes_later(self) -> bool:
        """Whether `save` returns before it has written."""

    def restored(self) -> Path | None:
        """Give the folder of the newest checkpoint; None if there is none."""

    def save(
        self, step: int, write: Callable[[Path], None], metrics: Mapping[str, float | None]
    ) -> None:
        """Keep what `write` puts into a folder; every worker calls."""

    def finish(self) -> None:
        """Wait until all is kept."""

    def measured(self, record: Mapping[str, object]) -> None:
        """Export the numbers of a step, where they can be: its step, head, loss and speed."""


class GroupTask(Protocol):
    """What every worker of a group does; it is pickled, and finds its own way back in."""

    def run(self, session: GroupSession) -> None:
        """Work until done, from the session's newest checkpoint on."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How many workers, on what, and what is kept of their checkpoints.

    `workers` 0 is this process without Ray and without a process group. `keep` checkpoints stay,
    those with the highest `score` if one is named, and the newest. `max_failures` is how often the
    whole group is started again after one of its workers was lost. `backend` is torch's, `label` is
    what logs and metrics call the run.
    """

    workers: int
    device: str = "cpu"
    gpus_per_worker: float = 0.0
    cpus_per_worker: float = 0.5
    backend: str = "gloo"
    max_failures: int = 3
    keep: int = 2
    score: str | None = None
    timeout_s: int = 1800
    label: RunLabel = NO_LABEL


def run_group(
    task: GroupTask, policy: GroupPolicy, folder: Path, *, address: str | None = None
) -> Path:
    """Have a group do a task, and return the folder of its newest checkpoint.

    `folder` is where checkpoints lie: whoever runs the same task with the same folder goes on from
    there. On a cluster it must be a folder that all machines share.

    Raises:
        RunConflict: the folder was begun on Ray and no worker is asked for, or the reverse.
        EngineError: Ray does not start, or workers were lost more often than is allowed.
        CisrayError: what the task itself raised.
    """
    make_folder(folder)
    is_rays = (folder / REGISTER).exists() or (folder / _ON_RAY).exists()
    found = newest(folder)
    if found is not None and is_rays != (policy.workers > 0):
        begun, now = ("on Ray", "1 or more") if is_rays else ("without Ray", "0")
        raise RunConflict(
            f"{folder} was begun {begun}, and its checkpoints are kept in another way than "
            f"{policy.workers} workers do: go on with --workers {now}."
        )
    if policy.workers == 0:
        (folder / _ON_RAY).unlink(missing_ok=True)  # nothing came of that
        task.run(InlineSession(folder, policy))
    else:
        # Ray, only when it is wanted.
        from cisray.engine.train_group import run_on_ray  # noqa: PLC0415

        (folder / _ON_RAY).touch()
        run_on_ray(task, policy, folder, address)
    last = newest(folder)
    if last is None:
        raise EngineError(f"The group ended without a checkpoint in {folder}.")
    return last


class InlineSession:
    """The only worker of a group of one. Checkpoints are written while the work goes on."""

    rank, ranks, writes_later = 0, 1, True

    def __init__(self, folder: Path, policy: GroupPolicy) -> None:
        self.device = policy.device
        self._folder, self._policy = folder, policy
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        clear_staging(folder)

    def restored(self) -> Path | None:
        """Give the newest checkpoint: all are whole."""
        return newest(self._folder)

    def save(
        self, step: int, write: Callable[[Path], None], metrics: Mapping[str, float | None]
    ) -> None:
        """Begin to write a checkpoint, once the one before is on the disk."""
        self._wait()
        score = metrics.get(self._policy.score) if self._policy.score else None
        self._pending = self._writer.submit(self._keep, step, write, score)

    def finish(self) -> None:
        """Wait for the last checkpoint; raises what its writing raised."""
        self._wait()
        self._writer.shutdown()

    def measured(self, record: Mapping[str, object]) -> None:
        """Do nothing: without Ray nobody collects it."""

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _keep(self, step: int, write: Callable[[Path], None], score: float | None) -> None:
        publish(self._folder, step, write, score)
        prune(self._folder, self._policy.keep)
