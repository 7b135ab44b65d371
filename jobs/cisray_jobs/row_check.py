"""The self-check of a run of variants: sampled rows, computed once more the plain way.

Knows which rows of a plan are sampled; how a row is computed again is `scoring.effect_check`'s
business, and how far apart both may be `inference.selfcheck`'s.
"""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from pydantic import JsonValue

from cisray.errors import SelfCheckFailed
from cisray.inference.precision import Precision
from cisray.inference.selfcheck import (
    EFFECT_TOLERANCES,
    TOLERANCES,
    Deviation,
    SampleSize,
    sample_rows,
    sample_size,
)
from cisray.scoring.effect_check import EffectCheck
from cisray.scoring.variants import EffectArrays, ScoredRow
from cisray.stopwatch import lap
from cisray.store.keyed_plan import KeyedPlan
from cisray.tracks import TrackSet
from cisray_jobs.checks import fact


@dataclass(frozen=True, slots=True)
class RowSample:
    """The rows of a plan that are checked, by shard and by their place in it.

    They follow from plan and weights: a run that is interrupted, and resumed anywhere, checks the
    rows that an undisturbed one checks. Resuming it with another number adds or removes some.
    """

    rows: dict[int, frozenset[int]]
    seed: str
    precision: Precision

    @classmethod
    def draw(
        cls, plan: KeyedPlan, model_sha256: str, wanted: SampleSize, precision: Precision
    ) -> Self:
        """Draw from all rows that the plan owes."""
        seed = hashlib.sha256(f"{plan.sha256} {model_sha256}".encode()).hexdigest()[:16]
        return cls.of(plan, sample_size(wanted, plan.rows), seed, precision)

    @classmethod
    def of(cls, plan: KeyedPlan, count: int, seed: str, precision: Precision) -> Self:
        """Draw so many rows, or all where there are not as many."""
        shards = list(plan.spans)
        firsts = [0]
        for shard in shards:
            firsts.append(firsts[-1] + plan.spans[shard].rows)
        drawn: dict[int, set[int]] = {}
        for row in sample_rows(plan.rows, count, seed):
            place = bisect_right(firsts, row) - 1
            drawn.setdefault(shards[place], set()).add(row - firsts[place])
        return cls({shard: frozenset(rows) for shard, rows in drawn.items()}, seed, precision)

    def among(self, shard: int, rows: int) -> "RowSample":
        """Draw as many of a shard's `rows` chosen ones as it has sampled rows, by their place."""
        count = min(rows, len(self.rows.get(shard, ())))
        drawn = sample_rows(rows, count, f"{self.seed} {shard}")
        return RowSample({shard: drawn}, self.seed, self.precision)

    @property
    def by_shard(self) -> Counter[int]:
        """Count the sampled rows of each shard that has some."""
        return Counter({shard: len(rows) for shard, rows in self.rows.items()})

    @property
    def tolerance(self) -> float:
        """How far an effect may lie from the plain one, in the measure of `measure_effect`."""
        return EFFECT_TOLERANCES[self.precision]

    def told(self) -> dict[str, JsonValue]:
        """Describe the sample for the manifest's provenance.

        Its size is left out: a session that resumes the run may ask for another one.
        """
        return {"seed": self.seed, "tolerance": self.tolerance}


# Rows that are held until their shard is scored, in which time the memory of the fast way is free
# for plain passes: 38 MB each where all of Enformer's bins and human tracks are asked for.
HELD_ROWS = 8


@dataclass(slots=True)
class RowCheck:
    """Compare what the statistics of a shard's sampled rows were computed from."""

    check: EffectCheck
    sample: RowSample
    tracks: TrackSet
    _held: list[tuple[int, EffectArrays]] = field(default_factory=list)
    _found: list[Deviation] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what an attempt has found that then failed: its shard is tried again, or never."""
        self._held, self._found = [], []

    def watch(self, shard: int, rows: Sequence[ScoredRow], row: int, seen: EffectArrays) -> None:
        """Hold the arrays of a row that was just scored if it is sampled; see `settle`."""
        if row in self.sample.rows.get(shard, ()):
            self._held.append((row, _copied(seen)))
        if len(self._held) == HELD_ROWS:
            self.settle(shard, rows)

    def settle(self, shard: int, rows: Sequence[ScoredRow]) -> None:
        """Check the rows that are held.

        Raises SelfCheckFailed beyond the tolerance, and for values that are not finite.
        """
        held, self._held = self._held, []
        with lap("check"):
            for row, seen in held:
                self._check(shard, rows, row, seen)

    def _check(self, shard: int, rows: Sequence[ScoredRow], row: int, seen: EffectArrays) -> None:
        deviation = self.check.check(rows[row], seen)
        if not deviation.is_within(self.sample.precision):
            effect = deviation.effect.is_within(self.sample.tolerance)
            what, worst, tolerance = (
                ("the reference's prediction", deviation.reference, TOLERANCES["float32"])
                if effect
                else ("the difference", deviation.effect, self.sample.tolerance)
            )
            where = f"of the variant {rows[row].variant} in shard {shard}, {what}"
            raise SelfCheckFailed(self._complaint(where, worst, tolerance))
        self._found.append(deviation.effect)

    def taken(self) -> dict[str, JsonValue]:
        """State what was found since `begin`, for the shard's receipt."""
        return fact(self._found, self.sample.tolerance)

    def _complaint(self, where: str, worst: Deviation, tolerance: float) -> str:
        column = self.tracks.columns[worst.track]
        return (
            f"The self-check failed: {where} in track {column} lies {worst.error:.2g} from "
            f"the plain one's, and {tolerance:g} is tolerated; in bin {worst.bin} of "
            f"those computed it says {worst.value:.6g}, the plain one {worst.plain:.6g}. Nothing "
            "of the shard is stored and the run has stopped. Do not use what it has stored before: "
            "score anew with --predictor plain --restart, and please report this with the machine "
            "and the model."
        )


def _copied(seen: EffectArrays) -> EffectArrays:
    """Keep arrays that are valid during a call only, on the host."""
    prediction_NT, difference_NT = (
        values.to("cpu", copy=True) for values in (seen.prediction_NT, seen.difference_NT)
    )
    return EffectArrays(seen.bins, prediction_NT, difference_NT)
