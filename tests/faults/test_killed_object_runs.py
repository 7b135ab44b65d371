"""Runs in an object store whose processes are killed with SIGKILL: they seal, and lose nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import store_faults
import store_runs as bins
from campaign import kill_everything
from gapped_genome import write_genome
from polars.testing import assert_frame_equal
from s3_server import KEY, SECRET

from cisray.errors import RunNotFound
from cisray.store.compact import compact_run
from cisray.store.objects import Objects
from cisray.store.scan import open_run
from cisray_jobs import cli
from cisray_jobs.models import init_model

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

# A lease as short as that of the fixture `s3`, in a process of its own.
COMMAND = (
    "from cisray.store import lease; lease.LEASE_S = 1.0; from cisray_jobs.cli import main; main()"
)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def check_whole(url: str) -> None:
    assert bins.rows_of(url) == bins.expected_rows()
    objects = Objects(url)
    assert sorted(open_run(url).files["path"]) == sorted(objects.below("data"))
    assert objects.below("_staging") == {}


def check_no_half_rows(url: str) -> None:
    """A reader of what a killed process left sees whole shards or is refused."""
    try:
        rows = bins.rows_of(url, allow_unsealed=True)
    except RunNotFound:
        return
    assert set(rows) <= set(bins.expected_rows())
    whole = [0]
    for shard in bins.ROWS:
        whole += [rows_before + shard for rows_before in whole]
    assert len(rows) in whole


@pytest.mark.parametrize(
    ("action", "every"),
    [
        pytest.param("store_whole", 7, marks=pytest.mark.long),
        pytest.param("store_restart", 11, marks=pytest.mark.long),
        pytest.param("store_whole", 1, marks=pytest.mark.slow),
        pytest.param("store_restart", 1, marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_at_any_write_is_finished_by_the_same_command(
    bucket, tmp_path, action, every
) -> None:
    script = [sys.executable, store_faults.__file__, action, str(tmp_path), "bins"]
    told = {**environment(), "CISRAY_TEST_URL": bucket, "CISRAY_TEST_EVERY": str(every)}
    assert subprocess.run(script, env=told, check=False, timeout=600).returncode == 0
    calls = int((tmp_path / "calls").read_text())
    # The lock, the door, three parts at the start, two files and a record for each of three
    # shards, the file list, the end; what is deleted.
    assert calls > 15
    again = {"restart": True} if action == "store_restart" else {}
    for number in range(1, calls, every):
        url = f"{bucket}/{number:03d}"
        check_no_half_rows(url)
        bins.finish(url, **again)
        check_whole(url)


@pytest.mark.parametrize(
    "every",
    [pytest.param(5, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.slow)],
)
def test_a_compaction_killed_at_any_write_leaves_a_whole_run_and_is_finished(
    bucket, tmp_path, every
) -> None:
    script = [sys.executable, store_faults.__file__, "store_compact", str(tmp_path), "bins"]
    told = {**environment(), "CISRAY_TEST_URL": bucket, "CISRAY_TEST_EVERY": str(every)}
    assert subprocess.run(script, env=told, check=False, timeout=600).returncode == 0
    calls = int((tmp_path / "calls").read_text())
    # The lock, two data files, the history and the list; what is deleted.
    assert calls > 8
    for number in range(1, calls, every):
        url = f"{bucket}/{number:03d}"
        assert bins.rows_of(url) == bins.expected_rows()
        compact_run(url)
        check_whole(url)
        assert open_run(url).files["last_shard"].to_list() == [1, 2, 1, 2]
        assert Objects(url).below("_commits") == {}


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param(0, marks=pytest.mark.long),
        pytest.param(2, marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
def test_a_whole_command_killed_is_resumed_and_equals_an_undisturbed_run(
    bucket, tmp_path: Path, workers: int
) -> None:
    """And no secret is kept or told, by the driver or by workers in processes of their own."""
    write_genome(tmp_path / "genome.fa")
    init_model(tmp_path / "tiny.safetensors", "tiny", seed=7, randomise_all=True)
    inputs = ("--model", tmp_path / "tiny.safetensors", "--fasta", tmp_path / "genome.fa")
    # 20 tiles of 40,001 bp, of which the gap has some.
    part = ("--chromosomes", "chrC", "--tiles-per-shard", 1)
    exact = (*part, "--mantissa-bits", 23, "--threads", 1)
    given = [str(word) for word in ("score", "genome", *inputs, *exact)]
    out = ["--out", bucket, "--workers", str(workers), "--verbose"]
    driver = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *given, *out],
        env=environment(),
        stdout=(tmp_path / "said").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    objects, deadline = Objects(bucket), time.monotonic() + 120
    while len(objects.below("_commits")) < 3:
        assert time.monotonic() < deadline
        assert driver.poll() is None, (tmp_path / "said").read_text()
        time.sleep(0.05)
    kill_everything(driver.pid)
    driver.wait(30)
    done = objects.below("_commits")
    assert not objects.below("_SUCCESS")
    for place in (["--out", bucket], ["--out", str(tmp_path / "undisturbed")]):
        assert cli.run([*given, *place, "--workers", "0", "--quiet"]) == 0
    run, reference = open_run(bucket), open_run(tmp_path / "undisturbed")
    assert_frame_equal(run.scan().collect(), reference.scan().collect(), check_exact=True)
    assert run.verify() == run.files.height == len(objects.below("data"))
    assert done.items() <= objects.below("_commits").items()
    told = {name: b"".join(objects.chunks(name)) for name in objects.below("")}
    for name, data in (*told.items(), ("said", (tmp_path / "said").read_bytes())):
        for secret in (SECRET, KEY):
            assert secret.encode() not in data, name
