"""The driver's lock in an object store, where nothing dies with the process that holds it.

Knows one object that says who the driver is, and that changes as long as it lives; knows nothing
of runs. The owner renews it every few seconds, each time on condition that it still is as it left
it. Whoever else wants it watches it, and takes it over, on the same condition, when it has not
changed for the whole time that the owner promised to renew it in. No clock is compared with
another: each process measures with its own how long ago something was, and clocks that are wrong
or set anew make no difference.
"""

import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cisray.errors import RunBusy, StorageError
from cisray.store.driver_sign import NOBODY, DriverSign
from cisray.store.objects import Objects, Seen, Version

LEASE_S = 20.0
BEATS = 4  # renewals in the time of a lease
LOOKS = 20  # looks at another's lease in its time
NAME = "_lock"

log = logging.getLogger(__name__)


class Holder(BaseModel):
    """What the object says. `beat` makes each content differ from all before it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: str
    host: str
    pid: int
    lease_s: float = Field(gt=0)
    beat: int = 0
    released: bool = False
    since: str | None = None

    def told(self) -> str:
        """Name the process, for people."""
        return f"process {self.pid} on {self.host}"

    @property
    def text(self) -> bytes:
        """The content of the object."""
        return self.model_dump_json().encode()


class Lease:
    """The lock, held by this process until `release`, or until it fails to renew it in time.

    `take` makes one. A thread renews it.
    """

    def __init__(self, objects: Objects, holder: Holder, version: Version, since: float) -> None:
        """Begin with the lease in hand: `since` is the time before it was asked for."""
        self._objects = objects
        self._holder = holder
        self._version = version
        self._since = since
        self._asked: float | None = None
        self._lost = ""
        self._renewing = Lock()
        self._stop = Event()
        self._thread = Thread(target=self._keep, name="cisray-lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, objects: Objects, *, lease_s: float) -> Self:
        """Become the owner, waiting as long as an owner before may still be alive.

        Raises RunBusy, naming the owner, as soon as it is seen to be, and StorageError.
        """
        holder = Holder(
            owner=uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            lease_s=lease_s,
            since=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        while True:
            seen = objects.read(NAME)
            if seen is not None:
                _wait_until_free(objects, seen)
            since = elapsed()
            version = objects.write(
                NAME, holder.text, instead_of=None if seen is None else seen.version
            )
            if version is not None:
                return cls(objects, holder, version, since)
            # Someone was quicker, whom another look names; or it was removed, and is free.

    def check(self) -> None:
        """Be sure that no other process can have taken the lease by now.

        Raises RunBusy when one has, and StorageError when that cannot be found out.
        """
        for _ in range(BEATS):
            if not self._lost and elapsed() - self._since < self._holder.lease_s / 2:
                return
            self._renew()
        raise StorageError(
            f"the store of {self._objects.url} answers too slowly for its lock to be renewed "
            f"within {self._holder.lease_s:g} s. Run the same command again: it goes on where it "
            f"stopped."
        )

    def release(self) -> None:
        """Let the next driver in at once; releasing twice is no error."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        with self._renewing:
            if self._lost:
                return
            free = self._next(released=True)
            try:
                self._objects.write(NAME, free.text, instead_of=self._version)
            except StorageError as error:
                log.warning("the next driver will have to wait for the lease to end: %s", error)

    def _keep(self) -> None:
        while not self._stop.wait(self._holder.lease_s / BEATS):
            try:
                self._renew()
            except StorageError as error:
                log.warning("the lease on the run could not be renewed, trying again: %s", error)
            except RunBusy as error:
                log.warning("%s", error)
                return

    def _renew(self) -> None:
        with self._renewing:
            if self._lost:
                raise RunBusy(self._lost)
            holder = self._next()
            # Until it succeeds the content stays the same: one try may have, without an answer, and
            # then it was as early as at the first.
            if self._asked is None:
                self._asked = elapsed()
            version = self._objects.write(NAME, holder.text, instead_of=self._version)
            if version is None:
                self._lost = (
                    f"{self._objects.url} was taken over by another cisray process "
                    f"({_owner(self._objects.read(NAME))}), as this one did not renew its lock "
                    f"for {self._holder.lease_s:g} s. The run goes on there; nothing more is "
                    f"written here."
                )
                raise RunBusy(self._lost)
            self._holder, self._version, self._since = holder, version, self._asked
            self._asked = None

    def _next(self, *, released: bool = False) -> Holder:
        return self._holder.model_copy(update={"beat": self._holder.beat + 1, "released": released})


def look(objects: Objects) -> DriverSign:
    """See who holds the lease; whether that process lives shows when the lease is renewed."""
    seen = objects.read(NAME)
    if seen is None or _parsed(seen).released:
        return NOBODY
    holder = _parsed(seen)
    return DriverSign(
        holder.told(), None, holder.since, mark=repr(seen.version), lease_s=holder.lease_s
    )


def elapsed() -> float:
    """Tell seconds since some moment, by a clock that nobody sets.

    Where there is one it goes on while the machine sleeps, as the other machines' do.
    """
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _wait_until_free(
    objects: Objects, seen: Seen, *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Wait until the lease as it was seen is released, or must have ended.

    Raises RunBusy as soon as it is renewed.
    """
    holder = _parsed(seen)
    if holder.released:
        return
    first = elapsed()
    log.warning(
        "%s is written by %s, or was left by it: waiting up to %g s to see which",
        *(objects.url, holder.told(), holder.lease_s),
    )
    while True:
        pause(holder.lease_s / LOOKS)
        looked = elapsed()
        now = objects.read(NAME)
        if now is None or now.version != seen.version:
            if now is None or _parsed(now).released:
                return
            raise RunBusy(
                f"{objects.url} is being written by another cisray process ({_owner(now)}). Wait "
                f"for it to end or stop it, or choose another --out."
            )
        if looked - first > holder.lease_s:
            return


def _parsed(seen: Seen) -> Holder:
    """Read what the object says; what cannot be read may be of another version, and alive."""
    try:
        return Holder.model_validate_json(seen.data)
    except ValidationError:
        return Holder(owner="", host="an unknown host", pid=0, lease_s=LEASE_S)


def _owner(seen: Seen | None) -> str:
    return "process unknown" if seen is None else _parsed(seen).told()
