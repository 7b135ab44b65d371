"""The job `cisray train`: from a dataset to a model that scores, over as many starts as it takes.

Knows how the parts are put together and what a run's folder holds; knows nothing of steps.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from cisray.dataset.examples import Dataset
from cisray.dataset.manifest import MANIFEST
from cisray.engine.checkpoints import best
from cisray.engine.group import GroupPolicy, run_group
from cisray.engine.progress import Display
from cisray.engine.task import RunLabel
from cisray.errors import RunConflict
from cisray.store.files import make_folder
from cisray.store.lock import RunLock
from cisray.training.loop import SCORE
from cisray.version import __version__
from cisray_jobs.devices import settle_device
from cisray_jobs.provenance import digest_of
from cisray_jobs.train_model import build_model, export_model, read_start
from cisray_jobs.train_progress import shown_while_training
from cisray_jobs.train_records import draw_curve, read_records, summary_writer
from cisray_jobs.train_settings import SETTINGS, TrainModel, fingerprint
from cisray_jobs.train_task import TrainTask, wanted_of


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run came to: the model's file, and the last validation of each head."""

    model: Path
    curve: Path
    checkpoint: Path
    steps: int
    validation: dict[str, dict[str, Any]]


def train_model(job: TrainModel, display: Display = Display.NONE) -> Trained:
    """Train, or go on with what an earlier start has left, and write the model.

    Raises:
        RunConflict: OUT holds a run of other settings, or another process is training there.
        InputError: dataset, model and options do not go together; nothing was begun.
        TrainingDiverged: the loss is no number any more; checkpoints before it are kept.
        EngineError: workers were lost more often than is allowed.
    """
    job = _settled(job)
    dataset = Dataset.open(job.dataset)
    wanted = wanted_of(job, dataset)
    start = read_start(job, wanted.spec)
    build_model(job, wanted, start)  # whatever does not fit is told before anything is begun
    if job.tensorboard:
        summary_writer()
    make_folder(job.out)
    lock = RunLock(job.out / ".lock")
    try:
        digests = {"dataset": digest_of(job.dataset / MANIFEST)}
        if start is not None:
            digests["model"] = start.digest
        identity = job.identity(digests)
        _claim(job.out, identity)
        folder = job.out / f"checkpoints-{fingerprint(identity)}"
        with shown_while_training(job.out, job.steps, display):
            last = run_group(TrainTask(job), _policy(job), folder, address=job.address)
        chosen = (best(folder) or last) if job.export == "best" else last
        notes = {"made_by": f"cisray {__version__} train", "settings": identity}
        model = export_model(job, wanted, start, chosen, notes)
        curve = draw_curve(job.out, f"{job.out.name}: {job.steps} steps")
    finally:
        lock.release()
    return Trained(model, curve, chosen, job.steps, _last_validation(job.out))


def _settled(job: TrainModel) -> TrainModel:
    """Make paths absolute, for workers in other folders, and settle the device."""
    paths = {
        name: value.absolute()
        for name in ("dataset", "out", "model")
        if (value := getattr(job, name)) is not None
    }
    device = settle_device(
        job.device, job.workers, num_gpus=job.num_gpus, address=job.address, shard_timeout=None
    )
    return job.model_copy(update={**paths, "device": device})


def _policy(job: TrainModel) -> GroupPolicy:
    on_gpu = job.device.startswith("cuda")
    return GroupPolicy(
        workers=job.workers,
        device=job.device,
        gpus_per_worker=(1.0 if job.num_gpus is None else job.num_gpus) if on_gpu else 0.0,
        backend="nccl" if on_gpu else "gloo",
        max_failures=job.max_failures,
        keep=job.keep,
        score=SCORE,
        label=RunLabel(job.out.name, "train"),
    )


def _claim(out: Path, identity: dict[str, JsonValue]) -> None:
    """Write down whose folder this is, or see that it is ours. Raises RunConflict."""
    path = out / SETTINGS
    if path.exists():
        try:
            known = json.loads(path.read_text())
        except ValueError as error:
            raise RunConflict(
                f"{path} is damaged ({error}): it cannot be told whose run {out} holds. Choose "
                "another --out."
            ) from None
        other = [
            f"{key} was {known.get(key)!r} and is {identity.get(key)!r}"
            for key in sorted({*known, *identity})
            if known.get(key) != identity.get(key)
        ]
        if other:
            raise RunConflict(
                f"{out} holds a training run of other settings: {'; '.join(other)}. Give the "
                "settings that it was begun with, or choose another --out."
            )
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(identity, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, path)


def _last_validation(out: Path) -> dict[str, dict[str, Any]]:
    """Give each head's last record of a validation; empty without any."""
    return {r["head"]: r for r in read_records(out) if r["kind"] == "valid"}
