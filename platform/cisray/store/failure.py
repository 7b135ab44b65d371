"""Why a shard was given up, kept beside the run for people and for `seal`.

Knows JSON; knows nothing of shards' contents. A failure record never keeps a shard from being
tried again.
"""

from contextlib import suppress
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cisray.store.layout import RunLayout

FailureKind = Literal["work", "self-check"]


class ShardFailureRecord(BaseModel):
    """One shard that was given up after so many attempts, or because its values were wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: int
    reason: str
    attempts: int
    kind: FailureKind = "work"


def read_failures(layout: RunLayout) -> list[ShardFailureRecord]:
    """Read every failure record of this beginning of the run, by shard.

    A damaged record is passed over: it only tells people why, and decides nothing.
    """
    records = []
    for name in sorted(filter(layout.owns, layout.folder.below(layout.failures))):
        with suppress(ValidationError):
            records.append(ShardFailureRecord.model_validate_json(layout.folder.read(name) or b""))
    return records
