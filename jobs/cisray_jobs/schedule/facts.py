"""What can be said of schedules and their history, for people and machines.

Knows the ledger and where jobs and reports lie; knows nothing of how it is shown.
"""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cisray_jobs.schedule.backend import JobBackend
from cisray_jobs.schedule.cron import next_times
from cisray_jobs.schedule.definition import IN_FLIGHT, Attempt, Fire, Schedule
from cisray_jobs.schedule.drift import read_report
from cisray_jobs.schedule.ledger import Ledger
from cisray_jobs.schedule.tick import Ticker, report_of

_NEXT = 3


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One start of a fire's command; `job` is its id on a cluster, None on this machine.

    `log` is a path, or the command that shows what is still on the cluster.
    """

    attempt: int
    job: str | None
    started: str
    ended: str | None
    exit_code: int | None
    note: str
    log: str | None


@dataclass(frozen=True, slots=True)
class FireFacts:
    """One fire; `report` compares its run with the one before, as `schedule.drift` writes it."""

    due: str
    cause: str
    state: str
    missed: int
    note: str
    command: str | None
    run: str | None
    previous: str | None
    input: str | None
    started: str | None
    ended: str | None
    exit_code: int | None
    attempts: tuple[AttemptFacts, ...]
    report: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """A schedule, times in UTC. `last` is its latest fire's state, `fires` what was asked for.

    `address` is that of the cluster whose jobs its fires are, None for processes of this machine.
    """

    name: str
    command: str
    folder: str
    address: str | None
    shared: tuple[str, ...]
    cron: str
    timezone: str
    overlap: str
    catch_up: str
    retries: int
    back_off_s: int
    watch: str | None
    paused: bool
    in_flight: int
    last: str | None
    last_due: str | None
    last_success: str | None
    next: tuple[str, ...]
    fires: tuple[FireFacts, ...] = ()


def list_schedules(ledger: Ledger, now: int) -> list[ScheduleFacts]:
    """Say a little about every schedule, by name."""
    return [_facts(ledger, schedule, paused, now) for schedule, paused in ledger.schedules()]


def describe_schedule(ticker: Ticker, name: str, fires: int) -> ScheduleFacts:
    """Say everything about a schedule and its latest fires, the latest first.

    Raises ConfigError when there is none of that name.
    """
    ledger = ticker.ledger
    schedule, paused = ledger.schedule(name)
    backend = ticker.backend_of(schedule)
    latest = ledger.fires(name, limit=fires)
    history = tuple(_fire(ledger, backend, schedule, fire) for fire in latest)
    return _facts(ledger, schedule, paused, ticker.clock.now(), history)


def _facts(
    ledger: Ledger, schedule: Schedule, paused: bool, now: int, fires: tuple[FireFacts, ...] = ()
) -> ScheduleFacts:
    last = next(iter(ledger.fires(schedule.name, limit=1)), None)
    success = ledger.last_success(schedule.name)
    coming = [] if paused else next_times(schedule.cron, schedule.timezone, now, _NEXT)
    return ScheduleFacts(
        name=schedule.name,
        command=shlex.join(["cisray", *schedule.command]),
        folder=schedule.folder,
        address=None if schedule.cluster is None else schedule.cluster.address,
        shared=() if schedule.cluster is None else schedule.cluster.shared,
        cron=schedule.cron,
        timezone=schedule.timezone,
        overlap=schedule.overlap,
        catch_up=schedule.catch_up,
        retries=schedule.retries,
        back_off_s=schedule.back_off_s,
        watch=schedule.watch,
        paused=paused,
        in_flight=len(ledger.fires(schedule.name, IN_FLIGHT)),
        last=None if last is None else last.state,
        last_due=None if last is None else _iso(last.time),
        last_success=None if success is None else _iso(success.time),
        next=tuple(_told(moment) for moment in coming),
        fires=fires,
    )


def _fire(ledger: Ledger, backend: JobBackend, schedule: Schedule, fire: Fire) -> FireFacts:
    plan = fire.plan
    report = read_report(Path(report_of(ledger.folder, schedule, fire.time)))
    return FireFacts(
        due=_told(fire.time),
        cause=fire.cause,
        state=fire.state,
        missed=fire.missed,
        note=fire.note,
        command=None if plan is None else shlex.join(["cisray", *plan.arguments]),
        run=None if plan is None else plan.output,
        previous=None if plan is None else plan.previous,
        input=None if plan is None else plan.input,
        started=_iso(fire.started),
        ended=_iso(fire.ended),
        exit_code=fire.exit_code,
        attempts=tuple(
            _attempt(attempt, backend) for attempt in ledger.attempts(schedule.name, fire.time)
        ),
        report=None if report is None else report.model_dump(mode="json"),
    )


def _attempt(attempt: Attempt, backend: JobBackend) -> AttemptFacts:
    return AttemptFacts(
        attempt=attempt.attempt,
        job=backend.cluster_id(attempt.job),
        started=_told(attempt.started),
        ended=_iso(attempt.ended),
        exit_code=attempt.exit_code,
        note=attempt.note,
        log=backend.log(attempt.job),
    )


def _told(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _iso(moment: int | None) -> str | None:
    return None if moment is None else _told(moment)
