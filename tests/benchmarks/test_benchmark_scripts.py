"""The benchmark that needs nothing but cisray still runs: it uses the job's parts as they are.

Its numbers are not judged here; no time is.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_input_output_share_runs_on_the_tiny_model_and_keeps_no_result() -> None:
    results = ROOT / "benchmarks" / "results"
    before = sorted(results.glob("*"))
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "input_output_share.py",
            *("--size", "tiny", "--tiles", "1", "--threads", "1"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["for each tile", "8 tracks", "2 tracks"]
    shares = {row[0]: row[1:] for row in rows[2:]}
    for share in shares["reading and writing, share"]:
        assert 0 < float(share.removesuffix("%")) < 100
    assert sorted(results.glob("*")) == before
