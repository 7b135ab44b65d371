"""What a schedule and a fire are; knows no database and no process.

A *schedule* is a cisray command with the times at which it is due. A *fire* is one of these times
and what became of it. All times are seconds since 1970-01-01 00:00 UTC.
"""

import re
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cisray.errors import ConfigError
from cisray_jobs.schedule.cron import told_time

Overlap = Literal["skip", "queue"]
CatchUp = Literal["once", "none"]
Cause = Literal["cron", "asked", "more"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class State(StrEnum):
    """How far a fire is.

    DUE: nothing was done. READY: its command is settled, and not yet started, or to be started once
    more. RUNNING: started. All others are ends.
    """

    DUE = "due"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    MISSED = "missed"
    UNCHANGED = "unchanged"


IN_FLIGHT = (State.DUE, State.READY, State.RUNNING)


class Cluster(BaseModel):
    """A Ray cluster, of which a schedule's fires are jobs: the URL of its job server.

    `shared` are the folders that its machines have at the same path as this one; `variables` are
    set for the jobs, and are no secrets. A token is in the environment of whoever ticks, only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    shared: tuple[str, ...] = ()
    variables: dict[str, str] = {}


class Schedule(BaseModel):
    """A command and when it runs. `uid` tells schedules apart that had one name, one after another.

    `command` has no `cisray` before it and may hold templates; `folder` is where it runs, an
    absolute path. `max_late_s` counts with `catch_up` none: what is later is missed. Without a
    `cluster` the command is a process of this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    uid: str
    cron: str
    timezone: str
    command: tuple[str, ...]
    folder: str
    overlap: Overlap = "skip"
    catch_up: CatchUp = "once"
    max_late_s: int = Field(600, ge=0)
    retries: int = Field(0, ge=0)
    back_off_s: int = Field(60, ge=0)
    watch: str | None = None
    cluster: Cluster | None = None
    created: int

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot name a schedule: write up to 63 letters, digits, - and _, the "
                f"first a letter or a digit."
            )
        return name

    @property
    def key(self) -> str:
        """Name the schedule's folders."""
        return f"{self.name}.{self.uid}"

    def job_id(self, moment: int, attempt: int) -> str:
        """Name one start of the command, for all time."""
        return f"{self.key}/{told_time(moment)}.{attempt}"


class Seen(BaseModel):
    """What a watched input was when a fire took it.

    `key` is the path or URL. `stamp` tells of a change without reading: size and time of
    modification of a file, ETag or Last-Modified of a URL; empty where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    digest: str
    stamp: str


class Plan(BaseModel):
    """The command of a fire, settled once: a retry runs the very same, so that a run goes on.

    `settings` is the file of settings that goes along with it to a cluster. `output` is its --out,
    absolute; `previous` the output of the last success before; `more`: other new inputs were there
    that no fire has tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arguments: tuple[str, ...]
    settings: str | None = None
    output: str | None = None
    previous: str | None = None
    previous_time: int | None = None
    input: str | None = None
    seen: Seen | None = None
    more: bool = False


class Fire(BaseModel):
    """One time of a schedule. `missed` earlier times that it stands for did not fire.

    `attempt` is the number of the present or next start, `failures` and `losses` count starts that
    failed and that vanished with their machine. `stopping`: a person has stopped it for good.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: str
    time: int
    cause: Cause
    state: State
    missed: int
    attempt: int
    failures: int
    losses: int
    not_before: int
    plan: Plan | None
    started: int | None
    ended: int | None
    exit_code: int | None
    note: str
    stopping: bool
    fence: int


class Attempt(BaseModel):
    """One start of a fire's command, and how it ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: str
    time: int
    attempt: int
    job: str
    started: int
    ended: int | None
    exit_code: int | None
    note: str
