"""What the self-checks of all scoring jobs have in common: their record, and what a run found.

Knows receipts and records of failures; knows nothing of what is checked, or how.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from cisray.errors import RunConflict, SelfCheckFailed, StorageError
from cisray.store.failure import read_failures
from cisray.store.layout import RunLayout
from cisray.store.manifest import RunManifest
from cisray.store.receipt import Receipt
from cisray.store.run import ShardSink

FACT = "self_check"  # the key of what was checked in the receipt of a shard

log = logging.getLogger(__name__)


class Measured(Protocol):
    """What one check found: how far off the whole is, and its worst single value."""

    @property
    def error(self) -> float:
        """The error that is held to a tolerance."""

    @property
    def largest_relative(self) -> float:
        """The largest relative error of a single value that is not faint."""


def fact(found: Sequence[Measured], tolerance: float) -> dict[str, JsonValue]:
    """State what the checks of a shard found, for its receipt; nothing where there were none."""
    if not found:
        return {}
    return {
        FACT: {
            "checked": len(found),
            "worst": max(deviation.error for deviation in found),
            "largest_relative": max(deviation.largest_relative for deviation in found),
            "tolerance": tolerance,
        }
    }


@contextmanager
def on_record(sink: ShardSink, shard: int) -> Iterator[None]:
    """Put a failed check on record, so that the run cannot be resumed as if nothing had been."""
    try:
        yield
    except SelfCheckFailed as error:
        try:
            sink.record_failure(shard, str(error), 1, kind="self-check")
        except StorageError as trouble:
            # The failure itself must not be replaced by that of noting it.
            log.warning("the failed check of shard %d is not on record: %s", shard, trouble)
        raise


def checked_first(shards: Sequence[int], sampled: Mapping[int, int]) -> list[int]:
    """Put shards with something to check first: a fast way that is wrong is found early."""
    return sorted(shards, key=lambda shard: shard not in sampled)


def refuse_unchecked(layout: RunLayout, sampled: Mapping[int, int]) -> None:
    """Refuse to go on where a check has failed unless the shard will be checked again.

    Raises RunConflict naming the record.
    """
    for record in read_failures(layout):
        if record.kind == "self-check" and record.shard not in sampled:
            raise RunConflict(
                f"The self-check of shard {record.shard} has failed, as "
                f"{layout.tell(layout.failure(record.shard))} says, and with this --self-check "
                "nothing of it would be checked again. Score anew with --restart --predictor plain."
            )


@dataclass(frozen=True, slots=True)
class SelfCheckSummary:
    """What was checked in a whole run, and the worst error of each kind; None without any.

    `sampled` tiles or variants should have been: those that were, whoever asked for them, and those
    of this session's sample. `unchecked` of them lie in shards that were finished before without a
    check. `worst` is the largest norm-wise error of a track in one of them, `largest_relative` that
    of a single value that is not faint.
    """

    checked: int
    sampled: int
    unchecked: int
    worst: float | None
    largest_relative: float | None
    note: str


def summarise(
    receipts: Iterable[Receipt], manifest: RunManifest, sampled: Mapping[int, int], *, unit: str
) -> SelfCheckSummary:
    """Gather what the shards of a run found out, whichever session scored them.

    `sampled` counts what this session's sample holds of each shard; `unit` is what is checked.
    """
    found: dict[int, dict[str, JsonValue]] = {}
    due = checked = 0
    for receipt in receipts:
        told = receipt.info.get(FACT)
        here = 0
        if isinstance(told, dict):
            found[receipt.shard] = told
            here = int(_number(told, "checked"))
        checked += here
        # Of two samples of a run the smaller is part of the larger.
        due += max(here, sampled.get(receipt.shard, 0))
    if manifest.config.get("predictor") == "plain":
        note = "the plain predictor has nothing to be checked against"
        return SelfCheckSummary(0, 0, 0, None, None, note)
    missed = due - checked
    left = f"{missed} in shards finished before without a check" if missed else ""
    if not found:
        return SelfCheckSummary(0, due, missed, None, None, left or "none checked")
    worst, relative, tolerance = (
        max(_number(told, name) for told in found.values())
        for name in ("worst", "largest_relative", "tolerance")
    )
    off = f"off by {worst:.1e}" if worst else "no further off than the plain way can tell"
    note = f"the worst track of a {unit} is {off}, tolerated {tolerance:g}"
    note = f"{note}; {left}" if left else note
    return SelfCheckSummary(checked, due, missed, worst, relative, note)


def _number(told: Mapping[str, JsonValue], name: str) -> float:
    value = told.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
