"""Training that is killed goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from trained_models import ARCHITECTURE, write_dataset
from training_runs import STILL, DyingTask, settings, told

import cisray_jobs.train
from cisray.errors import EngineError
from cisray.model.registry import read_model
from cisray_jobs.train import train_model
from cisray_jobs.train_task import TrainTask

pytestmark = pytest.mark.faults

CHILD = """
import sys, torch
from pathlib import Path
from training_runs import settings
from cisray_jobs.train import train_model
train_model(settings(Path(sys.argv[1]), Path(sys.argv[2]), steps=60, checkpoint_every=7))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "set")


@pytest.mark.long
def test_a_killed_run_resumed_equals_an_undisturbed_one_bit_for_bit(
    dataset: Path, tmp_path: Path
) -> None:
    """SIGKILL falls somewhere between two checkpoints, or in the writing of one."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
    }
    child = subprocess.Popen([sys.executable, "-c", CHILD, dataset, killed], env=environment)
    metrics, deadline = killed / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count('"train"') < 25:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    stopped_at = max(record["step"] for record in told(killed))
    assert 25 <= stopped_at < 60
    for out in (killed, whole):
        train_model(settings(dataset, out, steps=60, checkpoint_every=7))
    assert told(killed) == told(whole)
    assert [r["step"] for r in told(killed) if r["kind"] == "train"] == list(range(1, 61))
    digests = {read_model(out / "model.safetensors").digest for out in (killed, whole)}
    assert len(digests) == 1


@pytest.mark.slow  # five groups of Ray Train, of which each takes a quarter of a minute to start
@pytest.mark.timeout(900)
@pytest.mark.ray
def test_two_workers_killed_twice_equal_one_worker_with_the_same_batch(
    dataset: Path, tmp_path: Path, embedded_ray: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DDP until all is lost; FSDP2 goes on from there, and goes on again when a worker dies."""
    job = settings(dataset, tmp_path / "one", architecture={**ARCHITECTURE, **STILL})
    train_model(job)

    def two(step: int, **changes: object) -> None:
        def dying(task_job: object) -> DyingTask:
            return DyingTask(TrainTask(task_job), step, tmp_path / f"died-{step}")  # type: ignore[arg-type]

        monkeypatch.setattr(cisray_jobs.train, "TrainTask", dying)
        train_model(job.model_copy(update={"out": tmp_path / "two", "workers": 2, **changes}))

    with pytest.raises(EngineError, match="goes on from there"):
        two(5, max_failures=0)
    assert max(record["step"] for record in told(tmp_path / "two")) == 5
    two(7, max_failures=1, strategy="fsdp2")
    assert {path.name for path in tmp_path.glob("died-*")} == {"died-5", "died-7"}
    one, both = told(tmp_path / "one"), told(tmp_path / "two")
    assert [(r["step"], r["kind"], r["head"]) for r in one] == [
        (r["step"], r["kind"], r["head"]) for r in both
    ]
    for ours, theirs in zip(one, both, strict=True):
        # Adam turns rounding noise of gradients that are nothing into steps; validation feels it.
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-3)
        if ours["kind"] == "train":
            assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)
            assert theirs["grad_norm"] == pytest.approx(ours["grad_norm"], rel=1e-5)
    found = [read_model(tmp_path / out / "model.safetensors").state for out in ("one", "two")]
    for name in ("_heads.human.0.weight", "transformer.0.1.fn.1.weight", "stem.0.weight"):
        assert np.abs((found[0][name] - found[1][name]).numpy()).max() < 5e-5, name
