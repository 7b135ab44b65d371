"""`--log-format json`: all of stderr is JSON, line by line, of the driver and of its workers."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from engine_tasks import Scripted

from cisray import logs
from cisray.engine.pool import RayExecutor
from cisray.engine.task import PoolPolicy, RunLabel

# A run in which the second shard fails once, as a flaky file system makes it.
CODE = """
import sys
from cisray.scoring.tiles import TileScorer
from cisray_jobs import cli

score, failed = TileScorer.score, []

def flaky(self, tiles):
    if tiles[0][0].target.chrom == "chrB" and not failed:
        failed.append(1)
        raise OSError(5, "Input/output error")
    return score(self, tiles)

TileScorer.score = flaky
sys.exit(cli.run(sys.argv[1:]))
"""


def run(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run a command in a process of its own, and parse every line of its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()], done.stdout


@pytest.mark.long
def test_a_run_with_a_retry_says_all_in_json(inputs, tmp_path: Path) -> None:
    given = inputs.options(tmp_path / "run", "--self-check", "off", "--json")
    code, lines, out = run("--log-format", "json", *given)
    assert code == 0
    assert json.loads(out)["rows"] == 95
    run_id = json.loads((tmp_path / "run/run.json").read_text())
    [failed] = [line for line in lines if line["level"] == "WARNING"]
    # chrA is shard 0, chrB shard 1.
    assert failed["shard"] == 1
    assert failed["run"].startswith("score-genome-")
    assert failed["run"].startswith(run_id["job"])
    assert failed["logger"] == "cisray.engine.attempt"
    assert "Input/output error" in failed["traceback"]
    assert failed["host"] == os.uname().nodename
    assert failed["time"].endswith("+00:00")
    progress = [line for line in lines if line["logger"] == "cisray.progress"]
    assert progress[-1]["facts"] == {"completed": 2, "total": 2}
    assert "2/2 shards, 95 rows" in progress[-1]["message"]
    assert "1 retried" in progress[-1]["message"]
    assert {line["run"] for line in progress} == {failed["run"]}
    assert all("shard" not in line for line in progress)


@pytest.mark.long
def test_what_ends_a_command_is_a_record_too(inputs, tmp_path: Path) -> None:
    given = inputs.options(tmp_path / "run", "--tracks", "NOSUCH")
    code, lines, _ = run("--log-format", "json", *given)
    assert code == 2
    assert [(line["level"], "NOSUCH" in line["message"]) for line in lines] == [("ERROR", True)]


def test_text_stays_what_it_was(cisray, inputs, tmp_path: Path) -> None:
    given = inputs.options(tmp_path / "run", "--tracks", "NOSUCH")
    assert cisray(*given).err.split(maxsplit=1)[0] == "Error:"


@pytest.mark.ray
def test_workers_write_their_records_as_the_driver_does(
    embedded_ray, tmp_path: Path, monkeypatch
) -> None:
    """Ray keeps the stderr of every worker in a file of the session's folder."""
    monkeypatch.setattr(logs._Process, "settings", logs.LogSettings("json"))
    RayExecutor(PoolPolicy(workers=1), embedded_ray).run(
        Scripted(str(tmp_path), {3: "once raise"}), [3], label=RunLabel("run-of-logs", "test")
    )
    from cisray.engine.rayenv import driver

    folder = Path(driver._global_node.get_logs_dir_path())
    end = time.monotonic() + 20
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < end:
        for path in folder.glob("worker-*.err"):
            found += [json.loads(x) for x in path.read_text().splitlines() if "run-of-logs" in x]
    [line] = found
    assert (line["shard"], line["level"]) == (3, "WARNING")
    assert line["worker"].startswith("cisray-run-of-logs-")
    assert "bin 7 is not finite" in line["traceback"]
