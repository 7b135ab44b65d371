"""What tests of schedules share: a clock that is set, a backend in memory, a ledger and its ticker.

Run as a script it makes passes in a process of its own, and kills itself at a named point:

    python schedules.py FOLDER MOMENT POINT PASSES [ADDRESS]

With an address, commands are jobs of the cluster there.
"""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cisray.errors import ClusterSilent
from cisray_jobs.schedule.backend import Job, Phase, Settled, Status
from cisray_jobs.schedule.cron import told_time
from cisray_jobs.schedule.definition import Cluster, Fire, Schedule, State
from cisray_jobs.schedule.ledger import Ledger
from cisray_jobs.schedule.local_backend import RUNNER, LocalBackend
from cisray_jobs.schedule.tick import Event, Ticker

# A Monday, 2026-11-23 12:00:30 UTC.
BEGIN = 1_795_435_230
MINUTE = 60

# What the ledger runs for cisray: a line in `starts` and one in `ends` for every start, and how
# long it takes; the last argument but one is the folder, the last one the seconds.
COUNTER = """
import os, sys, time
from pathlib import Path
folder, seconds = Path(sys.argv[-2]), float(sys.argv[-1])
def say(name):
    with (folder / name).open("a") as stream:
        stream.write(" ".join(sys.argv[1:-2]) + "\\n")
say("starts")
time.sleep(seconds)
say("ends")
"""


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self, moment: int = BEGIN) -> None:
        self.moment = moment

    def now(self) -> int:
        return self.moment

    def forward(self, seconds: int) -> None:
        self.moment += seconds


class MemoryBackend:
    """Jobs that run until a test ends them: it keeps the contract that `backend` states.

    `silent`: why it is out of reach, if it is.
    """

    program = ("cisray",)

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self._known: dict[str, Status] = {}
        self.silent = ""

    def settle(self, arguments: tuple[str, ...], folder: str) -> Settled:
        self.reach()
        return Settled(arguments)

    def reach(self) -> None:
        if self.silent:
            raise ClusterSilent(self.silent)

    def submit(self, job: Job) -> None:
        self.reach()
        if job.id not in self._known:
            self.jobs[job.id] = job
            self._known[job.id] = Status(Phase.RUNNING)

    def status(self, job_id: str) -> Status | None:
        self.reach()
        return self._known.get(job_id)

    def stop(self, job_id: str) -> None:
        known = self._known.get(job_id)
        if known is None or known.phase is Phase.RUNNING:
            self._known[job_id] = Status(Phase.ENDED, -signal.SIGTERM)

    def log(self, job_id: str) -> str | None:
        return None

    def cluster_id(self, job_id: str) -> str | None:
        return None

    def running(self) -> list[str]:
        return [name for name, known in self._known.items() if known.phase is Phase.RUNNING]

    def end(self, exit_code: int | None = 0, why: str = "") -> Job:
        """End the only job that runs; without a code it is lost."""
        (name,) = self.running()
        phase = Phase.LOST if exit_code is None else Phase.ENDED
        self._known[name] = Status(phase, exit_code, why=why)
        return self.jobs[name]


@dataclass
class Bench:
    """A ledger with its ticker; more tickers of the same ledger are other processes."""

    folder: Path
    clock: SetClock = field(default_factory=SetClock)
    backend: Any = field(default_factory=MemoryBackend)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder)
        self.ticker = self.another("one")

    def another(self, owner: str) -> Ticker:
        return Ticker(Ledger(self.folder), lambda _: self.backend, self.clock, owner)

    def add(self, name: str = "s", *command: str, **options: Any) -> Schedule:
        given = {
            "name": name, "uid": "0123abcd", "cron": "* * * * *", "timezone": "UTC",
            "folder": str(self.folder.parent), "created": self.clock.now(),
            "command": command or ("score", "variants", "--out", "runs/{time}"),
        }  # fmt: skip
        schedule = Schedule(**(given | options))
        self.ledger.add(schedule)
        return schedule

    def tick(self, forward: int = 0) -> list[str]:
        """Go on in time and make a pass; give the states that it told of."""
        self.clock.forward(forward)
        return states(self.ticker.tick())

    def fires(self, name: str = "s") -> list[Fire]:
        """The first one first."""
        return self.ledger.fires(name)[::-1]

    def ends(self, name: str = "s") -> list[str]:
        return [fire.state for fire in self.fires(name)]


def states(events: list[Event]) -> list[str]:
    return [event.state for event in events]


