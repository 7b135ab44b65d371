"""Small jobs that run in processes of their own, to be killed there at a random moment.

Knows how such a process is made fast, and how it is killed; knows nothing of what should come out.
They are forked from one that has run the jobs already and has no thread but its own, so that one
costs what its job costs and not three seconds of imports. That one is this file, run as a script:
it reads a request a line and answers with what became of it.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

KILLED = -signal.SIGKILL


LEASE = "CISRAY_TEST_LEASE_S"


class Nursery:
    """The process that others are forked from. A context manager.

    `environment` is what its jobs find beside the variables of this process; under `LEASE`, the
    seconds of a lease on a run in an object store.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})

    def __enter__(self) -> Self:
        """Start it; what tests have imported is not passed on."""
        path = os.pathsep.join(filter(None, sys.path))
        told = {**os.environ, **self._environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=told,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._process.communicate(timeout=60)

    def warm(self, job: str, options: Mapping[str, Any]) -> None:
        """Run a job in that process itself, for what is imported and built on the way.

        Not into an object store: its client has threads, which a fork does not have.
        """
        self._ask({"warm": True, "job": job, "options": options})

    def run(
        self, job: str, options: Mapping[str, Any], *, kill_after: float | None = None
    ) -> tuple[int, float]:
        """Run a job in a new process and kill it after so many seconds, if it takes as long.

        Gives its exit code and the seconds that it took.
        """
        code, seconds = self._ask({"job": job, "options": options, "kill_after": kill_after})
        return int(code), seconds

    def _ask(self, request: dict[str, Any]) -> list[Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery died"
        return list(json.loads(answer))


def serve() -> None:
    """Answer requests until there are no more."""
    from cisray.engine.progress import Display
    from cisray.store import lease
    from cisray_jobs.build_dataset import BuildDataset
    from cisray_jobs.config import load_config
    from cisray_jobs.import_dataset import ImportDataset
    from cisray_jobs.score_genome import ScoreGenome
    from cisray_jobs.score_variants import ScoreVariants

    scoring = {"workers": 0, "threads": 1, "device": "cpu"}
    jobs: dict[str, tuple[Any, dict[str, Any]]] = {
        "genome": (ScoreGenome, scoring),
        "variants": (ScoreVariants, scoring),
        "build": (BuildDataset, {"workers": 0}),
        "import": (ImportDataset, {"workers": 0}),
    }
    lease.LEASE_S = float(os.environ.get(LEASE, lease.LEASE_S))

    def run(request: dict[str, Any]) -> None:
        job, here = jobs[request["job"]]
        load_config(job, {**request["options"], **here}).run(Display.NONE)

    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        if request.get("warm"):
            run(request)
            code = 0
        else:
            code = _forked(lambda request=request: run(request), request["kill_after"])
        sys.stdout.write(json.dumps([code, time.monotonic() - started]) + "\n")
        sys.stdout.flush()


def _forked(work: Any, kill_after: float | None) -> int:
    """Do the work in a child; answer its exit code, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    deadline = None if kill_after is None else time.monotonic() + kill_after
    while True:
        done, status = os.waitpid(child, os.WNOHANG if deadline is not None else 0)
        if done:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        time.sleep(0.001)


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))  # it is on PYTHONPATH, after the packages
    serve()
