"""What a log record says besides its message (run, worker, shard), and how it is written.

Knows the standard library's `logging`; knows nothing of runs. A field that is true of the whole
process is in the records of all its threads (`everywhere`), one of a piece of work in those of the
thread that does it (`here`).
"""

import json
import logging
import os
import platform
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["text", "json"]
Field = str | int | float

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_FACTS = "facts"  # numbers that a record brings along, by the `extra` of a call


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How records are written to stderr, and from which level on."""

    format: LogFormat = "text"
    level: int = logging.WARNING


class _Process:
    """What holds for the whole process."""

    settings: LogSettings | None = None
    fields: Mapping[str, Field] = {}


_here: ContextVar[Mapping[str, Field] | None] = ContextVar("cisray_log_fields", default=None)


def chosen() -> LogSettings | None:
    """Tell the settings that were chosen for this process; None where it has none of ours."""
    return _Process.settings


def choose(settings: LogSettings) -> None:
    """Remember settings, for `configure` and for workers."""
    _Process.settings = settings


def configure(settings: LogSettings, *, anew: bool = False) -> None:
    """Write records to stderr, for workers too.

    Handlers of others stay in place of ours, unless it is to be done `anew`; JSON is alone there.
    """
    choose(settings)
    is_json = settings.format == "json"
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.level, handlers=[handler], force=anew or is_json)
    if is_json:
        logging.captureWarnings(capture=True)


def adopt(settings: LogSettings | None, **fields: Field) -> None:
    """Write this process's log as another does that has these settings, and name it in records.

    Where the other has none, the log stays as it is.
    """
    always(**fields)
    if settings is not None:
        configure(settings, anew=True)


@contextmanager
def everywhere(**fields: Field) -> Iterator[None]:
    """Put fields into all records of this process for the length of a block."""
    before = _Process.fields
    always(**fields)
    try:
        yield
    finally:
        _Process.fields = before


def always(**fields: Field) -> None:
    """Put fields into all records of this process from now on."""
    _Process.fields = {**_Process.fields, **fields}


@contextmanager
def here(**fields: Field) -> Iterator[None]:
    """Put fields into the records of this thread for the length of a block."""
    token = _here.set({**(_here.get() or {}), **fields})
    try:
        yield
    finally:
        _here.reset(token)


def known_fields() -> dict[str, Field]:
    """List the fields that a record of this thread gets."""
    return {**_Process.fields, **(_here.get() or {})}


class JsonFormatter(logging.Formatter):
    """Write a record as one line of JSON; its text has no other line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time (UTC), level, logger, message, our fields, and a traceback if there is one."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **known_fields(),
            "host": platform.node(),
            "pid": os.getpid(),
        }
        facts = getattr(record, _FACTS, None)
        if facts is not None:
            told[_FACTS] = facts
        if record.exc_info and record.exc_info[0] is not None:
            told["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(told, default=str)
