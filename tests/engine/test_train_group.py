"""What Ray Train tells of failures and checkpoints, in our words."""

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from cisray.engine.group import REGISTER, GroupPolicy, GroupSession, run_group
from cisray.engine.task import RunLabel
from cisray.engine.train_group import _registered, _told
from cisray.errors import EngineError, TrainingDiverged


def test_a_failure_of_ours_comes_out_of_rays_wrapping() -> None:
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    ours = TrainingDiverged("the loss is nan")
    lost = RuntimeError("peer closed the connection")
    wrapped = {
        0: UserExceptionWithTraceback(lost, "Traceback"),
        1: UserExceptionWithTraceback(ours, "Traceback"),
    }
    assert _told(WorkerGroupError("two workers failed", wrapped)) is ours
    told = _told(WorkerGroupError("worker 1\n died", {0: lost}))
    assert type(told) is EngineError
    assert "worker 1 died. What was saved is kept" in str(told)


def test_checkpoints_are_those_of_rays_register(tmp_path: Path) -> None:
    assert _registered(tmp_path) == set()
    first, last = ({"checkpoint_dir_name": f"step-0000000{n}", "metrics": {}} for n in (2, 4))
    told = {"checkpoint_results": [first], "latest_checkpoint_result": last}
    (tmp_path / REGISTER).write_text(json.dumps(told))
    assert _registered(tmp_path) == {"step-00000002", "step-00000004"}
    told = {"checkpoint_results": [], "latest_checkpoint_result": None}
    (tmp_path / REGISTER).write_text(json.dumps(told))
    assert _registered(tmp_path) == set()
    (tmp_path / REGISTER).write_text(json.dumps({"results": []}))
    with pytest.raises(EngineError, match="another version of Ray made it"):
        _registered(tmp_path)


@dataclass(frozen=True)
class Diverging:
    """A task that no worker can do; it counts how often it was tried."""

    tries: Path

    def run(self, session: GroupSession) -> None:
        (self.tries / f"{session.rank}-{uuid4().hex}").touch()
        raise TrainingDiverged("the loss is nan at step 3")


@pytest.mark.long
@pytest.mark.ray
def test_what_diverges_is_not_tried_again(tmp_path: Path, embedded_ray: object) -> None:
    tries = tmp_path / "tries"
    tries.mkdir()
    policy = GroupPolicy(workers=1, max_failures=3)
    for _ in range(2):
        with pytest.raises(TrainingDiverged, match="the loss is nan at step 3"):
            run_group(Diverging(tries), policy, tmp_path / "run")
    assert len(list(tries.iterdir())) in (1, 2)  # Ray need not start a finished run again


@dataclass(frozen=True)
class Measuring:
    """A step, told to whoever collects it, and kept with the names in this worker's log."""

    def run(self, session: GroupSession) -> None:
        from cisray.logs import known_fields

        step = {"kind": "train", "step": 1, "head": "human", "loss": 0.5, "examples_per_s": 3.0}
        session.measured(step)
        session.measured({"kind": "valid", "step": 1, "head": "human", "loss": 0.5})
        told = json.dumps(known_fields())
        session.save(1, lambda folder: (folder / "fields").write_text(told) and None, {})
        session.finish()


@pytest.mark.long
@pytest.mark.ray
def test_a_worker_knows_what_its_run_is_called(tmp_path: Path, embedded_ray: object) -> None:
    policy = GroupPolicy(workers=1, label=RunLabel("liver", "train"))
    kept = run_group(Measuring(), policy, tmp_path / "run")
    assert json.loads((kept / "fields").read_text()) == {"run": "liver", "worker": "rank 0"}
