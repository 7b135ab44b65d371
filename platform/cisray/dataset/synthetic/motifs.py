"""Motifs as position weight matrices: how well sequence fits them, on both strands.

Knows codes of bases (A C G T = 0..3); knows nothing of genomes or of what a factor does.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]

UNIFORM = 0.25
# A site counts from this share of the best score on.
THRESHOLD_SHARE = 0.5
_LEAST = 1e-3  # probability that no base falls below


@dataclass(frozen=True, slots=True, eq=False)
class Motif:
    """A factor's preference: `probability_WA`, for each of W positions that of A, C, G and T.

    A score is the sum of log2(p / 0.25) over positions, in bits.
    """

    name: str
    probability_WA: Floats

    @classmethod
    def draw(
        cls,
        name: str,
        generator: np.random.Generator,
        widths: tuple[int, int],
        consensus: tuple[float, float],
    ) -> Self:
        """Make up a degenerate motif: positions differ in how much they insist on their base.

        The width and, for each position, the probability of its likeliest base are uniform in
        their ranges.
        """
        width = int(generator.integers(*widths, endpoint=True))
        consensus_W = generator.integers(0, 4, width)
        likeliest_W = generator.uniform(*consensus, width)
        others_WA = generator.dirichlet([2.0, 2.0, 2.0], width)
        probability_WA = np.empty((width, 4))
        for position, base in enumerate(consensus_W):
            rest = np.delete(np.arange(4), base)
            probability_WA[position, rest] = others_WA[position] * (1 - likeliest_W[position])
            probability_WA[position, base] = likeliest_W[position]
        floored_WA = np.maximum(probability_WA, _LEAST)
        return cls(name, floored_WA / floored_WA.sum(axis=1, keepdims=True))

    @property
    def width(self) -> int:
        """W, the bases of a site."""
        return len(self.probability_WA)

    @property
    def bits_WA(self) -> Floats:
        """What each base at each position adds to a score."""
        bits: Floats = np.log2(self.probability_WA / UNIFORM)
        return bits

    @property
    def best(self) -> float:
        """The score of the best site there is."""
        return float(self.bits_WA.max(axis=1).sum())

    @property
    def threshold(self) -> float:
        """The score from which on a site counts."""
        return THRESHOLD_SHARE * self.best

    def scores(self, codes_L: Codes) -> Floats:
        """Score every place on both strands: (2, L - W + 1), the forward strand first.

        The reverse strand's score of a place is that of the reverse complement of its bases. A
        base that is none of A, C, G and T scores minus infinity, so that no site has one.
        """
        bits_WA = np.pad(self.bits_WA, ((0, 0), (0, 1)), constant_values=-np.inf)
        # Reversed along positions and complemented along bases; the unknown base stays last.
        reverse_WA = bits_WA[::-1, [3, 2, 1, 0, 4]]
        places = len(codes_L) - self.width + 1
        total = np.zeros((2, max(0, places)))
        for position in range(self.width if places > 0 else 0):
            bases = codes_L[position : position + places]
            total[0] += bits_WA[position, bases]
            total[1] += reverse_WA[position, bases]
        return total

    def affinity(self, score: Any) -> Any:
        """Turn scores into affinities: zero up to the threshold, one at the best score.

        Linear in between, so that weak sites have weak effects and none is a matter of rounding.
        """
        return np.maximum(0.0, (score - self.threshold) / (self.best - self.threshold))

    def occupancy(self, codes_L: Codes) -> float:
        """Sum the affinities of all places on both strands."""
        return float(self.affinity(self.scores(codes_L)).sum())

    def sample(self, generator: np.random.Generator) -> Codes:
        """Draw a site that counts, (W,), each base by its probability."""
        limits_WA = self.probability_WA.cumsum(axis=1)
        places = np.arange(self.width)
        while True:
            drawn = generator.random((self.width, 1))
            codes_W: Codes = np.minimum((drawn >= limits_WA).sum(axis=1), 3).astype(np.uint8)
            if self.bits_WA[places, codes_W].sum() > self.threshold:
                return codes_W
