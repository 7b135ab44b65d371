"""The ledger of schedules and fires, one transaction for every change.

Knows SQL and what may follow what; knows nothing of processes, cron and files. Several processes
work on one ledger: whatever two of them do at once has one winner, and the other is told. A fire
is keyed by its schedule and its time. Who prepares or starts one has a *claim* on it: a lease that
ends by itself, and a number, the *fence*, that grows with each claim, so that whoever comes back
after its lease went to another can change nothing.
"""

import sqlite3
from pathlib import Path

from cisray.errors import ConfigError
from cisray_jobs.schedule.database import Database
from cisray_jobs.schedule.definition import (
    IN_FLIGHT,
    Attempt,
    Cause,
    Fire,
    Plan,
    Schedule,
    Seen,
    State,
)

LEASE_S = 300
# Of one schedule one fire is prepared or runs at a time, the earliest first. A pause holds back
# what has not begun, except what a person has asked for.
_CLAIMABLE = """
SELECT f.* FROM fires f JOIN schedules s ON s.name = f.schedule
WHERE f.not_before <= :now AND f.lease_until <= :now
  AND (f.state = 'ready' OR f.state = 'due' AND (s.paused = 0 OR f.cause = 'asked'))
  AND (:only IS NULL OR f.schedule = :only)
  AND NOT EXISTS (
    SELECT 1 FROM fires e WHERE e.schedule = f.schedule AND e.time <> f.time AND (
      e.state IN ('ready', 'running')
      OR f.state = 'due' AND e.state = 'due' AND e.time < f.time
         AND (s.paused = 0 OR e.cause = 'asked')))
ORDER BY f.time, f.schedule LIMIT 1
"""


class Fenced(Exception):
    """Another process has taken over what this one had a claim on; nothing was changed."""


