"""What Ray Train tells of failures and checkpoints, in our words. No Ray is started."""

import json
from pathlib import Path

import pytest

from cisray.engine.group import REGISTER
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
