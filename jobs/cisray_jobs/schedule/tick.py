"""One pass over a ledger: what has ended, what has come due, what can be started.

Knows schedules, backends and inputs; knows no particular backend. A pass may be killed at any
point, repeated at once, and made by several processes at the same time:

    between                          what the next pass finds
    times decided                    the cursor where it was, or the fire: both change together
    fire claimed, command unsettled  a lease that ends; then the fire is claimed anew
    command settled, not submitted   the same, with the command as it was settled
    submitted, not put down          the same; the backend starts no job twice
    job ended, not put down          a running fire, whose job the backend knows as ended
    cluster out of reach             a running fire that stays one, whatever has become of its job
    machine lost                     a job that nobody saw end: the same command once more, which in
                                     a run directory goes on where the run stopped
"""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cisray.errors import CisrayError, ClusterSilent, InputError
from cisray_jobs.schedule import watch
from cisray_jobs.schedule.backend import Job, JobBackend, Phase, Status
from cisray_jobs.schedule.clock import Clock
from cisray_jobs.schedule.cron import due_between, told_time
from cisray_jobs.schedule.definition import Fire, Plan, Schedule, State
from cisray_jobs.schedule.fetch import look_at_url
from cisray_jobs.schedule.ledger import LEASE_S, Fenced, Ledger
from cisray_jobs.schedule.template import INPUT, PREVIOUS, option_value, render, values_of

LOSSES = 3
REPORT = (sys.executable, "-m", "cisray_jobs.schedule.drift")