class Ledger:
    """An open ledger. Of one process, which opens it for itself and closes it."""

    def __init__(self, folder: Path) -> None:
        """Open the ledger of a folder, or make one.

        Raises StorageError when the folder cannot be written, or the ledger is of another version.
        """
        self.folder = folder
        self._database = Database(folder)
        self._base = self._database.connection
        self._change = self._database.change

    def close(self) -> None:
        """Close the connection."""
        self._base.close()

    def add(self, schedule: Schedule) -> None:
        """Keep a schedule, due from its creation on. Raises ConfigError if its name is taken."""
        with self._change() as base:
            try:
                base.execute(
                    "INSERT INTO schedules (name, definition, cursor) VALUES (?, ?, ?)",
                    (schedule.name, schedule.model_dump_json(), schedule.created),
                )
            except sqlite3.IntegrityError:
                raise ConfigError(
                    f"there is a schedule {schedule.name!r} in {self.folder}. Choose another name, "
                    f"or remove it first: cisray schedule remove {schedule.name}"
                ) from None

    def remove(self, name: str) -> None:
        """Forget a schedule and its history.

        Raises ConfigError when there is none, or a fire of it runs or is prepared at this moment.
        """
        with self._change() as base:
            self._require(name)
            busy = base.execute(
                "SELECT COUNT(*) FROM fires WHERE schedule = ? AND state IN ('ready', 'running')",
                (name,),
            ).fetchone()[0]
            if busy:
                raise ConfigError(
                    f"a fire of {name!r} runs or is about to. Wait for it, or end it first: cisray "
                    f"schedule stop {name}"
                )
            base.execute("DELETE FROM schedules WHERE name = ?", (name,))

    def pause(self, name: str, *, paused: bool, now: int) -> None:
        """Hold a schedule back, or let it go on; what was due in a pause is not caught up.

        Raises ConfigError when there is no such schedule.
        """
        with self._change() as base:
            self._require(name)
            base.execute(
                "UPDATE schedules SET paused = :paused, cursor = "
                "CASE WHEN paused = 1 AND :paused = 0 THEN MAX(cursor, :now) ELSE cursor END "
                "WHERE name = :name",
                {"paused": int(paused), "now": now, "name": name},
            )

    def schedules(self) -> list[tuple[Schedule, bool]]:
        """List the schedules by name, and whether each is paused."""
        rows = self._base.execute("SELECT definition, paused FROM schedules ORDER BY name")
        return [(Schedule.model_validate_json(row[0]), bool(row[1])) for row in rows]

    def find(self, name: str) -> Schedule | None:
        """Give a schedule, None when there is none (any more)."""
        row = self._base.execute(
            "SELECT definition FROM schedules WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else Schedule.model_validate_json(row[0])

    def schedule(self, name: str) -> tuple[Schedule, bool]:
        """Give a schedule, and whether it is paused. Raises ConfigError when there is none."""
        row = self._require(name)
        return Schedule.model_validate_json(row["definition"]), bool(row["paused"])

    def _require(self, name: str) -> sqlite3.Row:
        row: sqlite3.Row | None = self._base.execute(
            "SELECT * FROM schedules WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            known = ", ".join(one.name for one, _ in self.schedules()) or "none"
            raise ConfigError(
                f"there is no schedule {name!r} in {self.folder}. There are: {known}."
            )
        return row

    def stop(self, name: str, now: int) -> list[Fire]:
        """End what has not begun, and mark what has as to be tried no more; give the latter.

        Raises ConfigError when there is no such schedule.
        """
        with self._change() as base:
            self._require(name)
            base.execute(
                "UPDATE fires SET state = 'failed', ended = ?, note = 'stopped before it began' "
                "WHERE schedule = ? AND state = 'due'",
                (now, name),
            )
            rows = base.execute(
                "UPDATE fires SET stopping = 1, not_before = 0 "
                "WHERE schedule = ? AND state IN ('ready', 'running') RETURNING *",
                (name,),
            )
            return [_fire(row) for row in rows]

    def cursor(self, name: str) -> int | None:
        """Tell up to when times of a schedule have been decided; None where it does not fire."""
        row = self._base.execute(
            "SELECT cursor FROM schedules WHERE name = ? AND paused = 0", (name,)
        ).fetchone()
        return None if row is None else int(row[0])

    def decide(
        self, name: str, cursor: tuple[int, int], latest: int, *, missed: int, late: bool
    ) -> State | None:
        """Put down the fire of times that have come, and move the cursor on from where it was seen.

        None when another process has done so. `late`: it is missed as well.
        """
        seen, until = cursor
        with self._change() as base:
            moved = base.execute(
                "UPDATE schedules SET cursor = ? WHERE name = ? AND cursor = ? AND paused = 0",
                (until, name, seen),
            )
            if moved.rowcount == 0:
                return None
            definition = self.schedule(name)[0]
            state = State.MISSED if late else self._entered(definition)
            base.execute(
                "INSERT INTO fires (schedule, time, cause, state, missed) "
                "VALUES (?, ?, 'cron', ?, ?) ON CONFLICT DO NOTHING",
                (name, latest, state, missed),
            )
            return state

    def _entered(self, schedule: Schedule) -> State:
        """Tell how a fire begins beside those in flight: of those that wait one is enough."""
        states = [fire.state for fire in self.fires(schedule.name, IN_FLIGHT)]
        full = bool(states) if schedule.overlap == "skip" else State.DUE in states
        return State.SKIPPED if full else State.DUE

    def ask(self, name: str, now: int, cause: Cause = "asked") -> int:
        """Put down a fire that a person wants now; give its time.

        Raises ConfigError when there is no such schedule.
        """
        with self._change():
            self._require(name)
            return self._put(name, now, cause)

    def _put(self, name: str, now: int, cause: Cause) -> int:
        # Backwards: what lies ahead may become due, and must find its key free.
        moment = now + 1
        put = False
        while not put:
            moment -= 1
            made = self._base.execute(
                "INSERT INTO fires (schedule, time, cause, state) VALUES (?, ?, ?, 'due') "
                "ON CONFLICT DO NOTHING",
                (name, moment, cause),
            )
            put = made.rowcount == 1
        return moment

    def claim(self, now: int, owner: str, only: str | None = None) -> Fire | None:
        """Claim the next fire that may be prepared or started, for `LEASE_S` seconds."""
        with self._change() as base:
            row = base.execute(_CLAIMABLE, {"now": now, "only": only}).fetchone()
            if row is None:
                return None
            claimed = base.execute(
                "UPDATE fires SET fence = fence + 1, owner = ?, lease_until = ? "
                "WHERE schedule = ? AND time = ? RETURNING *",
                (owner, now + LEASE_S, row["schedule"], row["time"]),
            ).fetchone()
            return _fire(claimed)

    def renew(self, claim: Fire, now: int) -> None:
        """Keep a claim for another `LEASE_S` seconds. Raises Fenced when it went to another."""
        with self._change():
            self._set(claim, "lease_until = :until", until=now + LEASE_S)

    def settle(self, claim: Fire, plan: Plan) -> None:
        """Settle the command of a claimed fire, and keep the claim. Raises Fenced."""
        with self._change():
            self._set(claim, "state = 'ready', plan = :plan", plan=plan.model_dump_json())

    def put_off(self, claim: Fire, until: int, note: str, *, failed: bool) -> None:
        """Let go of a claimed fire until later. Raises Fenced."""
        with self._change():
            self._set(
                claim,
                "not_before = :until, note = :note, failures = failures + :failed, lease_until = 0",
                until=until,
                note=note,
                failed=int(failed),
            )

    def close_unstarted(self, claim: Fire, state: State, now: int, note: str) -> None:
        """End a claimed fire whose command does not run. Raises Fenced."""
        with self._change():
            self._set(
                claim,
                "state = :state, ended = :now, note = :note, lease_until = 0",
                state=state,
                now=now,
                note=note,
            )

    def started(self, claim: Fire, job: str, now: int) -> None:
        """Put down that the command of a claimed fire was started. Raises Fenced."""
        with self._change() as base:
            self._set(
                claim,
                "state = 'running', started = COALESCE(started, :now), note = '', lease_until = 0",
                now=now,
            )
            base.execute(
                "INSERT INTO attempts (schedule, time, attempt, job, started) VALUES (?,?,?,?,?)",
                (claim.schedule, claim.time, claim.attempt, job, now),
            )

    def note(self, fire: Fire, note: str) -> None:
        """Put down what can be said of a running fire, if it still is at the same attempt."""
        with self._change() as base:
            base.execute(
                "UPDATE fires SET note = ? WHERE schedule = ? AND time = ? AND attempt = ? "
                "AND state = 'running'",
                (note, fire.schedule, fire.time, fire.attempt),
            )

    def _set(self, claim: Fire, assignments: str, **values: object) -> None:
        changed = self._base.execute(
            f"UPDATE fires SET {assignments} WHERE schedule = :schedule AND time = :time "
            f"AND fence = :fence AND state IN ('due', 'ready')",
            {"schedule": claim.schedule, "time": claim.time, "fence": claim.fence, **values},
        )
        if changed.rowcount == 0:
            raise Fenced

    def end_attempt(
        self, fire: Fire, then: tuple[State, int], now: int, exit_code: int | None, note: str
    ) -> bool:
        """Put down how the running attempt ended: an end of the fire, or READY for another one.

        `then` is the state, and when at the earliest the next attempt begins. False when another
        process has done so, or has stopped the fire since it was read. A fire that ends with other
        new inputs in sight is followed by another.
        """
        state, not_before = then
        again = state is State.READY
        lost = again and exit_code is None
        with self._change() as base:
            changed = base.execute(
                "UPDATE fires SET state = :state, ended = :ended, exit_code = :code, note = :note, "
                "attempt = attempt + :again, not_before = :not_before, losses = losses + :lost, "
                "failures = failures + :failed "
                "WHERE schedule = :schedule AND time = :time AND state = 'running' "
                "AND attempt = :attempt AND stopping = :stopping",
                {
                    "state": state, "ended": None if again else now, "code": exit_code,
                    "note": note, "again": int(again), "not_before": not_before, "lost": int(lost),
                    "failed": int(state is State.FAILED or (again and not lost)),
                    "schedule": fire.schedule, "time": fire.time, "attempt": fire.attempt,
                    "stopping": int(fire.stopping),
                },
            )  # fmt: skip
            if changed.rowcount == 0:
                return False
            base.execute(
                "UPDATE attempts SET ended = ?, exit_code = ?, note = ? "
                "WHERE schedule = ? AND time = ? AND attempt = ?",
                (now, exit_code, note, fire.schedule, fire.time, fire.attempt),
            )
            if not again and not fire.stopping and fire.plan is not None and fire.plan.more:
                self._put(fire.schedule, now, "more")
            return True

    def fires(
        self, name: str | None = None, states: tuple[State, ...] = (), limit: int = -1
    ) -> list[Fire]:
        """List fires, the latest first: of one schedule or all, in some states or any.

        At most `limit` of them, if it is not negative.
        """
        marks = ", ".join("?" * len(states))
        rows = self._base.execute(
            f"SELECT * FROM fires WHERE (?1 IS NULL OR schedule = ?1) "
            f"{f'AND state IN ({marks}) ' if states else ''}ORDER BY time DESC, schedule LIMIT ?",
            (name, *states, limit),
        )
        return [_fire(row) for row in rows]

    def is_busy(self, only: str | None = None) -> bool:
        """Tell whether a fire is in flight, of one schedule or any, that no pause holds back."""
        row = self._base.execute(
            "SELECT COUNT(*) FROM fires f JOIN schedules s ON s.name = f.schedule "
            "WHERE (?1 IS NULL OR s.name = ?1) AND (f.state IN ('ready', 'running') "
            "OR f.state = 'due' AND (s.paused = 0 OR f.cause = 'asked'))",
            (only,),
        ).fetchone()
        return bool(row[0])

    def attempts(self, name: str, moment: int) -> list[Attempt]:
        """List the starts of a fire's command, the first one first."""
        rows = self._base.execute(
            "SELECT * FROM attempts WHERE schedule = ? AND time = ? ORDER BY attempt",
            (name, moment),
        )
        return [Attempt.model_validate(dict(row)) for row in rows]

    def last_success(self, name: str) -> Fire | None:
        """Find the fire of a schedule that was the last to succeed."""
        row = self._base.execute(
            "SELECT * FROM fires WHERE schedule = ? AND state = 'succeeded' "
            "ORDER BY ended DESC, time DESC LIMIT 1",
            (name,),
        ).fetchone()
        return None if row is None else _fire(row)

    def inputs(self, name: str) -> list[tuple[State, Seen]]:
        """List the inputs that fires of a schedule have taken, the latest first, and their ends."""
        rows = self._base.execute(
            "SELECT state, plan FROM fires WHERE schedule = ? AND plan IS NOT NULL "
            "ORDER BY COALESCE(ended, started, time) DESC, time DESC",
            (name,),
        )
        plans = [(State(row[0]), Plan.model_validate_json(row[1])) for row in rows]
        return [(state, plan.seen) for state, plan in plans if plan.seen is not None]


def _fire(row: sqlite3.Row) -> Fire:
    told = dict(row)
    plan = told["plan"]
    told["plan"] = None if plan is None else Plan.model_validate_json(plan)
    return Fire.model_validate({name: told[name] for name in Fire.model_fields})
