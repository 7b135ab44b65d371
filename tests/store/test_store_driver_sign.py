"""Who looks at a run's lock learns who holds it, and keeps nobody from it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from cisray.errors import RunConflict
from cisray.store.lease import Lease
from cisray.store.locate import locate
from cisray.store.lock import RunLock, look
from cisray.store.objects import Objects


def test_a_lock_that_is_held_names_its_owner_and_when_it_was_taken(tmp_path: Path) -> None:
    assert look(tmp_path / "_lock").alive is False
    before = datetime.now().astimezone()
    lock = RunLock(tmp_path / "_lock")
    sign = locate(tmp_path).driver()
    assert (sign.alive, sign.owner) == (True, f"process {os.getpid()} on {os.uname().nodename}")
    assert sign.since is not None
    # To the millisecond, downwards.
    assert -0.001 <= (datetime.fromisoformat(sign.since) - before).total_seconds() < 10
    lock.release()
    ended = look(tmp_path / "_lock")
    assert (ended.alive, ended.owner) == (False, None)


def test_who_died_with_a_lock_is_still_named(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from cisray.store.lock import RunLock\n"
        f"lock = RunLock(Path({str(tmp_path / '_lock')!r})); print('held', flush=True)\n"
        "time.sleep(100)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    dying = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert dying.stdout is not None
    assert dying.stdout.readline() == "held\n"
    assert look(tmp_path / "_lock").alive is True
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    dying.stdout.close()
    sign = look(tmp_path / "_lock")
    assert (sign.alive, sign.owner) == (False, f"process {dying.pid} on {os.uname().nodename}")


def test_looking_again_and_again_keeps_no_driver_out(tmp_path: Path) -> None:
    """A look shares the lock for a moment; a driver that comes then waits for it to pass."""
    path = tmp_path / "_lock"
    RunLock(path).release()
    over = threading.Event()

    def look_on() -> None:
        while not over.is_set():
            look(path)

    watchers = [threading.Thread(target=look_on) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(100):
            RunLock(path).release()
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


def test_a_second_driver_is_still_refused(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "_lock")
    with pytest.raises(RunConflict, match=f"process {os.getpid()} on"):
        RunLock(tmp_path / "_lock")
    assert look(tmp_path / "_lock").alive is True
    lock.release()


def test_a_lock_of_an_older_version_says_no_time(tmp_path: Path) -> None:
    (tmp_path / "_lock").write_text(json.dumps({"pid": 7, "host": "n1"}))
    sign = look(tmp_path / "_lock")
    assert (sign.alive, sign.owner, sign.since) == (False, "process 7 on n1", None)


def test_a_lease_is_seen_to_change_as_long_as_it_is_held(bucket: str) -> None:
    folder = locate(bucket)
    assert folder.driver().alive is False
    held = Lease.take(Objects(bucket, hurry_s=1), lease_s=1.0)
    first = folder.driver()
    assert (first.alive, first.lease_s) == (None, 1.0)
    assert first.owner == f"process {os.getpid()} on {os.uname().nodename}"
    assert first.since is not None
    time.sleep(0.8)
    later = folder.driver()
    assert later.mark != first.mark
    assert later.since == first.since
    held.release()
    assert (folder.driver().alive, folder.driver().owner) == (False, None)
