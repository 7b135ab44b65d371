"""How a run goes, seen from any machine that sees its folder or its object store.

Knows what a run records anyway (commit records, failures, the driver's lock) and writes nothing;
knows nothing of Ray, of workers or of how it is shown. Times of shards are by the clocks of the
machines that wrote them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from cisray.store.directory import read_manifest, read_plan
from cisray.store.driver_sign import DriverSign
from cisray.store.failure import read_failures
from cisray.store.layout import RunLayout
from cisray.store.locate import locate
from cisray.store.place import RunPlace
from cisray.store.plan import Plan
from cisray.store.receipt import Receipt, read_all_committed
from cisray.store.seal import is_sealed
from cisray.store.summary import ShardTimes

State = Literal["running", "stalled", "sealed", "failed", "stopped", "lost"]
ENDED: frozenset[State] = frozenset(("sealed", "failed", "stopped", "lost"))
# A run is stalled when nothing was finished for so many times its longest pause so far, and for no
# less than a minute; before the first shard, for ten minutes.
PATIENCE, LEAST_S, FIRST_S = 3.0, 60.0, 600.0


@dataclass(frozen=True, slots=True)
class FailedShard:
    """A shard that was given up, and why."""

    shard: int
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Glance:
    """How a run stands.

    `sealed`: done. `failed`: its driver has ended and named shards. `stopped`: it has ended without
    either, or nobody has begun. `lost`: it has died. `workers`, `rows_per_second` and `left_s` are
    of this driver's own shards; None where it has finished none. `quiet_s` is the time since the
    last shard was finished, or since the driver began.
    """

    run: str
    state: State
    shards: int
    done: int
    rows: int
    rows_done: int
    failures: tuple[FailedShard, ...]
    driver: str | None
    workers: int | None
    rows_per_second: float | None
    left_s: float | None
    quiet_s: float | None


class DriverEyes:
    """Whether a driver is alive, look by look: a lease shows that only when it is renewed."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._mark = ""
        self._seen = 0.0

    def is_alive(self, sign: DriverSign) -> bool | None:
        """Judge a look by those before it; None where the lock tells nothing."""
        if sign.alive is not None or sign.lease_s is None:
            return sign.alive
        now = self._elapsed()
        if sign.mark != self._mark:
            self._mark, self._seen = sign.mark, now
        return now - self._seen <= sign.lease_s


@dataclass(slots=True)
class _Beginning:
    """What stays the same of one beginning of a run, and the shards that are known to be done."""

    layout: RunLayout
    plan: Plan
    known: dict[int, Receipt] = field(default_factory=dict)

    def look(self) -> list[Receipt]:
        """Read the records that are new, and give all."""
        unseen = [shard for shard in self.plan.spans if shard not in self.known]
        for receipt in read_all_committed(self.layout, unseen):
            self.known[receipt.shard] = receipt
        return list(self.known.values())


class RunWatch:
    """The eyes on one run, which may be begun anew meanwhile."""

    def __init__(
        self,
        place: RunPlace,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at nothing yet."""
        self._layout = RunLayout(locate(place))
        self._now = now
        self._eyes = DriverEyes(elapsed)
        self._of: _Beginning | None = None

    def look(self) -> Glance:
        """See how the run stands. Raises RunNotFound without one, StorageError for damage."""
        # In this order: a driver that has ended by the first look has sealed by the second.
        sign = self._layout.folder.driver()
        alive = self._eyes.is_alive(sign)
        beginning = self._beginning()
        layout, plan = beginning.layout, beginning.plan
        sealed = is_sealed(layout)
        receipts = [] if sealed else beginning.look()
        failures = () if sealed else _failures(layout)
        session = _Session.of(receipts, sign, self._now())
        rows_done = plan.rows if sealed else sum(receipt.n_rows for receipt in receipts)
        rate = None if sealed else session.rows_per_second
        return Glance(
            run=str(layout.root),
            state=_state(alive, sealed, sign, failures, session),
            shards=len(plan.spans),
            done=len(plan.spans) if sealed else len(receipts),
            rows=plan.rows,
            rows_done=rows_done,
            failures=failures,
            driver=sign.owner,
            workers=None if sealed else session.workers,
            rows_per_second=rate,
            left_s=(plan.rows - rows_done) / rate if rate else None,
            quiet_s=None if sealed else session.quiet_s,
        )

    def _beginning(self) -> _Beginning:
        manifest = read_manifest(self._layout)
        if self._of is None or self._of.layout.begun != manifest.begun:
            plan = read_plan(self._layout, manifest)
            self._of = _Beginning(self._layout.of(manifest.begun), plan)
        return self._of


@dataclass(frozen=True, slots=True)
class _Session:
    """What the driver that is at it, or was last, has finished."""

    workers: int | None
    rows_per_second: float | None
    quiet_s: float | None
    longest_s: float | None

    @classmethod
    def of(cls, receipts: list[Receipt], sign: DriverSign, now: datetime) -> "_Session":
        told = [(receipt, t) for receipt in receipts if (t := ShardTimes.of(receipt)) is not None]
        begun = max((times.session for _, times in told), default=None)
        since = None if sign.since is None else datetime.fromisoformat(sign.since)
        # A driver that goes on with a run may have finished nothing yet.
        begun = since if begun is None or (since is not None and since > begun) else begun
        if begun is None:
            return cls(None, None, None, None)
        mine = [(r, t.finished(r)) for r, t in told if t.finished(r) >= begun]
        times = sorted([begun, *(finished for _, finished in mine)])
        quiet_s = max(0.0, (now - times[-1]).total_seconds())
        if not mine:
            return cls(None, None, quiet_s, None)
        pauses = [(b - a).total_seconds() for a, b in pairwise(times)]
        passed_s = (now - begun).total_seconds()
        return cls(
            workers=len({(r.info.get("host"), r.info.get("pid")) for r, _ in mine}),
            rows_per_second=sum(r.n_rows for r, _ in mine) / passed_s if passed_s > 0 else None,
            quiet_s=quiet_s,
            longest_s=max(pauses),
        )

    @property
    def is_stalled(self) -> bool:
        """Whether nothing was finished for longer than its pauses let expect."""
        if self.quiet_s is None:
            return False
        pause = self.longest_s
        return self.quiet_s > (FIRST_S if pause is None else max(LEAST_S, PATIENCE * pause))


def _state(
    alive: bool | None,
    sealed: bool,
    sign: DriverSign,
    failures: tuple[FailedShard, ...],
    session: _Session,
) -> State:
    if sealed:
        return "sealed"
    if alive is False:
        if failures:
            return "failed"
        return "stopped" if sign.owner is None else "lost"
    return "stalled" if session.is_stalled else "running"


def _failures(layout: RunLayout) -> tuple[FailedShard, ...]:
    return tuple(
        FailedShard(record.shard, record.attempts, record.reason)
        for record in read_failures(layout)
    )
