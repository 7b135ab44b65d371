"""Processes killed before every call that changes the disk, races, full and read-only disks."""

import errno
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import store_faults
import store_runs as bins
import store_variants as variants

from cisray.errors import RunConflict, RunNotFound, StorageError
from cisray.store.compact import compact_run
from cisray.store.files import free_bytes, publish
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray.store.verify import verify_run

pytestmark = pytest.mark.faults
SCRIPT = Path(store_faults.__file__)


def start(world: ModuleType, action: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), action, str(folder), world.NAME]
    return subprocess.Popen(command, env=environment)


def run_to_end(world: ModuleType, action: str, folder: Path) -> None:
    assert start(world, action, folder).wait(timeout=120) == 0


def check_whole(world: ModuleType, path: Path) -> None:
    run = open_run(path)
    assert world.rows_of(path) == world.expected_rows()
    named = {str(path / file) for file in run.files["path"]}
    assert {str(file) for file in (path / "data").rglob("*") if file.is_file()} == named
    assert not (path / "_staging").exists()
    assert not (path / "_closed").exists()
    assert (path / "summary.json").exists()
    assert verify_run(path).problems == ()


def check_no_half_rows(world: ModuleType, path: Path) -> None:
    """A reader of what a killed process left sees whole shards or is refused."""
    try:
        rows = world.rows_of(path, allow_unsealed=True)
    except RunNotFound:
        return
    assert set(rows) <= set(world.expected_rows())
    whole = [0]
    for shard in world.ROWS:
        whole += [rows_before + shard for rows_before in whole]
    assert len(rows) in whole
    if (path / "_SUCCESS").exists():
        assert rows == world.expected_rows()


# Both kinds of run are written by the same code: that of variants is killed where it may take long.
@pytest.mark.parametrize(
    "world",
    [bins, pytest.param(variants, marks=pytest.mark.long)],
    ids=lambda world: world.NAME,
)
def test_a_run_killed_anywhere_is_finished_by_the_same_command(world, tmp_path) -> None:
    run_to_end(world, "whole", tmp_path / "runs")
    killed = sorted((tmp_path / "runs").iterdir())
    # Three parts at the start or more, two files per shard, the file list: each written, flushed,
    # named and its folder flushed, so that there must be far more than 40 such calls.
    assert len(killed) > 40
    for path in killed:
        check_no_half_rows(world, path)
        world.finish(path, blocks=store_faults.ONE_BLOCK)
        check_whole(world, path)


@pytest.mark.long
def test_a_restart_killed_anywhere_can_be_restarted(world, tmp_path) -> None:
    world.finish(tmp_path / "first", blocks=store_faults.ONE_BLOCK)
    for number in range(1, 80):
        shutil.copytree(tmp_path / "first", tmp_path / "runs" / f"{number:03d}")
    run_to_end(world, "restart", tmp_path / "runs")
    calls = int((tmp_path / "runs.calls").read_text())
    # Eight folders and files at least are deleted, four files written and flushed.
    assert 20 < calls < 80
    for path in sorted((tmp_path / "runs").iterdir())[:calls]:
        check_no_half_rows(world, path)
        world.finish(path, blocks=store_faults.ONE_BLOCK, restart=True)
        check_whole(world, path)


@pytest.mark.long
def test_a_compaction_killed_anywhere_leaves_a_whole_run_and_is_finished(world, tmp_path) -> None:
    world.finish(tmp_path / "first", blocks=store_faults.ONE_BLOCK)
    for number in range(1, 80):
        shutil.copytree(tmp_path / "first", tmp_path / "runs" / f"{number:03d}")
    run_to_end(world, "compact", tmp_path / "runs")
    calls = int((tmp_path / "runs.calls").read_text())
    # A data file, the history and the list of files are each written, flushed, named and their
    # folder flushed; two old files and three records go.
    assert 20 < calls < 80
    old = ShardSink.attach(tmp_path / "first").receipts()
    states = set()
    for path in sorted((tmp_path / "runs").iterdir())[:calls]:
        states.add(open_run(path).files.height)
        assert open_run(path).sealed
        assert world.rows_of(path) == world.expected_rows()
        # What nothing names yet, or any more, is all that may be wrong.
        assert {problem.kind for problem in verify_run(path).problems} <= {"stray"}
        assert ShardSink.attach(path).receipts() == old
        with world.begin(path, blocks=store_faults.ONE_BLOCK) as sink:
            assert sink.pending() == []
        compact_run(path)
        check_whole(world, path)
        assert open_run(path).verify() == 2
        assert open_run(path).files["last_shard"].to_list() == [1, 2]
        assert ShardSink.attach(path).receipts() == old
        assert not (path / "_commits").exists()
    assert states == {3, 2}


