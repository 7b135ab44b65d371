"""A disk that fills up in the middle of a run: a real small file system, where one can be had."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cisray.store.scan import open_run

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system of one's own can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def free(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def fill(disk: Path, leave: int) -> Path:
    """Occupy the disk but for some bytes."""
    ballast = disk / "ballast"
    ballast.write_bytes(b"x" * (free(disk) - leave))
    return ballast


def test_a_disk_that_fills_up_keeps_finished_shards(
    cisray, inputs, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate is good, someone else takes the space: finished shards stay, and it goes on."""
    out = small_disk / "run"
    options = inputs.options(out, "--tiles-per-shard", 1, "--quiet")
    before = free(small_disk)
    assert cisray(*options).code == 0
    needed = before - free(small_disk)
    shutil.rmtree(out)
    ballast = fill(small_disk, leave=needed * 3 // 5)
    monkeypatch.setattr("cisray.store.local_folder.LocalFolder.free_bytes", lambda self: 10 * MIB)
    answer = cisray(*options)
    answer.assert_one_paragraph("No space left on device", str(out), "same command again", code=1)
    assert not (out / "_SUCCESS").exists()
    kept = {path: path.stat().st_mtime_ns for path in (out / "data").rglob("*.parquet")}
    commits = list((out / "_commits").glob("*.json"))
    # 7 tiles in shards of one; some are finished and some are not.
    assert 1 <= len(commits) < 7
    assert re.search(r"needs [\d,]+ bytes and [\d,]+ are free", answer.told)
    ballast.unlink()
    assert cisray(*options).code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    # 71 bins of chrA and 24 of chrB.
    assert open_run(out).scan().collect().height == 95


def test_a_disk_too_small_is_told_before_anything_is_computed(
    cisray, inputs, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cisray_jobs.scoring_job.run_shards", None)
    ballast = fill(small_disk, leave=60_000)
    # Chromosomes of 71 and 24 bins.
    monkeypatch.setattr("cisray_jobs.prepared.estimate_bytes", lambda *parts: 800 * sum(parts[-1]))
    answer = cisray(*inputs.options(small_disk / "run"))
    answer.assert_one_paragraph("76.0 kB", str(small_disk), "Make space", code=1)
    ballast.unlink()
