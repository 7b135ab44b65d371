"""A group of workers on Ray Train (V2): a process group of torch, started again when a worker dies.

Knows Ray Train and where it keeps checkpoints; knows nothing of what is trained. Ray resumes a run
by its name and storage path, so that both follow from the folder. Measured in Ray 2.60: a finished
run that is started again returns its old result at once; a checkpoint that was reported just before
a crash may not be registered, and its folder stays.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cisray import logs
from cisray.engine.checkpoints import name_of, note_score, sweep
from cisray.engine.cluster import connect
from cisray.engine.group import REGISTER, GroupPolicy, GroupTask
from cisray.engine.metrics import TrainMetrics
from cisray.engine.rayenv import ray
from cisray.engine.task import RunLabel
from cisray.errors import CisrayError, EngineError, TrainingDiverged

_DIVERGED = "diverged.txt"  # in the folder of a run that cannot go on, and why
_LOOK_S = 0.02
_NO_SCORE = "step"  # every report has one: without a score the newest are the best
# Finite, as Ray writes an infinity into its register as null, and stumbles over that.
_UNKNOWN = -sys.float_info.max


def run_on_ray(task: GroupTask, policy: GroupPolicy, folder: Path, address: str | None) -> None:
    """Run a task on a group of workers until it is done; see `group.run_group`."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

    sweep(folder, _registered(folder))
    resources = {"CPU": policy.cpus_per_worker}
    if policy.gpus_per_worker:
        resources["GPU"] = policy.gpus_per_worker
    with connect(address):
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "task": task,
                "score": policy.score,
                "folder": folder,
                "label": policy.label,
                "log": logs.chosen(),
            },
            torch_config=TorchConfig(backend=policy.backend, timeout_s=policy.timeout_s),
            scaling_config=ScalingConfig(
                num_workers=policy.workers,
                use_gpu=policy.gpus_per_worker > 0,
                resources_per_worker=resources,
            ),
            run_config=RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                failure_config=FailureConfig(max_failures=policy.max_failures),
                checkpoint_config=CheckpointConfig(
                    num_to_keep=policy.keep,
                    checkpoint_score_attribute=policy.score or _NO_SCORE,
                ),
            ),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _told(error) from error
    sweep(folder, _registered(folder))
    if (folder / _DIVERGED).exists():
        raise TrainingDiverged((folder / _DIVERGED).read_text())


def _work(config: dict[str, Any]) -> None:
    """Be one worker of the group; what Ray calls in its processes."""
    with ExitStack() as opened:
        session = RaySession(config["score"], opened, config["label"])
        logs.adopt(config["log"], run=config["label"].run, worker=f"rank {session.rank}")
        try:
            config["task"].run(session)
        except TrainingDiverged as error:
            # All workers have met it, and would again: raised here, Ray would start them anew.
            if session.rank == 0:
                (config["folder"] / _DIVERGED).write_text(str(error))


class RaySession:
    """What a worker on Ray Train knows of its group. `opened` ends what was opened for it."""

    writes_later = False

    def __init__(self, score: str | None, opened: ExitStack, label: RunLabel) -> None:
        import ray.train.torch as train  # noqa: PLC0415

        context = ray.train.get_context()
        self.rank, self.ranks = context.get_world_rank(), context.get_world_size()
        self.device = str(train.get_device())
        self._score, self._opened = score, opened
        self._copied: Path | None = None
        self._metrics = TrainMetrics(label)

    def restored(self) -> Path | None:
        """Give the newest checkpoint that Ray has registered."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        return Path(self._opened.enter_context(checkpoint.as_directory()))

    def save(
        self, step: int, write: Callable[[Path], None], metrics: Mapping[str, float | None]
    ) -> None:
        """Write this worker's part to its own disk, and have Ray copy it while the work goes on.

        Ray registers the checkpoint when it has all workers' parts, and waits for the last ones
        before a run is over. One copy is under way at a time: its source goes when it is done.
        """
        while self._copied is not None and self._copied.exists():
            time.sleep(_LOOK_S)
        score = metrics.get(self._score) if self._score else None
        told: dict[str, float] = {"step": step}
        if self._score:
            told[self._score] = _UNKNOWN if score is None else score
        own = Path(tempfile.mkdtemp(prefix="checkpoint-"))
        try:
            write(own)
            note_score(own, score)
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)  # a full disk is not to stay full
            raise
        ray.train.report(
            told,
            checkpoint=ray.train.Checkpoint.from_directory(own),
            checkpoint_dir_name=name_of(step),
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )
        self._copied = own

    def finish(self) -> None:
        """Do nothing: what was reported is kept."""

    def measured(self, record: Mapping[str, object]) -> None:
        """Export a step by way of Ray; what validation found is not of a step."""
        if record["kind"] == "train":
            self._metrics.after_step(record)


def _registered(folder: Path) -> set[str]:
    """Name the checkpoints that Ray knows of in a folder."""
    register = folder / REGISTER
    if not register.exists():
        return set()
    text = register.read_text()
    try:
        told = json.loads(text)
        results = [*told["checkpoint_results"], told["latest_checkpoint_result"]]
        return {Path(result["checkpoint_dir_name"]).name for result in results if result}
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{register} is not what Ray {ray.__version__} writes ({error!r}): it is damaged, or "
            "another version of Ray made it."
        ) from None


def _told(error: Exception) -> CisrayError:
    """Find the failure of ours in what Ray tells of its workers, or tell that in one paragraph."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause = getattr(failure, "_base_exc", failure)  # Ray wraps what a worker raised
        if isinstance(cause, CisrayError):
            return cause
    reason = " ".join(str(error).split())[-800:]
    return EngineError(
        f"Training stopped, as its workers failed more often than allowed: {reason}. What was "
        "saved is kept; the same command goes on from there."
    )
