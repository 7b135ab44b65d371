"""`cisray runs watch`: told from a run's folder alone, whoever writes it and however that ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import store_runs
from damage import record_of

from cisray.store.driver_sign import DriverSign
from cisray.store.lease import Lease
from cisray.store.lock import RunLock
from cisray.store.receipt import Receipt
from cisray.store.scan import open_run
from cisray_jobs.watch_run import DriverEyes, Glance, RunWatch
from cisray_jobs.watching import follow, told


@pytest.fixture(scope="module")
def sealed(inputs, tmp_path_factory) -> Path:
    """A sealed run of 95 rows in 3 shards: 48 and 23 bins of chrA, 24 of chrB."""
    from cisray_jobs import cli

    out = tmp_path_factory.mktemp("watched") / "run"
    given = inputs.options(out, "--quiet", "--tiles-per-shard", 3, "--self-check", "off")
    assert cli.run(list(given)) == 0
    return out


@pytest.fixture
def run(sealed: Path, tmp_path: Path) -> Path:
    """The same while it goes on: shard 2 is not done."""
    out = tmp_path / "run"
    shutil.copytree(sealed, out)
    for name in ("_SUCCESS", "summary.json", "_manifest.parquet"):
        (out / name).unlink()
    record_of(out, 2).unlink()
    return out


def finished_at(run: Path, shard: int) -> datetime:
    receipt = Receipt.model_validate_json(record_of(run, shard).read_text())
    computed = datetime.fromisoformat(str(receipt.info["computed"]))
    return computed + timedelta(seconds=receipt.wall_s)


def begun_at(run: Path) -> datetime:
    receipt = Receipt.model_validate_json(record_of(run, 0).read_text())
    return datetime.fromisoformat(str(receipt.info["session"]))


def hold(run: Path, since: datetime) -> RunLock:
    """Be the driver of a run since then."""
    lock = RunLock(run / "_lock")
    held = json.loads((run / "_lock").read_text())
    (run / "_lock").write_text(json.dumps({**held, "since": since.isoformat()}))
    return lock


def put_failure(run: Path, shard: int, reason: str) -> None:
    begun = open_run(run, allow_unsealed=True).manifest.begun
    (run / "_failed").mkdir(exist_ok=True)
    record = {"shard": shard, "reason": reason, "attempts": 3}
    (run / f"_failed/{shard:06d}.{begun}.json").write_text(json.dumps(record))


def test_a_run_that_goes_on_tells_how_far_it_is_and_how_fast(run: Path) -> None:
    """71 of 95 rows are done, in the 20 seconds since its driver began."""
    begun = begun_at(run)
    lock = hold(run, begun)
    seen = RunWatch(run, now=lambda: begun + timedelta(seconds=20)).look()
    lock.release()
    assert (seen.state, seen.shards, seen.done) == ("running", 3, 2)
    assert (seen.rows, seen.rows_done, seen.workers) == (95, 71, 1)
    assert seen.rows_per_second == pytest.approx(71 / 20)
    assert seen.left_s == pytest.approx(24 / (71 / 20))
    last = max(finished_at(run, 0), finished_at(run, 1))
    assert seen.quiet_s == pytest.approx(20 - (last - begun).total_seconds())
    assert told(seen) == "2/3 shards, 71 of 95 rows, 3.5 rows/s, 0:07 left, 1 worker"


def test_a_driver_that_goes_on_is_not_judged_by_the_session_before(run: Path) -> None:
    """The shards that are there were finished an hour before it began."""
    begun = begun_at(run) + timedelta(hours=1)
    lock = hold(run, begun)
    seen = RunWatch(run, now=lambda: begun + timedelta(seconds=90)).look()
    lock.release()
    assert (seen.state, seen.workers, seen.rows_per_second, seen.left_s) == (
        "running", None, None, None,
    )  # fmt: skip
    assert seen.quiet_s == pytest.approx(90)


@pytest.mark.parametrize(("after_s", "state"), [(55, "running"), (75, "stalled")])
def test_a_run_in_which_nothing_is_finished_any_more_is_stalled(
    run: Path, after_s: int, state: str
) -> None:
    """Shards took a second or two here, so that it is the least patience of a minute."""
    lock = hold(run, begun_at(run))
    last = max(finished_at(run, 0), finished_at(run, 1))
    seen = RunWatch(run, now=lambda: last + timedelta(seconds=after_s)).look()
    lock.release()
    assert seen.state == state
    assert ("STALLED: no shard since 75 s" in told(seen)) == (state == "stalled")


def test_new_shards_are_seen_and_old_ones_are_not_read_again(sealed: Path, run: Path) -> None:
    watch = RunWatch(run)
    lock = RunLock(run / "_lock")
    assert watch.look().done == 2
    record_of(run, 0).write_text("no longer read")
    shutil.copy(record_of(sealed, 2), run / "_commits")
    assert watch.look().done == 3
    lock.release()


def test_a_run_that_is_begun_anew_is_looked_at_anew(run: Path) -> None:
    watch = RunWatch(run)
    lock = RunLock(run / "_lock")
    assert watch.look().done == 2
    text = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**text, "begun": "f" * 32}))
    assert watch.look().done == 0
    lock.release()


def test_it_ends_with_the_run_and_says_how(cisray, sealed: Path, run: Path) -> None:
    answer = cisray("runs", "watch", sealed)
    assert answer.code == 0
    assert answer.out == f"3/3 shards, 95 of 95 rows\n{sealed} is done.\n"

    stopped = cisray("runs", "watch", run)
    assert stopped.code == 1
    assert "is not finished, and nobody is working on it" in stopped.out

    (run / "_lock").write_text(json.dumps({"pid": 7, "host": "node3"}))
    lost = cisray("runs", "watch", run)
    assert lost.code == 1
    assert "its driver (process 7 on node3) has died" in lost.out

    put_failure(run, 2, "ValueError: bin 7 is not finite")
    failed = cisray("runs", "watch", run, "--json")
    assert failed.code == 1
    line = json.loads(failed.out)
    assert (line["state"], line["done"], line["driver"]) == ("failed", 2, "process 7 on node3")
    assert line["failures"] == [
        {"shard": 2, "attempts": 3, "reason": "ValueError: bin 7 is not finite"}
    ]
    shown = cisray("runs", "watch", run).out
    assert "1 FAILED" in shown
    assert "shard 2 failed (3): ValueError: bin 7 is not finite" in shown


def test_what_is_no_run_is_told_apart(cisray, tmp_path: Path) -> None:
    cisray("runs", "watch", tmp_path).assert_one_paragraph("holds no run that could be watched")
    for name in ("evaluation.json", "evaluations.json"):
        (tmp_path / name).write_text("{}")
        cisray("runs", "watch", tmp_path).assert_one_paragraph("evaluations that are finished")
        (tmp_path / name).unlink()


def test_a_training_run_is_watched_by_its_records(cisray, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"steps": 8}))
    record = {
        "kind": "train", "step": 4, "head": "human", "loss": 0.51234, "examples_per_s": 12.3,
    }  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    stopped = cisray("runs", "watch", tmp_path)
    assert stopped.code == 1
    assert stopped.out.startswith("step 4/8, loss 0.5123, 12.3 examples/s\n")
    (tmp_path / "model.safetensors").touch()
    assert cisray("runs", "watch", tmp_path).code == 0


def test_it_looks_until_the_end_with_a_pause_between_two_looks() -> None:
    glance = Glance("r", "running", 3, 1, 95, 48, (), "p", 1, 2.0, 3.0, 4.0)
    states = [glance, replace(glance, state="stalled"), replace(glance, state="sealed")]
    seen: list[object] = []
    pauses: list[float] = []
    looks = iter(states)
    last = follow(lambda: next(looks), seen.append, every_s=5.0, pause=pauses.append)
    assert seen == states
    assert last == states[-1]
    assert pauses == [5.0, 5.0]


def test_a_lease_that_is_not_renewed_is_a_driver_that_died() -> None:
    now = [0.0]
    eyes = DriverEyes(lambda: now[0])
    sign = DriverSign("p", None, mark="1", lease_s=20.0)
    assert eyes.is_alive(sign) is True
    now[0] = 19.0
    assert eyes.is_alive(sign) is True
    assert eyes.is_alive(replace(sign, mark="2")) is True
    now[0] = 39.0
    assert eyes.is_alive(replace(sign, mark="2")) is True
    now[0] = 39.1
    assert eyes.is_alive(replace(sign, mark="2")) is False
    assert eyes.is_alive(DriverSign("p", True)) is True
    assert eyes.is_alive(DriverSign("p", None)) is None


@pytest.mark.long
def test_a_driver_is_followed_from_another_process_until_it_is_killed(
    inputs, tmp_path: Path
) -> None:
    """A real command, watched while it scores, and killed."""
    out = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    given = inputs.options(out, "--quiet", "--tiles-per-shard", 1, "--self-check", "off")
    driver = subprocess.Popen(
        [sys.executable, "-m", "cisray_jobs.cli", *given],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not any((out / "_commits").glob("*")):
            assert driver.poll() is None
        states: list[str] = []

        def tell(seen: Glance) -> None:
            states.append(seen.state)
            driver.send_signal(signal.SIGKILL)

        last = follow(RunWatch(out).look, tell, every_s=0.05)
    finally:
        driver.kill()
        driver.wait()
    assert isinstance(last, Glance)
    if last.state != "sealed":  # it may be done before it is killed
        assert last.state == "lost"
        assert last.driver == f"process {driver.pid} on {os.uname().nodename}"
        assert datetime.now(UTC) > begun_at(out)


def test_a_run_in_an_object_store_is_watched_by_its_lease(bucket: str) -> None:
    """Leases of a second: a driver that stops renewing is lost a second later."""
    sink = store_runs.begin(bucket)
    watch = RunWatch(bucket)
    shards = list(sink.plan.spans)
    sink.write(shards[0], store_runs.pieces_of(shards[0], store_runs.TWO_BLOCKS))
    seen = watch.look()
    assert (seen.state, seen.done, seen.shards) == ("running", 1, len(shards))
    time.sleep(1.5)
    assert watch.look().state == "running"
    lease = sink._lock
    assert isinstance(lease, Lease)
    lease._stop.set()  # as a process that is killed leaves it
    lease._thread.join()
    last = follow(watch.look, lambda seen: None, every_s=0.2)
    assert isinstance(last, Glance)
    assert (last.state, last.done) == ("lost", 1)
    assert last.driver == f"process {os.getpid()} on {os.uname().nodename}"
