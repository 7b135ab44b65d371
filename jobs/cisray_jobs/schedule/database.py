"""The SQLite file of a ledger: its tables, how it is opened, and transactions.

Knows SQLite; knows nothing of what a fire may do. The file is for processes of one machine: its
write-ahead log does not work over a network file system.
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cisray.errors import StorageError
from cisray.store.files import make_folder, writing_to

NAME = "ledger.sqlite"
VERSION = 2
BUSY_S = 60
# What makes a ledger of a version one of the next. 2: a definition may have a `cluster`, and a plan
# `settings`; neither has a column of its own, and a cisray of version 1 cannot read them.
_STEPS = {1: ""}
_SCHEMA = """
CREATE TABLE schedules (
    name        TEXT PRIMARY KEY,
    definition  TEXT NOT NULL,
    paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    cursor      INTEGER NOT NULL   -- the times up to this one have been decided
) STRICT;
CREATE TABLE fires (
    schedule    TEXT NOT NULL REFERENCES schedules (name) ON DELETE CASCADE,
    time        INTEGER NOT NULL,
    cause       TEXT NOT NULL CHECK (cause IN ('cron', 'asked', 'more')),
    state       TEXT NOT NULL CHECK (state IN ('due', 'ready', 'running', 'succeeded', 'failed',
                                               'skipped', 'missed', 'unchanged')),
    missed      INTEGER NOT NULL DEFAULT 0,
    attempt     INTEGER NOT NULL DEFAULT 1,
    failures    INTEGER NOT NULL DEFAULT 0,
    losses      INTEGER NOT NULL DEFAULT 0,
    not_before  INTEGER NOT NULL DEFAULT 0,
    plan        TEXT,
    started     INTEGER,
    ended       INTEGER,
    exit_code   INTEGER,
    note        TEXT NOT NULL DEFAULT '',
    stopping    INTEGER NOT NULL DEFAULT 0 CHECK (stopping IN (0, 1)),
    fence       INTEGER NOT NULL DEFAULT 0,
    owner       TEXT NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (schedule, time)
) STRICT;
CREATE INDEX fires_by_state ON fires (state, schedule, time);
CREATE TABLE attempts (
    schedule    TEXT NOT NULL,
    time        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    job         TEXT NOT NULL UNIQUE,
    started     INTEGER NOT NULL,
    ended       INTEGER,
    exit_code   INTEGER,
    note        TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (schedule, time, attempt),
    FOREIGN KEY (schedule, time) REFERENCES fires (schedule, time) ON DELETE CASCADE
) STRICT;
"""


class Database:
    """An open connection. Of one process, which opens it for itself and closes it."""

    def __init__(self, folder: Path) -> None:
        """Open the database of a folder, or make one.

        Raises StorageError when the folder cannot be written, or the file is of another version.
        """
        self.path = folder / NAME
        with writing_to(folder):
            make_folder(folder)
            # Two processes that make one file at once: SQLite has no way to wait for that.
            with (folder / ".opening").open("w") as opening:
                fcntl.flock(opening, fcntl.LOCK_EX)
                self.connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
            while version in _STEPS:
                step = f"{_STEPS[version]}PRAGMA user_version = {version + 1};"
                connection.executescript(f"BEGIN IMMEDIATE;{step}COMMIT;")
                version += 1
        except sqlite3.Error as error:
            raise StorageError(
                f"{self.path} cannot be opened as a ledger of schedules: {error}. Name another "
                f"folder with --ledger, or bring the file back from a copy."
            ) from error
        if version not in (0, VERSION):
            raise StorageError(
                f"{self.path} is a ledger of version {version}, this cisray knows version "
                f"{VERSION}. Use the cisray that made it, or name another folder with --ledger."
            )
        return connection

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Hold the only right to write until the end, and undo everything on an exception.

        Raises StorageError when others hold it for longer than `BUSY_S` seconds, or the disk fails.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"{self.path} cannot be written: {error}. Nothing was changed; do the same again."
            ) from error
