"""Passes and daemons of a schedule, killed by SIGKILL at every point: no fire is lost or doubled.

The command writes a line when it starts and one when it ends; so a double start shows.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import schedules
from schedules import MINUTE, POINTS, Bench, counting, lines, minute

from cisray_jobs.schedule.definition import IN_FLIGHT
from cisray_jobs.schedule.ledger import LEASE_S

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("importable")]

SCRIPT = schedules.__file__


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def passes(folder: Path, moment: int, point: str = "none", count: int = 1) -> int:
    """Make passes in a process of its own; give its exit code."""
    command = [sys.executable, SCRIPT, str(folder), str(moment), point, str(count)]
    return subprocess.run(command, check=False, timeout=60).returncode


def scheduled(folder: Path, seconds: float = 0.0, **options: object) -> Bench:
    bench = counting(folder, minute(0))
    bench.add("s", "{time}", str(folder), str(seconds), cron="* * * * *", **options)
    return bench


def finish(bench: Bench) -> None:
    """Make passes until nothing is in flight, with the clock beyond any lease."""
    bench.clock.forward(LEASE_S)
    deadline = time.monotonic() + 20
    while bench.ledger.fires("s", IN_FLIGHT):
        assert time.monotonic() < deadline
        list(bench.ticker._put_down_ends(None))
        while (claim := bench.ledger.claim(bench.clock.now(), "after")) is not None:
            list(bench.ticker._bring_on(claim))
        time.sleep(0.01)


@pytest.mark.parametrize("point", [point for point in POINTS if point != "none"])
def test_a_pass_killed_at_any_point_loses_and_doubles_nothing(point: str, tmp_path: Path) -> None:
    bench = scheduled(tmp_path)
    # Two passes a minute apart, so that the end of the first fire is put down by the second.
    codes = [passes(tmp_path, minute(1), point)]
    if codes[0] == 0:
        wait_for(tmp_path, 1)
        codes.append(passes(tmp_path, minute(2) - 1, point))
    assert codes[-1] == -signal.SIGKILL
    bench.clock.moment = minute(2)
    if not bench.fires():  # killed before the times were decided: the next pass decides them
        assert passes(tmp_path, minute(2) - 1) == 0
    finish(bench)
    (fire,) = bench.fires()
    assert (fire.time, fire.state, fire.attempt) == (minute(1), "succeeded", 1)
    assert lines(tmp_path / "starts") == lines(tmp_path / "ends") == [schedules.due(1)]
    assert len(bench.ledger.attempts("s", fire.time)) == 1


def wait_for(folder: Path, ends: int) -> None:
    deadline = time.monotonic() + 20
    while len(lines(folder / "ends")) < ends:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)  # the runner writes it down


@pytest.mark.parametrize("point", ["before it begins", "after it began", "after the command"])
def test_a_killed_runner_is_followed_by_the_same_command(point: str, tmp_path: Path) -> None:
    bench = scheduled(tmp_path)
    bench = counting(tmp_path, minute(1), schedules.runner_that_dies(point, tmp_path))
    bench.ticker.tick()
    bench.clock.forward(1 + 61)  # where it is asked for again after it could not be begun
    deadline = time.monotonic() + 20
    while bench.fires()[0].state != "succeeded":
        assert time.monotonic() < deadline
        bench.ticker.tick("s")
        time.sleep(0.02)
    fire = bench.fires()[0]
    starts = {"before it begins": 1, "after it began": 1, "after the command": 2}[point]
    assert lines(tmp_path / "starts")[:starts] == [schedules.due(1)] * starts
    assert fire.attempt == (1 if point == "before it begins" else 2)
    # One after the other, never both at once.
    assert lines(tmp_path / "ends")[:starts] == [schedules.due(1)] * starts


@pytest.mark.slow
def test_many_processes_that_pass_at_once_fire_once(tmp_path: Path) -> None:
    bench = scheduled(tmp_path, seconds=0.05)
    for number in (1, 2):
        command = [sys.executable, SCRIPT, str(tmp_path), str(minute(number)), "none", "3"]
        children = [subprocess.Popen(command) for _ in range(6)]
        assert [child.wait(60) for child in children] == [0] * 6
        wait_for(tmp_path, number)
        bench.clock.moment = minute(number) + 1 - LEASE_S
        finish(bench)
    assert lines(tmp_path / "starts") == [schedules.due(1), schedules.due(2)]
    assert bench.ends() == ["succeeded", "succeeded"]


@pytest.mark.slow
def test_passes_killed_at_random_moments_and_places(tmp_path: Path) -> None:
    """Six times, each with processes one after another and at once, some killed somewhere."""
    bench = scheduled(tmp_path, seconds=0.02, overlap="queue")
    dice = random.Random(4)
    points = [point for point in POINTS if point != "none"]
    kills = 0
    for number in range(1, 7):
        # Leases end between two times here, so that each begins anew.
        moment = minute(number * (LEASE_S // MINUTE + 1))
        sane = [sys.executable, SCRIPT, str(tmp_path), str(moment), "none", "2"]
        ahead = dice.choice(points[:5]) if number % 2 else "none"
        kills += passes(tmp_path, moment, ahead) == -signal.SIGKILL
        with subprocess.Popen(sane) as child:
            kills += passes(tmp_path, moment, dice.choice(points), 2) == -signal.SIGKILL
        assert child.returncode == 0
        time.sleep(0.1)
    bench.clock.moment = moment
    finish(bench)
    fires = bench.fires()
    assert sum(1 + fire.missed for fire in fires) == (moment - minute(0)) // MINUTE
    fired = [schedules.told_time(fire.time) for fire in fires if fire.state == "succeeded"]
    assert Counter(lines(tmp_path / "starts")) == Counter(lines(tmp_path / "ends"))
    assert sorted(lines(tmp_path / "starts")) == fired
    assert all(fire.state in ("succeeded", "skipped") for fire in fires)
    assert kills >= 2


def daemon(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cisray_jobs.cli", "schedule", "serve", "--every", "0.2"]
    return subprocess.Popen([*command, "--ledger", str(folder / "ledger"), *more])


@pytest.mark.long
def test_a_daemon_ends_on_sigterm_and_leaves_its_command_running(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "ledger")
    bench.clock.moment = int(time.time())
    command = ("model", "init", str(tmp_path / "{time}.safetensors"), "--size", "tiny")
    bench.add("s", *command, cron="0 0 1 1 *")
    ends = {signal.SIGTERM: 0, signal.SIGKILL: -signal.SIGKILL}
    for number, code in ends.items():
        served = daemon(tmp_path)
        moment = bench.ledger.ask("s", int(time.time()))
        until(lambda: bench.ledger.attempts("s", moment))  # noqa: B023 - called in this round
        served.send_signal(number)
        assert served.wait(20) == code
    made = [tmp_path / f"{schedules.told_time(fire.time)}.safetensors" for fire in bench.fires()]
    served = daemon(tmp_path)
    until(lambda: bench.ends() == ["succeeded"] * 2)
    served.kill()
    served.wait()
    assert all(path.exists() for path in made)
    starts = [len(bench.ledger.attempts("s", fire.time)) for fire in bench.fires()]
    assert starts == [1, 1]


def until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_minute_schedule_in_real_time_survives_sigkill_of_its_daemon(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "ledger")
    bench.clock.moment = int(time.time())
    bench.add("s", "model", "init", str(tmp_path / "{time}.safetensors"), "--size", "tiny")
    for _ in range(12):
        served = daemon(tmp_path, "--quiet")
        time.sleep(11)
        served.kill()
        served.wait()
    words = ("schedule", "tick", "--wait", "--ledger", str(tmp_path / "ledger"))
    last = [sys.executable, "-m", "cisray_jobs.cli", *words]
    assert subprocess.run(last, check=False, timeout=120).returncode == 0
    fires = bench.fires()
    assert sum(1 + fire.missed for fire in fires) >= 2
    made = sorted(path.stem for path in tmp_path.glob("*.safetensors"))
    assert made == [schedules.told_time(f.time) for f in fires if f.state == "succeeded"]
    assert all(len(bench.ledger.attempts("s", fire.time)) <= 1 for fire in fires)
