"""Where the time of a run's workers went, and how busy their GPUs were: added up from receipts.

Knows what workers write of it into receipts (`laps`, `gpu`); knows nothing of stopwatches. Shards
that tell nothing, as those of older runs, are left out, and where none tells there is nothing to
say: never a zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from cisray.store.receipt import Receipt


class GpuUse(BaseModel):
    """Utilisation of GPUs in percent, over so many readings while something was computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    max: float
    readings: int

    @classmethod
    def over(cls, uses: Sequence["GpuUse"]) -> "GpuUse | None":
        """Put those of several shards together, each with the weight of its readings."""
        readings = sum(use.readings for use in uses)
        if not readings:
            return None
        mean = sum(use.mean * use.readings for use in uses) / readings
        return cls(mean=round(mean, 1), max=max(use.max for use in uses), readings=readings)


class HostTime(BaseModel):
    """What the workers of one host did, as `WorkerTime` says it of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    workers: int
    shards: int
    rows: int
    seconds: Mapping[str, float]
    gpu: GpuUse | None

    @property
    def rows_per_second(self) -> float | None:
        """Rows in each second of one of its workers; None where no time has passed."""
        total = sum(self.seconds.values())
        return self.rows / total if total else None


class WorkerTime(BaseModel):
    """Seconds of all workers by what they were spent on, of the `shards` that tell.

    Names are those of `cisray.stopwatch.LAPS`; `write` is what receipts say of it. `away_s` is what
    is left of the sessions, for each worker in them: until it had started, after its last shard,
    and attempts in which it was lost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: int
    seconds: Mapping[str, float]
    away_s: float
    gpu: GpuUse | None
    hosts: tuple[HostTime, ...]

    @classmethod
    def of(cls, receipts: Iterable[Receipt]) -> Self | None:
        """Add up what receipts tell; None where none does."""
        told = [(receipt, fact) for receipt in receipts if (fact := _Told.of(receipt)) is not None]
        if not told:
            return None
        by_host: dict[str, list[tuple[Receipt, _Told]]] = {}
        for receipt, fact in told:
            by_host.setdefault(fact.host, []).append((receipt, fact))
        hosts = tuple(_host(name, by_host[name]) for name in sorted(by_host))
        seconds = _added(host.seconds for host in hosts)
        # The clock of a worker's host may be behind the driver's.
        away_s = max(0.0, _sessions_s(told) - sum(seconds.values()))
        return cls(
            shards=len(told),
            seconds=seconds,
            away_s=round(away_s, 3),
            gpu=_gpu(fact for _, fact in told),
            hosts=hosts,
        )

    def share(self, lap: str) -> float | None:
        """Tell which share of the workers' time one name has; None where no time has passed."""
        total = sum(self.seconds.values())
        return self.seconds.get(lap, 0.0) / total if total else None


class _Told(BaseModel):
    """What a worker tells of itself in a receipt, among other things."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    pid: int
    session: datetime
    computed: datetime
    laps: Mapping[str, float]
    gpu: GpuUse | None = None

    @classmethod
    def of(cls, receipt: Receipt) -> Self | None:
        try:
            return cls.model_validate(receipt.info)
        except ValidationError:
            return None


def _host(name: str, told: Sequence[tuple[Receipt, _Told]]) -> HostTime:
    return HostTime(
        host=name,
        workers=len({fact.pid for _, fact in told}),
        shards=len(told),
        rows=sum(receipt.n_rows for receipt, _ in told),
        seconds=_added({**fact.laps, "write": receipt.wall_s} for receipt, fact in told),
        gpu=_gpu(fact for _, fact in told),
    )


def _sessions_s(told: Sequence[tuple[Receipt, _Told]]) -> float:
    """Add up the length of each session, to its last shard, for every worker that was in it."""
    workers: dict[datetime, set[tuple[str, int]]] = {}
    ended: dict[datetime, datetime] = {}
    for receipt, fact in told:
        stored = fact.computed + timedelta(seconds=receipt.wall_s)
        workers.setdefault(fact.session, set()).add((fact.host, fact.pid))
        ended[fact.session] = max(stored, ended.get(fact.session, stored))
    return sum(
        len(those) * (ended[begun] - begun).total_seconds() for begun, those in workers.items()
    )


def _added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.items():
            total[name] = total.get(name, 0.0) + seconds
    return {name: round(total[name], 3) for name in sorted(total)}


def _gpu(facts: Iterable[_Told]) -> GpuUse | None:
    return GpuUse.over([fact.gpu for fact in facts if fact.gpu is not None])
