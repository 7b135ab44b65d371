"""Folders for what is made on the way: gone at the end, also where their owner was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cisray_jobs import scratch
from cisray_jobs.scratch import scratch_folder

HOLD = (
    "import sys, time; from cisray_jobs.scratch import scratch_folder\n"
    "with scratch_folder() as folder:\n"
    "    (folder / 'plan').write_text('x'); print(folder, flush=True); time.sleep(600)\n"
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def held_by_another() -> tuple[subprocess.Popen, Path]:
    told = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=told, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    return holder, Path(holder.stdout.readline().strip()).parent


def age(folder: Path) -> None:
    an_hour_ago = time.time() - 3600
    os.utime(folder / "lock", (an_hour_ago, an_hour_ago))


def test_it_is_empty_and_is_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_folder() as folder:
        assert list(folder.iterdir()) == []
        (folder / "plan").write_text("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() -> None:
    holder, folder = held_by_another()
    age(folder)
    with scratch_folder():
        assert (folder / "files" / "plan").exists()
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    age(folder)
    with scratch_folder() as mine:
        assert not folder.exists()
        assert mine.exists()


def test_what_is_young_or_not_ours_is_let_be(tmp_path: Path) -> None:
    """The owner of a young one may not have taken its lock yet; what has no lock is no scratch."""
    young, foreign = (tmp_path / f"{scratch._PREFIX}{name}" for name in ("young", "foreign"))
    for folder in (young, foreign):
        folder.mkdir()
    (young / "lock").touch()
    with scratch_folder():
        assert young.exists()
    age(young)
    with scratch_folder():
        assert not young.exists()
        assert foreign.exists()
