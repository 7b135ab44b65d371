"""Training runs that are killed, here and on Ray.

Knows when a worker is to die; knows nothing of what should come out. Workers import this module.
"""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trained_models import ARCHITECTURE

from cisray.engine.group import GroupSession
from cisray.training.step import Training
from cisray_jobs.train_settings import TrainModel
from cisray_jobs.train_task import TrainTask

STILL = {"dropout": 0, "attention_dropout": 0, "positional_dropout": 0}


def settings(dataset: Path, out: Path, **changes: Any) -> TrainModel:
    """A run of eight steps on the CPU, a checkpoint every other step."""
    options: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "steps": 8,
        "batch_size": 4,
        "warmup_rounds": 2,
        "valid_every": 4,
        "checkpoint_every": 2,
        "device": "cpu",
        "threads": 1,
    }
    return TrainModel(dataset=dataset, out=out, **{**options, **changes})


def told(out: Path) -> list[dict[str, Any]]:
    """The records of a run, without what the machine's speed decides."""
    lines = (out / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in record.items() if k != "examples_per_s"} for record in records]


@dataclass(frozen=True, slots=True)
class DyingTask:
    """A training run of which one worker is killed before a step, the first time it comes there."""

    task: TrainTask
    step: int
    marker: Path

    def run(self, session: GroupSession) -> None:
        """Train, or die."""
        take_step = Training.take_step

        def deadly(training: Training, step: int, batches: Any) -> Any:
            if step == self.step and session.rank == session.ranks - 1 and not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return take_step(training, step, batches)

        Training.take_step = deadly  # type: ignore[method-assign]
        self.task.run(session)
