"""Running the shards of a task on a supervised pool of Ray actors that may die at any moment.

Knows actors, attempts and deadlines; nothing of what a shard is. The rules:

- The driver owns every retry. When a worker is lost only the shard it was running is blamed; those
  that waited behind it go back uncounted. A blamed shard is given up after `max_attempts`, and
  named, while the others finish.
- A machine that goes, as preempted ones do, is nobody's fault: what ran there is tried elsewhere,
  if need be when the cluster has grown again.
- Work goes on with the workers that are alive. Those that Ray cannot place yet are the demand that
  an autoscaler sees; nothing waits for them.
- A start that fails is not a shard's fault: it is counted apart, with a pause that doubles.
- Every worker is killed when `run` ends, however it ends.
"""

import logging
import time
from collections.abc import Iterable
from typing import Literal

from cisray import logs
from cisray.engine.attempt import Fault
from cisray.engine.capacity import CapacityWatch
from cisray.engine.cluster import Connection
from cisray.engine.ledger import Ledger
from cisray.engine.metrics import RunMetrics
from cisray.engine.rayenv import died_with_its_node, one_line, ray
from cisray.engine.station import Assignment
from cisray.engine.task import (
    NO_LABEL,
    FailureKind,
    OnDone,
    OnProgress,
    PoolPolicy,
    Progress,
    Receipt,
    RunLabel,
    RunSummary,
    ShardFailure,
    ShardTask,
    ignore_progress,
    ignore_receipt,
)
from cisray.engine.worker import Call, Doubt, Worker, start_worker
from cisray.errors import ConfigError, EngineError

TICK_S = 0.5
PULSE_AFTER_S = 1.0  # a worker silent for longer is asked for a sign of life before its next shard
VERDICT_S = 120.0  # Ray declares a silent machine dead after about a minute
MAX_PAUSE_S = 30.0

Loss = FailureKind | Literal["node"]

log = logging.getLogger(__name__)


class RayExecutor:
    """Do shards on up to `policy.workers` actors of a connected Ray."""

    def __init__(self, policy: PoolPolicy, connection: Connection) -> None:
        """Check that an embedded Ray, which cannot grow, has room for the workers.

        Raises:
            ConfigError: it has not, with both numbers; or the policy asks for no worker at all.
        """
        if policy.workers < 1:
            raise ConfigError("a pool needs at least 1 worker; use InlineExecutor for none")
        self._policy = policy
        if not connection.is_embedded:
            return
        for unit, each, there in (
            ("CPUs", policy.num_cpus, connection.cpus),
            ("GPUs", policy.num_gpus, connection.gpus),
        ):
            if policy.workers * each > there:
                raise ConfigError(
                    f"{policy.workers} workers of {each:g} {unit} each need "
                    f"{policy.workers * each:g} {unit}, and this machine offers {there:g}: "
                    f"ask for {int(there // each)} workers or fewer, or for a smaller share each"
                )

    def run(
        self,
        task: ShardTask,
        shards: Iterable[int],
        *,
        label: RunLabel = NO_LABEL,
        on_done: OnDone = ignore_receipt,
        on_progress: OnProgress = ignore_progress,
    ) -> RunSummary:
        """Do every shard once, or report it as failed; see `task.Executor.run`."""
        policy = self._policy
        ledger = Ledger(
            shards, max_attempts=policy.max_attempts, max_node_losses=policy.max_node_losses
        )
        pool = _Pool(Assignment.here(task, label), policy, ledger, on_done)
        metrics = RunMetrics(label)

        def report(progress: Progress) -> None:
            metrics.set(progress)
            on_progress(progress)

        return self._supervise(pool, ledger, report)

    def _supervise(self, pool: "_Pool", ledger: Ledger, report: OnProgress) -> RunSummary:
        """Advance the pool until every shard is settled, and dismiss it."""
        started = reported = time.monotonic()
        report(pool.progress(0.0))
        try:
            while not ledger.is_settled:
                pool.step()
                if time.monotonic() - reported >= TICK_S or ledger.is_settled:
                    report(pool.progress(time.monotonic() - started))
                    reported = time.monotonic()
        except (ray.exceptions.LocalRayletDiedError, ray.exceptions.RaySystemError) as error:
            raise EngineError(
                f"Ray itself was lost ({error}); {ledger.done} of {ledger.total} shards are done "
                "and kept. Run the same command again to go on."
            ) from error
        finally:
            pool.dismiss()
        wall_s = time.monotonic() - started
        return RunSummary(ledger.done, tuple(ledger.failed), ledger.retries, pool.lost, wall_s)


