"""Folders of checkpoints, and the group of one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cisray.engine.checkpoints import (
    best,
    checkpoints,
    name_of,
    newest,
    prune,
    publish,
    step_of,
    sweep,
)
from cisray.engine.group import REGISTER, GroupPolicy, GroupSession, run_group
from cisray.errors import EngineError, RunConflict, StorageError


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "weights").write_text(content) and None


def filled(folder: Path, scores: dict[int, float | None]) -> Path:
    for step, score in scores.items():
        publish(folder, step, text(str(step)), score)
    return folder


def steps(folder: Path) -> list[int]:
    return [step_of(path) for path in checkpoints(folder)]


def test_a_checkpoint_that_fails_in_the_middle_is_not_there(tmp_path: Path) -> None:
    filled(tmp_path, {10: 0.1})

    def broken(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        publish(tmp_path, 20, broken)
    assert steps(tmp_path) == [10]
    publish(tmp_path, 20, text("whole"))
    assert (newest(tmp_path) / "weights").read_text() == "whole"


def test_a_step_that_is_done_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    filled(tmp_path, {10: 0.1})
    publish(tmp_path, 10, text("again"), 0.2)
    assert [path.name for path in tmp_path.glob("step-*")] == [name_of(10)]
    assert (tmp_path / name_of(10) / "weights").read_text() == "again"


@pytest.mark.parametrize(
    ("scores", "keep", "kept"),
    [
        ({1: 0.5, 2: 0.9, 3: 0.7, 4: 0.1}, 2, [2, 3, 4]),
        ({1: 0.5, 2: 0.9, 3: 0.7, 4: 0.8}, 2, [2, 4]),
        ({1: None, 2: None, 3: None}, 2, [2, 3]),
        ({1: -0.5, 2: None, 3: None}, 1, [1, 3]),
        ({9: 0.5, 10: 0.5}, 1, [10]),
    ],
)
def test_the_best_stay_and_the_newest(
    tmp_path: Path, scores: dict[int, float | None], keep: int, kept: list[int]
) -> None:
    prune(filled(tmp_path, scores), keep)
    assert steps(tmp_path) == kept


def test_newest_and_best_of_none_and_of_some(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert best(tmp_path) is None
    filled(tmp_path, {2: 0.3, 10: 0.1, 9: 0.3})
    assert newest(tmp_path).name == name_of(10)
    assert best(tmp_path).name == name_of(9)
    (tmp_path / name_of(9) / "score.json").write_text("")
    with pytest.raises(StorageError, match="the checkpoint is damaged"):
        best(tmp_path)


def test_what_nobody_registered_is_swept(tmp_path: Path) -> None:
    sweep(filled(tmp_path, {1: None, 2: None}), {name_of(2)})
    assert steps(tmp_path) == [2]


class Counting:
    """A task that counts to four and saves each time."""

    def __init__(self) -> None:
        self.began_at: list[int] = []

    def run(self, session: GroupSession) -> None:
        restored = session.restored()
        done = 0 if restored is None else int((restored / "weights").read_text())
        self.began_at.append(done)
        assert (session.rank, session.ranks) == (0, 1)
        for step in range(done + 1, 5):
            session.save(step, text(str(step)), {"r": step / 10})
        session.finish()


def test_the_group_of_one_goes_on_from_the_newest_and_clears_what_was_half_written(
    tmp_path: Path,
) -> None:
    task, policy = Counting(), GroupPolicy(workers=0, keep=2, score="r")
    assert run_group(task, policy, tmp_path).name == name_of(4)
    assert steps(tmp_path) == [3, 4]
    (tmp_path / "_staging" / name_of(9)).mkdir(parents=True)
    run_group(task, policy, tmp_path)
    assert task.began_at == [0, 4]
    assert steps(tmp_path) == [3, 4]
    assert not (tmp_path / "_staging").exists()


def test_a_write_that_failed_is_told_at_the_latest_in_the_end(tmp_path: Path) -> None:
    class Full:
        def run(self, session: GroupSession) -> None:
            def full(folder: Path) -> None:
                raise OSError(28, "No space left on device")

            session.save(1, full, {})
            session.finish()

    with pytest.raises(StorageError, match="space"):
        run_group(Full(), GroupPolicy(workers=0), tmp_path)


def test_what_was_begun_on_ray_is_not_continued_without(tmp_path: Path) -> None:
    filled(tmp_path, {1: None})
    with pytest.raises(RunConflict, match=r"begun without Ray.*--workers 0"):
        run_group(Counting(), GroupPolicy(workers=2), tmp_path)
    (tmp_path / REGISTER).write_text("{}")
    with pytest.raises(RunConflict, match=r"begun on Ray.*--workers 1 or more"):
        run_group(Counting(), GroupPolicy(workers=0), tmp_path)


def test_a_first_copy_that_rays_workers_did_not_finish_is_no_checkpoint(tmp_path: Path) -> None:
    """Ray has registered nothing yet; the folder is known as its own all the same."""
    (tmp_path / "on-ray").touch()
    task = Counting()
    filled(tmp_path, {1: None})
    with pytest.raises(RunConflict, match=r"begun on Ray.*--workers 1 or more"):
        run_group(task, GroupPolicy(workers=0), tmp_path)
    assert task.began_at == []
    (tmp_path / name_of(1)).rename(tmp_path.parent / "elsewhere")
    for _ in range(2):  # nothing came of Ray: the folder is free, and then not Ray's any more
        run_group(task, GroupPolicy(workers=0), tmp_path)
    assert task.began_at == [0, 4]


def test_a_group_without_a_checkpoint_has_failed(tmp_path: Path) -> None:
    class Idle:
        def run(self, session: GroupSession) -> None:
            pass

    with pytest.raises(EngineError, match="without a checkpoint"):
        run_group(Idle(), GroupPolicy(workers=0), tmp_path)