# Before the reason, in the note of a fire whose job cannot be asked for.
UNKNOWN = "unknown: "

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a pass did to a fire; `due` is its time in UTC."""

    schedule: str
    due: str
    state: str
    note: str


@dataclass(frozen=True, slots=True)
class Ticker:
    """Makes passes over a ledger. `owner` names this process.

    `backend_of` tells where the commands of a schedule run.
    """

    ledger: Ledger
    backend_of: Callable[[Schedule], JobBackend]
    clock: Clock
    owner: str

    def tick(self, only: str | None = None) -> list[Event]:
        """Make one pass, over all schedules or one; give what it did, in order.

        Raises StorageError when ledger or disk fail: nothing is lost, and the next pass goes on.
        """
        return list(self._pass(only))

    def stop(self, name: str) -> None:
        """End what is in flight of a schedule, for good: it is not retried.

        Raises ConfigError when there is no such schedule, and ClusterSilent when the job cannot be
        asked to end: the next pass that reaches it does so.
        """
        schedule, _ = self.ledger.schedule(name)
        for fire in self.ledger.stop(name, self.clock.now()):
            self.backend_of(schedule).stop(schedule.job_id(fire.time, fire.attempt))
        list(self._pass(name))

    def _pass(self, only: str | None) -> Iterator[Event]:
        yield from self._put_down_ends(only)
        yield from self._decide_times(only)
        while (claim := self.ledger.claim(self.clock.now(), self.owner, only)) is not None:
            try:
                yield from self._bring_on(claim)
            except Fenced:
                log.info("%s was taken over by another process", claim.schedule)

    def _decide_times(self, only: str | None) -> Iterator[Event]:
        now = self.clock.now()
        for schedule, _ in self.ledger.schedules():
            cursor = self.ledger.cursor(schedule.name)
            if cursor is None or only not in (None, schedule.name):
                continue
            due = due_between(schedule.cron, schedule.timezone, cursor, now)
            if due is None:
                continue
            late = schedule.catch_up == "none" and now - due.latest > schedule.max_late_s
            state = self.ledger.decide(
                schedule.name, (cursor, now), due.latest, missed=due.number - 1, late=late
            )
            if state is not None:
                also = f"{due.number - 1:,} earlier times did not fire" if due.number > 1 else ""
                yield Event(schedule.name, told_time(due.latest), state, also)

    def _put_down_ends(self, only: str | None) -> Iterator[Event]:
        for fire in self.ledger.fires(only, (State.RUNNING,)):
            schedule = self.ledger.find(fire.schedule)
            if schedule is None:
                continue
            try:
                status = self.backend_of(schedule).status(schedule.job_id(fire.time, fire.attempt))
            except ClusterSilent as error:
                yield from self._put_down_note(fire, f"{UNKNOWN}{error}")
                continue
            if status is not None and status.phase is Phase.RUNNING:
                yield from self._put_down_note(fire, "")
            else:
                yield from self._put_down_end(schedule, fire, status or Status(Phase.LOST))

    def _put_down_note(self, fire: Fire, note: str) -> Iterator[Event]:
        """Put down whether a job can be asked for; tell of it when that has changed."""
        if note == fire.note:
            return
        self.ledger.note(fire, note)
        if not (note and fire.note):
            told = note or "its job is known again"
            yield Event(fire.schedule, told_time(fire.time), State.RUNNING, told)

    def _put_down_end(self, schedule: Schedule, fire: Fire, status: Status) -> Iterator[Event]:
        now = self.clock.now()
        state, note, not_before = _after(schedule, fire, status, now)
        # By the clock of passes: what a job says of its end may be of another one.
        if self.ledger.end_attempt(fire, (state, not_before), now, status.exit_code, note):
            yield Event(fire.schedule, told_time(fire.time), state, note)

    def _bring_on(self, claim: Fire) -> Iterator[Event]:
        schedule = self.ledger.find(claim.schedule)
        if schedule is None:
            return  # removed since it was claimed
        plan = claim.plan or self._settle(schedule, claim)
        if isinstance(plan, Event):
            yield plan
            return
        job = self._job(schedule, claim, plan)
        try:
            self.backend_of(schedule).submit(job)
        except CisrayError as error:
            self.ledger.put_off(
                claim, self.clock.now() + schedule.back_off_s + 1, str(error), failed=False
            )
            yield Event(claim.schedule, told_time(claim.time), State.READY, str(error))
            return
        self.ledger.started(claim, job.id, self.clock.now())
        yield Event(claim.schedule, told_time(claim.time), State.RUNNING, job.id)

    def _settle(self, schedule: Schedule, claim: Fire) -> Plan | Event:
        """Settle what a fire runs, or find that it does not run now."""
        now = self.clock.now()
        try:
            # First, so that nothing is fetched again and again for a place that starts nothing.
            self.backend_of(schedule).reach()
            looked = self._look(schedule, claim)
            if looked is None or isinstance(looked, watch.Found):
                plan = self._plan(schedule, claim, looked)
                self.ledger.settle(claim, plan)
                return plan
        except ClusterSilent as error:
            self.ledger.put_off(claim, now + schedule.back_off_s + 1, str(error), failed=False)
            return Event(claim.schedule, told_time(claim.time), State.DUE, str(error))
        except CisrayError as error:
            return self._unsettled(schedule, claim, str(error))
        if isinstance(looked, watch.NotYet):
            self.ledger.put_off(claim, looked.until, looked.why, failed=False)
            return Event(claim.schedule, told_time(claim.time), State.DUE, looked.why)
        self.ledger.close_unstarted(claim, State.UNCHANGED, now, looked.why)
        return Event(claim.schedule, told_time(claim.time), State.UNCHANGED, looked.why)

    def _unsettled(self, schedule: Schedule, claim: Fire, note: str) -> Event:
        """Try again later, as after a command that failed."""
        now = self.clock.now()
        if claim.failures < schedule.retries:
            until = now + _back_off(schedule, claim.failures)
            self.ledger.put_off(claim, until, note, failed=True)
            return Event(claim.schedule, told_time(claim.time), State.DUE, note)
        self.ledger.close_unstarted(claim, State.FAILED, now, note)
        return Event(claim.schedule, told_time(claim.time), State.FAILED, note)

    def _look(self, schedule: Schedule, claim: Fire) -> watch.Look | None:
        """Look at what is watched; None where nothing is."""
        if schedule.watch is None:
            return None
        situation = watch.Situation(
            now=self.clock.now(),
            history=self.ledger.inputs(schedule.name),
            forced=claim.cause == "asked",
            alive=_renewing(self.ledger, self.clock, claim),
        )
        if watch.is_url(schedule.watch):
            return look_at_url(
                schedule.watch, inputs_of(self.ledger.folder) / schedule.key, situation
            )
        place = Path(schedule.folder, schedule.watch)
        if watch.is_pattern(schedule.watch):
            return watch.look_in_folder(str(place), situation)
        return watch.look_at_file(place, situation)

    def _plan(self, schedule: Schedule, claim: Fire, found: watch.Found | None) -> Plan:
        last = self.ledger.last_success(schedule.name)
        previous = None if last is None or last.plan is None else last.plan.output
        values = values_of(claim.time, schedule.timezone)
        if previous is not None:
            values[PREVIOUS] = previous
        if found is not None:
            values[INPUT] = found.path
        rendered = render(schedule.command, values)
        settled = self.backend_of(schedule).settle(rendered, schedule.folder)
        return Plan(
            arguments=settled.arguments,
            settings=settled.settings,
            output=absolute_output(settled.arguments, schedule.folder),
            previous=previous,
            previous_time=None if last is None else last.time,
            input=None if found is None else found.path,
            seen=None if found is None else found.seen,
            more=found is not None and found.more,
        )

    def _job(self, schedule: Schedule, fire: Fire, plan: Plan) -> Job:
        report = None
        if plan.output is not None:
            written = report_of(self.ledger.folder, schedule, fire.time)
            before = (
                ()
                if plan.previous_time is None
                else (str(report_of(self.ledger.folder, schedule, plan.previous_time)),)
            )
            report = (*REPORT, plan.output, str(written), *before)
        return Job(
            id=schedule.job_id(fire.time, fire.attempt),
            argv=(*self.backend_of(schedule).program, *plan.arguments),
            folder=schedule.folder,
            report=report,
            settings=plan.settings,
        )


def inputs_of(folder: Path) -> Path:
    """Tell where what is fetched lies in the folder of a ledger, by schedule."""
    return folder / "inputs"


def report_of(folder: Path, schedule: Schedule, moment: int) -> Path:
    """Tell where the report of a fire lies in the folder of its ledger."""
    return folder / "reports" / schedule.key / f"{told_time(moment)}.json"


def absolute_output(arguments: tuple[str, ...], folder: str) -> str | None:
    """Give the --out of a command as a path or URL that means the same everywhere."""
    out = option_value(arguments, "--out")
    return out if out is None or "://" in out else str(Path(folder, out))


def _after(schedule: Schedule, fire: Fire, status: Status, now: int) -> tuple[State, str, int]:
    """Say what follows on an attempt that has ended: the state, why, and not before when."""
    if status.phase is Phase.LOST:
        why = status.why or "nobody saw its end"
        if fire.stopping or fire.losses >= LOSSES:
            return State.FAILED, f"lost {fire.losses + 1} times: {why}", 0
        return State.READY, f"lost: {why}; the same command goes on", now
    if status.exit_code == 0:
        return State.SUCCEEDED, "", 0
    told = f"exit code {status.exit_code}"
    if fire.stopping:
        return State.FAILED, f"stopped ({told})", 0
    told = f"{told}: {status.why}" if status.why else told
    if status.exit_code == InputError.exit_code:
        # The very same command would be wrong again.
        return State.FAILED, told, 0
    if fire.failures < schedule.retries:
        until = now + _back_off(schedule, fire.failures)
        return State.READY, f"{told}; once more from {told_time(until)}", until
    return State.FAILED, told, 0


def _back_off(schedule: Schedule, failures: int) -> int:
    """Tell the seconds to wait after a failure: twice as long after each."""
    return int(schedule.back_off_s * 2**failures)


def _renewing(ledger: Ledger, clock: Clock, claim: Fire) -> Callable[[], None]:
    """Make what keeps a claim alive while a long file is read."""
    renewed = clock.now()

    def alive() -> None:
        nonlocal renewed
        now = clock.now()
        if now - renewed >= LEASE_S // 4:
            ledger.renew(claim, now)
            renewed = now

    return alive