def minute(number: int) -> int:
    """The moment of a whole minute after BEGIN, the first one being 1."""
    return BEGIN // MINUTE * MINUTE + number * MINUTE


def due(number: int) -> str:
    return told_time(minute(number))


# Where a pass kills its process: before or after a call of the ledger or of the backend.
POINTS = {
    "none": None,
    "before the times are decided": (Ledger, "decide", "before"),
    "after the times are decided": (Ledger, "decide", "after"),
    "after a claim": (Ledger, "claim", "after"),
    "before the command is settled": (Ledger, "settle", "before"),
    "after the command is settled": (Ledger, "settle", "after"),
    "before it is submitted": (LocalBackend, "submit", "before"),
    "after it is submitted": (LocalBackend, "submit", "after"),
    "after the start is put down": (Ledger, "started", "after"),
    "before the end is put down": (Ledger, "end_attempt", "before"),
    "after the end is put down": (Ledger, "end_attempt", "after"),
    "within the transaction of the start": (Ledger, "_set", "after"),
}


def cluster_points() -> dict[str, Any]:
    """Such points of a pass that submits to a cluster."""
    from cisray.engine.jobs import Jobs
    from cisray_jobs.schedule.ray_backend import RayBackend

    return {
        "before it is sent": (Jobs, "submit", "before"),
        "after it is sent": (Jobs, "submit", "after"),
        "after its begin is put down": (RayBackend, "submit", "after"),
        "within the record of its end": (RayBackend, "_put_down_end", "before"),
    }


def kill_at(point: str) -> None:
    """Make this process kill itself when it comes to a point."""
    where = POINTS[point] if point in POINTS else cluster_points()[point]
    if where is None:
        return
    owner, name, when = where
    original = getattr(owner, name)

    def killing(*arguments: Any, **named: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*arguments, **named)
        if (when == "after" and answer is not None) or name not in ("claim", "decide"):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, killing)


def runner_that_dies(point: str, folder: Path) -> tuple[str, ...]:
    """A runner that is killed, once, before it begins, or when it has begun and started nothing."""
    script = folder / "dying_runner.py"
    script.write_text(
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from cisray_jobs.schedule import runner\n"
        f"once = Path({str(folder / 'died')!r})\n"
        "def die(*_):\n    if not once.exists():\n        once.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "write, fork, run_job = runner.write_whole, os.fork, runner.run_job\n"
        f"if {point!r} == 'before it begins':\n"
        "    runner.write_whole = lambda *a: (die(), write(*a))\n"
        f"if {point!r} == 'after it began':\n"
        "    os.fork = lambda: (die(), fork())[1]\n"
        f"if {point!r} == 'after the command':\n"
        "    runner.run_job = lambda *a: (run_job(*a), die())[0]\n"
        "runner.main(Path(sys.argv[1]))\n"
    )
    return (sys.executable, str(script))


def program(folder: Path) -> tuple[str, ...]:
    """Write the command that counts, and say how it is called.

    Once: who truncates a file that a process is just being started from makes it do nothing.
    """
    script = folder / "counter.py"
    if not script.exists():
        script.write_text(COUNTER)
    return (sys.executable, str(script))


def counting(folder: Path, moment: int, runner: tuple[str, ...] = RUNNER) -> Bench:
    """A bench whose commands are processes that count how often they start and end."""
    backend = LocalBackend(folder / "ledger/jobs", runner, program(folder))
    return Bench(folder / "ledger", SetClock(moment), backend)


def counting_at(address: str, folder: Path, moment: int) -> Bench:
    """A bench whose commands are jobs of a cluster; they count, and mean the same everywhere."""
    from cisray_jobs.schedule.ray_backend import RayBackend, Reached

    class Counting(RayBackend):
        def settle(self, arguments: tuple[str, ...], folder: str) -> Settled:
            return Settled(arguments)

    cluster = Cluster(address=address)
    backend = Counting(folder / "ledger/jobs", cluster, Reached(address))
    backend.program = program(folder)
    return Bench(folder / "ledger", SetClock(moment), backend)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def state_of(bench: Bench, number: int = 0) -> State:
    return bench.fires()[number].state


if __name__ == "__main__":
    where, moment, point, passes, *at = sys.argv[1:]
    given = Path(where), int(moment)
    made = counting_at(at[0], *given) if at else counting(*given)
    kill_at(point)
    for _ in range(int(passes)):
        made.ticker.tick()