class _Pool:
    """The workers of one run; `step` hires, hands out, listens and enforces, and returns soon."""

    def __init__(
        self, assignment: Assignment, policy: PoolPolicy, ledger: Ledger, on_done: OnDone
    ) -> None:
        self._assignment = assignment
        self._policy = policy
        self._ledger = ledger
        self._on_done = on_done
        self._workers: list[Worker] = []
        self.lost = 0
        self._bad_starts = 0
        self._last_bad_start = ""
        self._hire_after = 0.0
        self._barren_losses = 0
        self._any_answer = False
        self._capacity = CapacityWatch(policy)

    def step(self) -> None:
        """Advance the run by one round, of at most `TICK_S` seconds of waiting."""
        self._hire()
        self._hand_out()
        self._ask_again()
        self._listen()
        self._enforce_deadlines()
        self._watch_capacity()

    def progress(self, elapsed_s: float) -> Progress:
        """Count what there is to show."""
        return Progress(
            total=self._ledger.total,
            done=self._ledger.done,
            failed=len(self._ledger.failed),
            in_flight=self._ledger.in_flight,
            workers=len(self._open_workers()),
            retries=self._ledger.retries,
            elapsed_s=elapsed_s,
        )

    def dismiss(self) -> None:
        """Kill every worker, started or pending."""
        while self._workers:
            worker = self._workers.pop()
            try:
                worker.kill()
            except ray.exceptions.RayError as error:
                log.warning("%s could not be killed: %s", worker.name, one_line(error))

    def _open_workers(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.is_ready]

    def _hire(self) -> None:
        """Have as many workers, alive or asked for, as there is work for; withdraw the rest."""
        pending = [worker for worker in self._workers if not worker.is_open]
        if not self._ledger.waiting:
            # Nothing is left to hand out: a pending worker would only make a cluster grow.
            for worker in pending:
                self._workers.remove(worker)
                worker.kill()
            return
        if self._bad_starts >= self._policy.max_start_failures:
            return
        room = self._policy.workers - sum(worker.doubt is None for worker in self._workers)
        wanted = min(room, self._ledger.waiting - len(pending))
        if wanted > 0 and time.monotonic() >= self._hire_after:
            for _ in range(wanted):
                run = self._assignment.label.run
                self._workers.append(start_worker(self._assignment, self._policy, run))

    def _hand_out(self) -> None:
        """Give every open worker a shard, then a second one to wait behind it, and so on.

        Near the end nothing is queued: a shard that waits at a busy worker is one that an idle
        worker cannot take.
        """
        workers = self._open_workers()
        for depth in range(1, self._policy.queue + 1):
            for worker in workers:
                if not self._ledger.waiting or (depth > 1 and self._ledger.waiting <= len(workers)):
                    return
                if len(worker.shards) < depth:
                    if not worker.calls and time.monotonic() - worker.heard > PULSE_AFTER_S:
                        # It may have died while idle; then the pulse fails, and no shard is blamed.
                        worker.send("pulse")
                    worker.send("shard", self._ledger.take())

    def _listen(self) -> None:
        """Wait a moment for answers, and take them in the order in which each worker gave them."""
        heads = [worker.calls[0].ref for worker in self._workers if worker.calls]
        if self._in_doubt():
            time.sleep(TICK_S)  # out of reach is answered at once
        if not heads:
            time.sleep(TICK_S)
            return
        ray.wait(heads, num_returns=1, timeout=TICK_S)
        for worker in list(self._workers):
            while worker in self._workers and worker.has_answered:
                self._take_answer(worker)

    def _take_answer(self, worker: Worker) -> None:
        """Take the answer to a worker's first call, or the news that there will be none."""
        call = worker.calls[0]
        try:
            answer: Receipt | Fault | None = ray.get(call.ref)
        except ray.exceptions.RayTaskError as error:
            answer = Fault(reason=str(error.cause), trace=str(error))
        except (ray.exceptions.LocalRayletDiedError, ray.exceptions.RaySystemError):
            raise
        except ray.exceptions.ActorUnavailableError as error:
            self._doubt(worker, one_line(error))
            return
        except ray.exceptions.RayError as error:
            kind: Loss = "node" if died_with_its_node(error) else "infrastructure"
            self._lose(worker, one_line(error), kind)
            return
        worker.answered()
        if worker.doubt:
            self._lose(worker, worker.doubt.reason, "infrastructure")
            return
        match call.kind:
            case "open":
                self._opened(worker, answer)
            case "shard":
                self._answered_shard(worker, call, answer)

    def _opened(self, worker: Worker, answer: Receipt | Fault | None) -> None:
        """Welcome a worker that has opened its task, or count a failed start."""
        if not isinstance(answer, Fault):
            worker.is_open = True
            self._bad_starts = 0
            log.debug("%s is ready", worker.name)
            return
        answer.raise_if_stopping()
        log.debug("%s: %s", worker.name, answer.trace)
        self._workers.remove(worker)
        worker.kill()
        self._count_bad_start(worker, answer.reason)

    def _answered_shard(self, worker: Worker, call: Call, answer: Receipt | Fault | None) -> None:
        """Settle a shard with its receipt, or count an attempt against it; the worker lives on."""
        if call.shard is None or answer is None:
            raise EngineError(f"{worker.name} gave no receipt for shard {call.shard}")
        self._any_answer = True
        if not isinstance(answer, Fault):
            self._ledger.settle(call.shard)
            self._on_done(call.shard, answer)
            return
        answer.raise_if_stopping()
        log.debug("shard %d at %s: %s", call.shard, worker.name, answer.trace)
        self._blame(call.shard, answer.reason, "application")
        if answer.breaks_process:
            log.warning("%s is replaced: its CUDA context is lost", worker.name)
            self._discard(worker)

    def _doubt(self, worker: Worker, reason: str) -> None:
        """Keep a worker that is out of reach until Ray knows whether its machine went with it.

        That takes Ray some seconds, a minute where the machine fell silent. What waited behind its
        first call is done elsewhere meanwhile.
        """
        call = worker.calls.popleft()
        self._ledger.put_back(worker.shards)
        worker.calls.clear()
        if worker.doubt is None:
            worker.doubt = Doubt(call, reason, time.monotonic())
            log.warning("%s is out of reach (shard %s): %s", worker.name, call.shard, reason)
        elif time.monotonic() - worker.doubt.since > VERDICT_S:
            self._lose(worker, worker.doubt.reason, "infrastructure")

    def _in_doubt(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.doubt]

    def _ask_again(self) -> None:
        """Ask the workers that are out of reach for a sign of life; the answer is the verdict."""
        for worker in self._in_doubt():
            if not worker.calls:
                worker.send("pulse")

    def _lose(self, worker: Worker, reason: str, kind: Loss) -> None:
        """Drop a worker that died or must die: blame what it was running, put back the rest."""
        running = worker.doubt.call if worker.doubt else worker.calls.popleft()
        with logs.here(worker=worker.name):
            log.warning("%s lost (%s, shard %s): %s", worker.name, kind, running.shard, reason)
        self._discard(worker)
        if kind == "node":
            if running.shard is not None:
                failure = self._ledger.lost_with_node(running.shard, reason)
                self._tell(running.shard, reason, kind, failure)
        elif not worker.is_open:
            self._count_bad_start(worker, reason)
        elif running.shard is not None:
            self._blame(running.shard, reason, kind)
            self._count_barren_loss(reason)

    def _discard(self, worker: Worker) -> None:
        """Kill a worker and return what waited behind its first call to the ledger."""
        self._workers.remove(worker)
        worker.kill()
        self._ledger.put_back(worker.shards)
        worker.calls.clear()
        self.lost += worker.is_open  # one that never was is no worker lost

    def _blame(self, shard: int, reason: str, kind: FailureKind) -> None:
        self._tell(shard, reason, kind, self._ledger.blame(shard, reason, kind))

    def _tell(self, shard: int, reason: str, kind: Loss, failure: ShardFailure | None) -> None:
        with logs.here(shard=shard):
            if failure is None:
                log.warning("shard %d will be tried again (%s): %s", shard, kind, reason)
            else:
                log.error("shard %d given up after %d tries: %s", shard, failure.attempts, reason)

    def _count_bad_start(self, worker: Worker, reason: str) -> None:
        """Count a start that failed, and pause before the next one."""
        self._bad_starts += 1
        self._last_bad_start = reason
        self._hire_after = time.monotonic() + min(MAX_PAUSE_S, 0.5 * 2**self._bad_starts)
        log.warning("%s did not start (%d in a row): %s", worker.name, self._bad_starts, reason)
        if self._bad_starts < self._policy.max_start_failures:
            return
        if self._open_workers():
            log.error("no more workers are started; %d go on", len(self._open_workers()))
        elif not self._workers:
            self._give_up_starting()

    def _give_up_starting(self) -> None:
        raise EngineError(
            f"workers do not start: {self._bad_starts} failed in a row, the last one with: "
            f"{self._last_bad_start}. {self._ledger.done} of {self._ledger.total} shards are done "
            "and kept; run the same command again when the cause is mended."
        )

    def _count_barren_loss(self, reason: str) -> None:
        """Give up when workers die at their first shard, all of them, whatever the shard.

        The bound leaves room for as many poisonous shards as there are workers.
        """
        if self._any_answer:
            return
        self._barren_losses += 1
        policy = self._policy
        bound = policy.workers * policy.max_attempts + policy.max_start_failures
        if self._barren_losses >= bound:
            raise EngineError(
                f"{self._barren_losses} workers died and none has finished a shard; the last one: "
                f"{reason}. Look for lack of memory or a broken library in the workers' logs."
            )

    def _enforce_deadlines(self) -> None:
        """Kill the workers whose first call takes longer than it may."""
        limits = {
            "shard": self._policy.shard_timeout_s,
            "open": self._policy.open_timeout_s,
            "pulse": None,
        }
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.calls]:
            limit = limits[worker.calls[0].kind]
            if limit is not None and now - worker.since > limit:
                self._lose(worker, f"no answer within {limit:g} s", "deadline")

    def _watch_capacity(self) -> None:
        """Wait for workers while none is alive, and give up when told to."""
        if self._open_workers() or self._ledger.is_settled:
            self._capacity.alive()
            return
        if not self._workers and self._bad_starts >= self._policy.max_start_failures:
            self._give_up_starting()
        if any(not worker.is_waiting_for_capacity for worker in self._workers):
            self._capacity.starting()
        self._capacity.wait(
            len(self._workers),
            f"{self._ledger.done} of {self._ledger.total} shards are done and kept.",
        )
