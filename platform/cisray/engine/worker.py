"""What runs inside a worker process, and the handle by which the driver holds one.

`ShardActor` is a plain class that Ray makes an actor of: it opens the task once and does shards.
`Worker` is the driver's side: the calls under way, oldest first. Knows Ray; decides nothing.
"""

import itertools
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from cisray.engine.attempt import Fault
from cisray.engine.metrics import WorkerMetrics
from cisray.engine.rayenv import ray
from cisray.engine.station import Assignment, Station
from cisray.engine.task import PoolPolicy, Receipt

CallKind = Literal["pulse", "open", "shard"]

# Names are unique in a Ray session, and a killed actor keeps its name for a while: none is reused.
_serial = itertools.count()


class ShardActor:
    """One worker process: opens the task, then does the shards it is called with, one at a time."""

    def __init__(self, assignment: Assignment) -> None:
        """Keep the task; `open` loads it, so that a slow load is not taken for a slow start."""
        name = ray.get_runtime_context().get_actor_name()
        assignment.set_up_log(worker=name or "")
        self._station = Station(assignment.task, WorkerMetrics(assignment.label).after_attempt)

    def pulse(self) -> None:
        """Answer, and so show that the process is there."""

    def open(self) -> Fault | None:
        """Open the task; None when it is open."""
        return self._station.open()

    def do(self, shard: int) -> Receipt | Fault:
        """Do one shard."""
        return self._station.do(shard)


@dataclass(frozen=True, slots=True)
class Call:
    """A call under way at an actor; `shard` is None unless the kind is "shard"."""

    kind: CallKind
    ref: Any
    shard: int | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call whose answer will not come, while nobody knows yet what became of its worker."""

    call: Call
    reason: str
    since: float


@dataclass(slots=True, eq=False)
class Worker:
    """An actor and its calls, oldest first: it runs the first one, the others wait there.

    `since` is when the first call came to the front, `heard` when the actor last answered (both
    `time.monotonic` seconds). `doubt` is there while the actor is out of reach.
    """

    name: str
    actor: Any
    is_open: bool = False
    calls: deque[Call] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    doubt: Doubt | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it has opened the task and can be reached."""
        return self.is_open and self.doubt is None

    @property
    def shards(self) -> list[int]:
        """The shards it holds, in the order in which it does them."""
        return [call.shard for call in self.calls if call.shard is not None]

    @property
    def has_answered(self) -> bool:
        """Whether the answer to its first call is there, or the news that there will be none."""
        return bool(self.calls) and bool(ray.wait([self.calls[0].ref], timeout=0)[0])

    @property
    def is_waiting_for_capacity(self) -> bool:
        """Whether its process is not up yet: it is what an autoscaler sees as demand."""
        return not self.is_open and bool(self.calls) and self.calls[0].kind == "pulse"

    def send(self, kind: CallKind, shard: int | None = None) -> None:
        """Queue a call."""
        if not self.calls:
            self.since = time.monotonic()
        match kind:
            case "pulse":
                ref = self.actor.pulse.remote()
            case "open":
                ref = self.actor.open.remote()
            case "shard":
                ref = self.actor.do.remote(shard)
        self.calls.append(Call(kind, ref, shard))

    def answered(self) -> Call:
        """Take the first call off, since its answer is there."""
        self.since = self.heard = time.monotonic()
        return self.calls.popleft()

    def kill(self) -> None:
        """End its process, without waiting for it."""
        ray.kill(self.actor, no_restart=True)


def start_worker(assignment: Assignment, policy: PoolPolicy, run_name: str) -> Worker:
    """Ask Ray for one more actor, which may stay pending until there is room, and open the task.

    Ray's own restarts and retries are off: they pin a call to its actor, and a run hangs when the
    actor's node does not come back (docs/decisions/0004). Workers on CPUs are spread over the
    machines that are there, those on GPUs are left to Ray's default (docs/decisions/0034).
    """
    name = f"cisray-{run_name}-{next(_serial)}"
    options: dict[str, Any] = {
        "name": name,
        "num_cpus": policy.num_cpus,
        "num_gpus": policy.num_gpus,
        "resources": dict(policy.resources),
        "scheduling_strategy": "DEFAULT" if policy.num_gpus else "SPREAD",
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": 1,
    }
    if policy.threads is not None:
        count = str(policy.threads)
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        options["runtime_env"] = {"env_vars": dict.fromkeys(variables, count)}
    worker = Worker(name, ray.remote(ShardActor).options(**options).remote(assignment))
    worker.send("pulse")
    worker.send("open")
    return worker
