"""The self-check of a scoring run: sampled tiles, predicted once more the plain way.

Knows which tiles of a plan are sampled and where a tile's values stand in its shard; how far apart
two predictions may lie is `cisray.inference.selfcheck`'s business.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
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
from cisray.store.tile_plan import TilePlan
from cisray_jobs.checks import fact


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
        return cls.of(plan, sample_size(wanted, plan.tiles_scored), seed, TOLERANCES[precision])

    @classmethod
    def of(cls, plan: TilePlan, count: int, seed: str, tolerance: float) -> Self:
        """Draw so many tiles, or all where there are not as many."""
        scored = plan.table.filter(plan.table["scored"])
        names = [
            _name(chrom, start)
            for chrom, start in zip(
                scored["chrom"].to_pylist(), scored["start"].to_pylist(), strict=True
            )
        ]
        return cls(draw(names, count, seed), seed, tolerance)

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
        return fact(found, self._sample.tolerance)

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


def _name(chrom: str, start: int) -> str:
    return f"{chrom}:{start}"
