"""The self-check of a scoring run: sampled tiles, predicted once more the plain way.

Knows which tiles of a plan are sampled and where a tile's values stand in its shard; how far apart
two predictions may lie is `cisray.inference.selfcheck`'s business.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import JsonValue

from cisray.errors import SelfCheckFailed
from cisray.genome.reference import Genome
from cisray.genome.windows import Window
from cisray.inference.precision import Precision
from cisray.inference.predictor import PlainPredictor
from cisray.inference.selfcheck import TOLERANCES, Deviation, SampleSize, draw, measure, sample_size
from cisray.locus import format_locus
from cisray.scoring.tiles import TileScores
from cisray.store.manifest import RunManifest
from cisray.store.receipt import Receipt
from cisray.store.tile_plan import TilePlan

FACT = "self_check"  # the key of what was checked in the receipt of a shard


@dataclass(frozen=True, slots=True)
class TileSample:
    """The tiles of a run that are checked, each as chromosome:start, 0-based.

    They follow from plan and weights: a run that is interrupted, and resumed anywhere, checks the
    tiles that an undisturbed one checks. Resuming it with another number adds or removes some.
    """

    tiles: frozenset[str]
    seed: str
    tolerance: float

    @classmethod
    def draw(
        cls, plan: TilePlan, model_sha256: str, wanted: SampleSize, precision: Precision
    ) -> Self:
        """Draw from all tiles that the plan scores."""
        seed = hashlib.sha256(f"{plan.sha256} {model_sha256}".encode()).hexdigest()[:16]
        scored = plan.table.filter(plan.table["scored"])
        names = [
            _name(chrom, start)
            for chrom, start in zip(
                scored["chrom"].to_pylist(), scored["start"].to_pylist(), strict=True
            )
        ]
        count = sample_size(wanted, len(names))
        return cls(draw(names, count, seed), seed, TOLERANCES[precision])

    def holds(self, window: Window) -> bool:
        """Tell whether a tile is among them."""
        return _name(window.target.chrom, window.target.start) in self.tiles

    def by_shard(self, plan: TilePlan) -> Counter[int]:
        """Count the sampled tiles of each shard that has some."""
        columns = (plan.table[name].to_pylist() for name in ("shard", "chrom", "start"))
        return Counter(
            shard
            for shard, chrom, start in zip(*columns, strict=True)
            if _name(chrom, start) in self.tiles
        )

    def told(self) -> dict[str, JsonValue]:
        """Describe the sample for the manifest's provenance.

        Its size is left out: a session that resumes the run may ask for another one.
        """
        return {"seed": self.seed, "tolerance": self.tolerance}


class SelfCheck:
    """Compare a shard's values, before they are rounded, with those of the plain predictor."""

    def __init__(self, plain: PlainPredictor, genome: Genome, sample: TileSample) -> None:
        self._plain = plain
        self._genome = genome
        self._sample = sample

    def check(
        self, shard: int, tiles: Sequence[tuple[Window, int]], scores: TileScores
    ) -> dict[str, JsonValue]:
        """Check the sampled tiles of a scored shard; return what was found, for its receipt.

        Raises SelfCheckFailed beyond the tolerance, and for values that are not finite.
        """
        found: list[Deviation] = []
        row = 0
        for window, bins in tiles:
            values_TM = scores.values_TM[:, row : row + bins]
            row += bins
            if not self._sample.holds(window):
                continue
            codes_BL = self._genome.fetch_padded(window.input)[None]
            plain_TM = self._plain.predict(codes_BL)[0, :bins].T
            deviation = measure(values_TM, plain_TM)
            if not deviation.is_within(self._sample.tolerance):
                raise SelfCheckFailed(self._complaint(shard, window, deviation))
            found.append(deviation)
        if not found:
            return {}
        return {
            FACT: {
                "tiles": len(found),
                "worst": max(deviation.error for deviation in found),
                "largest_relative": max(deviation.largest_relative for deviation in found),
                "tolerance": self._sample.tolerance,
            }
        }

    def _complaint(self, shard: int, window: Window, deviation: Deviation) -> str:
        tile, bin_ = window.target, window.bin_interval(deviation.bin)
        column = self._plain.tracks.columns[deviation.track]
        return (
            f"The self-check failed: in the tile {format_locus(tile.chrom, tile.start, tile.end)} "
            f"of shard {shard}, track {column} of the fast predictor is off by "
            f"{deviation.error:.2g} of its norm from the plain one's, and "
            f"{self._sample.tolerance:g} is tolerated; at "
            f"{format_locus(bin_.chrom, bin_.start, bin_.end)} it says {deviation.value:.6g}, the "
            f"plain one {deviation.plain:.6g}. Nothing of the shard is stored and the run has "
            "stopped. Do not use what it has stored before: score anew with --predictor plain "
            "--restart, and please report this with the machine and the model."
        )


@dataclass(frozen=True, slots=True)
class SelfCheckSummary:
    """What was checked in a whole run: tiles, and the worst error of each kind; None without any.

    `sampled` tiles should have been: those that were, whoever asked for them, and those of this
    session's sample. `unchecked` of them lie in shards that were finished before without a check.
    `worst` is the largest norm-wise error of a track in a tile, `largest_relative` that of a single
    value that is not faint.
    """

    tiles: int
    sampled: int
    unchecked: int
    worst: float | None
    largest_relative: float | None
    note: str


def summarise(
    receipts: Iterable[Receipt], manifest: RunManifest, sampled: Mapping[int, int]
) -> SelfCheckSummary:
    """Gather what the shards of a run found out, whichever session scored them.

    `sampled` counts the tiles of each shard that this session's sample holds.
    """
    found: dict[int, dict[str, JsonValue]] = {}
    due = tiles = 0
    for receipt in receipts:
        fact = receipt.info.get(FACT)
        checked = 0
        if isinstance(fact, dict):
            found[receipt.shard] = fact
            checked = int(_number(fact, "tiles"))
        tiles += checked
        # Of two samples of a run the smaller is part of the larger.
        due += max(checked, sampled.get(receipt.shard, 0))
    if manifest.config.get("predictor") == "plain":
        note = "the plain predictor has nothing to be checked against"
        return SelfCheckSummary(0, 0, 0, None, None, note)
    missed = due - tiles
    left = f"{missed} in shards finished before without a check" if missed else ""
    if not found:
        return SelfCheckSummary(0, due, missed, None, None, left or "none checked")
    worst, relative, tolerance = (
        max(_number(fact, name) for fact in found.values())
        for name in ("worst", "largest_relative", "tolerance")
    )
    note = f"the worst track of a tile is off by {worst:.1e}, tolerated {tolerance:g}"
    note = f"{note}; {left}" if left else note
    return SelfCheckSummary(tiles, due, missed, worst, relative, note)


def _number(fact: Mapping[str, JsonValue], name: str) -> float:
    value = fact.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _name(chrom: str, start: int) -> str:
    return f"{chrom}:{start}"
