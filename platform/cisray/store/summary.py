"""How long a run took, and on what: added up from the receipts of its shards.

Knows what workers write of their time into receipts; knows nothing of clocks or prices. Where
workers' time went is `worker_time`'s part of it. It is kept
in a file when a run is sealed, and comes out the same whenever it is added up again: a run that was
killed and resumed, wherever that happened, tells of all the tries that finished something.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from cisray.store.manifest import RunManifest
from cisray.store.receipt import Receipt
from cisray.store.worker_time import WorkerTime

SUMMARY_FORMAT = "cisray.run_summary/1"


class Session(BaseModel):
    """What one try at a run finished, from its beginning to its last shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begun: datetime
    ended: datetime
    shards: int
    rows: int


class RunTimes(BaseModel):
    """Sizes and times of the shards that count in a run.

    `wall_s` is the time in which at least one session went on, each taken from its beginning to its
    last shard: what a session does after that, and one that finishes no shard, leave no trace.
    `device_s` is for how long workers kept their devices busy, all of them together, `write_s` for
    how long they encoded and wrote. Shards whose writer told nothing of its time are `untimed`.
    `workers` says where their time went, None where no shard tells: in runs of before that was
    measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = SUMMARY_FORMAT
    run_id: str
    shards: int
    rows: int
    files: int
    bytes: int
    sessions: tuple[Session, ...]
    untimed: int
    wall_s: float
    device_s: float
    write_s: float
    hosts: tuple[str, ...]
    devices: tuple[str, ...]
    workers: WorkerTime | None = None

    @classmethod
    def of(cls, manifest: RunManifest, receipts: Sequence[Receipt]) -> Self:
        """Add up the receipts of a run, whatever their order."""
        told = ((receipt, ShardTimes.of(receipt)) for receipt in receipts)
        timed = [(receipt, fact) for receipt, fact in told if fact is not None]
        sessions, facts = _sessions(timed), [fact for _, fact in timed]
        return cls(
            run_id=manifest.run_id,
            shards=len(receipts),
            rows=sum(receipt.n_rows for receipt in receipts),
            files=sum(len(receipt.files) for receipt in receipts),
            bytes=sum(receipt.n_bytes for receipt in receipts),
            sessions=sessions,
            untimed=len(receipts) - len(facts),
            wall_s=round(_covered_s(sessions), 3),
            device_s=round(sum(fact.device_s for fact in facts), 3),
            write_s=round(sum(receipt.wall_s for receipt in receipts), 3),
            hosts=tuple(sorted({fact.host for fact in facts})),
            devices=tuple(sorted({fact.device_name for fact in facts})),
            workers=WorkerTime.of(receipts),
        )

    @property
    def rows_per_second(self) -> float | None:
        """Rows in each second of `wall_s`; None where that is not known of all of them."""
        return self.rows / self.wall_s if self.wall_s and not self.untimed else None

    def cost_per_million_rows(self, cost_per_hour: float) -> float | None:
        """Price a million rows, where all that ran costs so much an hour; None as above."""
        rate = self.rows_per_second
        return None if rate is None else cost_per_hour * 1e6 / (3600 * rate)


class ShardTimes(BaseModel):
    """What a worker tells of a shard in its receipt, among other things."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    session: datetime
    computed: datetime
    device_s: float
    host: str
    device_name: str

    @classmethod
    def of(cls, receipt: Receipt) -> Self | None:
        """Read it out of a receipt; None where it is not all there."""
        try:
            return cls.model_validate(receipt.info)
        except ValidationError:
            return None

    def finished(self, receipt: Receipt) -> datetime:
        """Tell when the shard was stored, by the clock of the worker's host."""
        return self.computed + timedelta(seconds=receipt.wall_s)


def _sessions(timed: Iterable[tuple[Receipt, ShardTimes]]) -> tuple[Session, ...]:
    found: dict[datetime, list[tuple[Receipt, ShardTimes]]] = {}
    for receipt, fact in timed:
        found.setdefault(fact.session, []).append((receipt, fact))
    return tuple(
        Session(
            begun=begun,
            ended=max(fact.finished(r) for r, fact in shards),
            shards=len(shards),
            rows=sum(receipt.n_rows for receipt, _ in shards),
        )
        for begun, shards in sorted(found.items())
    )


def _covered_s(sessions: Sequence[Session]) -> float:
    """Add up the seconds of sessions, those that two share once.

    They can share some: a worker that outlives its driver may finish a shard in the next session.
    """
    total, reached = timedelta(), None
    for session in sessions:
        begun = session.begun if reached is None else max(session.begun, reached)
        # The clock of a worker's host may be behind the driver's.
        total += max(session.ended - begun, timedelta())
        reached = session.ended if reached is None else max(reached, session.ended)
    return total.total_seconds()
