"""Whole `cisray` commands as processes that tests may kill, and the means to kill them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ACTOR_TITLE = "ray::ShardActor"


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start `cisray ARGUMENTS` as the leader of a session of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "cisray_jobs.cli", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def descendants(pid: int) -> dict[int, str]:
    """The processes below a process, as pid to command line: Ray's daemons and its actors."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (command) state ppid ...; the command may hold spaces and parentheses.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # gone meanwhile
    family, found = {pid}, {}
    while new := {child for child, parent in parents.items() if parent in family} - family:
        family |= new
        found |= {child: _command(child) for child in new}
    return found


def kill_actor(driver: int) -> bool:
    """SIGKILL one scoring actor of a driver; False if there is none."""
    actors = [pid for pid, line in descendants(driver).items() if line.startswith(ACTOR_TITLE)]
    return bool(actors) and kill(actors[0])


def kill_everything(driver: int) -> None:
    """SIGKILL a driver with all that it started, and wait until all of it is gone."""
    family = {driver, *descendants(driver)}
    for pid in family:
        kill(pid)
    deadline = time.monotonic() + 30
    while any(_is_alive(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_alive(pid) for pid in family)


def kill(pid: int) -> bool:
    """SIGKILL a process; False if it was gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _command(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