def test_processes_that_race_leave_one_attempt_per_shard(world, tmp_path) -> None:
    with world.begin(tmp_path / "run") as sink:
        run_to_end(world, "race", tmp_path)
        first, second = (path.read_text() for path in tmp_path.glob("*.json"))
        assert first == second
        assert len(list((tmp_path / "run/data").rglob("*.parquet"))) == 6
        sink.seal()
    check_whole(world, tmp_path / "run")


def test_a_live_driver_keeps_others_out_and_a_killed_one_does_not(tmp_path) -> None:
    holder = start(bins, "hold", tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "held").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(RunConflict, match=f"process {holder.pid} on "):
        bins.begin(tmp_path / "run")
    with pytest.raises(RunConflict, match="another cisray process"):
        bins.begin(tmp_path / "run", restart=True)
    holder.kill()
    holder.wait()
    with bins.begin(tmp_path / "run") as sink:
        assert sink.pending() == [0, 1, 2]


def test_two_drivers_in_one_process_exclude_each_other(tmp_path) -> None:
    with bins.begin(tmp_path / "run"), pytest.raises(RunConflict, match=f"process {os.getpid()}"):
        bins.begin(tmp_path / "run")
    bins.begin(tmp_path / "run").close()


def test_a_file_too_large_for_the_disk_names_path_and_bytes(world, tmp_path) -> None:
    with world.begin(tmp_path / "run") as sink:
        run_to_end(world, "no_room", tmp_path)
        text = (tmp_path / "error").read_text()
        assert Path(text.split()[2].rstrip(":")).name.startswith("chr2_")
        assert re.search(r"needs [\d,]+ bytes and [\d,]+ are free there", text)
        assert not bins.staged_files(tmp_path / "run")
        assert sink.pending() == [0, 1, 2]


def write_pending(world: ModuleType, sink: ShardSink) -> None:
    for shard in sink.pending():
        sink.write(shard, world.pieces_of(shard, sink.blocks))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_reported_and_the_run_goes_on_when_there_is_room(world, small_disk) -> None:
    with world.begin(small_disk / "run") as sink:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * max(0, free_bytes(small_disk) - 4096))
        with pytest.raises(StorageError, match=r"No space left.*needs [\d,]+ bytes and [\d,]+ are"):
            write_pending(world, sink)
        assert not bins.staged_files(small_disk / "run")
    ballast.unlink()
    world.finish(small_disk / "run")
    check_whole(world, small_disk / "run")


def test_a_read_only_disk_is_reported(small_disk) -> None:
    bins.begin(small_disk / "run").close()
    sink = ShardSink.attach(small_disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match=r"Read-only file system\. Make the folder writable"):
        sink.write(0, bins.pieces_of(0, sink.blocks))
    with pytest.raises(StorageError, match=r"other/run.*Read-only|other: Read-only"):
        bins.begin(small_disk / "other/run")


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EPERM, errno.EIO]
)
def test_a_failed_publication_leaves_nothing(tmp_path, monkeypatch, number) -> None:
    staging, final = tmp_path / "staging", tmp_path / "a/final"
    staging.mkdir()

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match=f"{final}: {os.strerror(number)}"):
        publish(b"12345", final, staging=staging, exclusive=True)
    assert list(staging.iterdir()) == []
    assert not final.exists()


def test_an_interrupt_after_the_commit_keeps_the_shard(world, tmp_path, monkeypatch) -> None:
    with world.begin(tmp_path / "run") as sink:
        link = os.link

        def interrupted(source: Path, target: Path) -> None:
            link(source, target)
            if target.parent.name == "_commits":
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "link", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sink.write(0, world.pieces_of(0, sink.blocks))
        monkeypatch.undo()
        assert sink.pending() == [1, 2]
        assert not bins.staged_files(tmp_path / "run")


def test_publishing_creates_once_or_replaces(tmp_path) -> None:
    final = tmp_path / "a/b/final"
    assert publish(b"first", final, staging=tmp_path, exclusive=True)
    assert not publish(b"second", final, staging=tmp_path, exclusive=True)
    assert final.read_bytes() == b"first"
    assert publish(b"third", final, staging=tmp_path, exclusive=False)
    assert final.read_bytes() == b"third"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_readers_never_see_a_part_of_a_file_that_is_replaced(tmp_path) -> None:
    final = tmp_path / "final"
    contents = {bytes([letter]) * 300_000 for letter in b"ab"}
    publish(b"a" * 300_000, final, staging=tmp_path, exclusive=False)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for content in contents:
                publish(content, final, staging=tmp_path, exclusive=False)

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = [final.read_bytes() in contents for _ in range(200)]
    stop.set()
    writer.join()
    assert all(seen)
