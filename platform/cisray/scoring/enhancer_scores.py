"""Scores of elements for a gene: what the prediction at the gene's start owes to their bases.

Knows windows, gradients, attention and effects of replaced sequence; knows nothing of how they are
computed, of files or of rows. The prediction is the mean over tracks of the sum over a few bins
around the start (TSS). After Avsec et al. 2021; the details are recalled, hence options.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cisray.errors import ConfigError, UnknownChromosome
from cisray.genome.encode import UNKNOWN
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Window
from cisray.inference.attention import AttentionReader
from cisray.inference.effects import EffectPredictor, ReferenceWindow
from cisray.inference.gradients import GradientPredictor, weighted_sum
from cisray.scoring.contribution import gradient_times_input, spread_tokens, sum_within
from cisray.stopwatch import lap

Codes = NDArray[np.uint8]
Replacement = Literal["random", "shuffled"]

NO_TSS = "gene without a TSS"
UNKNOWN_CHROMOSOME = "chromosome not in the FASTA"
TSS_BEYOND = "TSS beyond its chromosome"
UNKNOWN_WINDOW = "window of unknown bases"
ELEMENT_BEYOND = "element beyond its chromosome"
UNKNOWN_ELEMENT = "element of unknown bases"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOptions:
    """What a score is: bins around the TSS, bases around an element, what takes their place.

    A window of which more than the share `max_unknown` is N, or beyond its chromosome, is not used.
    Raises ConfigError for an even number of bins.
    """

    bins: int = 3
    element_bp: int = 2_000
    replacement: Replacement = "random"
    samples: int = 3
    max_unknown: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse bins that do not lie around one."""
        if self.bins < 1 or self.bins % 2 == 0:
            raise ConfigError(
                f"{self.bins} bins do not lie evenly around that of a TSS: give an odd number."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Readers:
    """A model's ways to be asked; without gradients or attention those scores are not there."""

    effects: EffectPredictor
    gradients: GradientPredictor | None = None
    attention: AttentionReader | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GeneWindow:
    """A TSS in the middle of its window, the bins around it, and the prediction in them."""

    tss: Interval
    window: Window
    codes_L: Codes
    bins: range
    signal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScore:
    """Scores of one element: zero where the window does not reach it, None where not computed.

    `reach` is whole, part or none of the bases that count. `mutagenesis` is the size of `change`,
    prediction less the mean prediction with the element replaced. `reason` is why nothing is there.
    """

    reach: str = ""
    gradient: float | None = None
    attention: float | None = None
    mutagenesis: float | None = None
    change: float | None = None
    reason: str = ""


class PairScorer:
    """Score the elements of one gene after another."""

    def __init__(self, readers: Readers, genome: Genome, options: PairOptions) -> None:
        self._readers = readers
        self._genome = genome
        self._options = options
        self._spec = readers.effects.spec
        if options.bins > self._spec.target_bins - 1:
            raise ConfigError(
                f"{options.bins} bins around a TSS are more than the model predicts around its "
                f"middle, of {self._spec.target_bins} in all."
            )

    def main_tss(self, candidates: Sequence[Interval]) -> GeneWindow | str:
        """Choose the candidate with the highest prediction, each in a window of its own.

        Of equal ones the first in the genome counts. Gives the reason of the first candidate where
        none can be used.
        """
        found: list[GeneWindow] = []
        reasons: list[str] = []
        for tss in sorted(set(candidates)):
            placed = self._placed(tss)
            if isinstance(placed, str):
                reasons.append(placed)
                continue
            window, codes_L, bins = placed
            opened = self._readers.effects.open(codes_L, bins)
            signal = float(opened.prediction_NT.double().sum(dim=0).mean())
            found.append(GeneWindow(tss, window, codes_L, bins, signal))
        if not found:
            return reasons[0] if reasons else NO_TSS
        return max(found, key=lambda gene: gene.signal)

    def _placed(self, tss: Interval) -> tuple[Window, Codes, range] | str:
        try:
            chrom = self._genome.resolve(tss.chrom)
        except UnknownChromosome:
            return UNKNOWN_CHROMOSOME
        at = Interval(chrom, tss.start, tss.end).resize(1)
        if at.start < 0 or at.end > self._genome.chromosomes[chrom]:
            return TSS_BEYOND
        window = Window.around(at, self._spec)
        with lap("input"):
            codes_L = self._genome.fetch_padded(window.input)
        if np.mean(codes_L == UNKNOWN) > self._options.max_unknown:
            return UNKNOWN_WINDOW
        middle, half = window.bins_of(at).start, self._options.bins // 2
        return window, codes_L, range(middle - half, middle + half + 1)

    def score(self, gene: GeneWindow, elements: Sequence[Interval]) -> list[PairScore]:
        """Score elements, in their order; those of a gene share a gradient and an attention pass.

        What replaces an element is drawn by the seed and the element's place alone.
        """
        placed = [self._region(element, gene) for element in elements]
        reached = [x for x in placed if isinstance(x, Interval) and gene.window.input.overlaps(x)]
        gradient_L = self._gradient(gene) if reached else None
        attention_L = self._attention(gene) if reached else None
        opened = self._readers.effects.open(gene.codes_L, gene.bins) if reached else None
        return [
            PairScore(reason=region)
            if isinstance(region, str)
            else self._one(gene, element, region, (gradient_L, attention_L, opened))
            for element, region in zip(elements, placed, strict=True)
        ]

    def _region(self, element: Interval, gene: GeneWindow) -> Interval | str:
        """Give the bases that count for an element, on the gene's chromosome."""
        chrom = gene.window.input.chrom
        own = Interval(chrom, element.start, element.end)
        length = self._genome.chromosomes[chrom]
        if own.start < 0 or own.end > length:
            return ELEMENT_BEYOND
        region = own.resize(self._options.element_bp)
        if not self._genome.acgt_count(region):
            return UNKNOWN_ELEMENT
        return region

    def _one(
        self,
        gene: GeneWindow,
        element: Interval,
        region: Interval,
        computed: tuple[
            NDArray[np.float32] | None, NDArray[np.float32] | None, ReferenceWindow | None
        ],
    ) -> PairScore:
        gradient_L, attention_L, opened = computed
        inside = gene.window.input.intersect(region)
        if inside is None or opened is None:
            return PairScore(
                reach="none",
                gradient=None if self._readers.gradients is None else 0.0,
                attention=None if self._readers.attention is None else 0.0,
                mutagenesis=0.0,
                change=0.0,
            )
        change = self._change(gene, element, region, opened)
        return PairScore(
            reach="whole" if inside == region else "part",
            gradient=_summed(gradient_L, region, gene.window),
            attention=_summed(attention_L, region, gene.window),
            mutagenesis=abs(change),
            change=change,
        )

    def _gradient(self, gene: GeneWindow) -> NDArray[np.float32] | None:
        if self._readers.gradients is None:
            return None
        tracks = len(self._readers.gradients.tracks)
        weights_NT = np.full((len(gene.bins), tracks), 1 / tracks, np.float32)
        found = self._readers.gradients.gradient(
            gene.codes_L, weighted_sum(weights_NT), bins=gene.bins
        )
        sizes_L: NDArray[np.float32] = np.abs(
            gradient_times_input(gene.codes_L, found.gradient_BRA[0])
        )
        return sizes_L

    def _attention(self, gene: GeneWindow) -> NDArray[np.float32] | None:
        if self._readers.attention is None:
            return None
        attention_K = self._readers.attention.attention(gene.codes_L, gene.bins)
        return spread_tokens(attention_K, self._spec.bin_bp)

    def _change(
        self, gene: GeneWindow, element: Interval, region: Interval, opened: ReferenceWindow
    ) -> float:
        alternates_BL = np.stack(
            [self._replaced(gene, element, region, k) for k in range(self._options.samples)]
        )
        difference_BNT = opened.differences(alternates_BL).double()
        return -float(difference_BNT.sum(dim=1).mean())

    def _replaced(
        self, gene: GeneWindow, element: Interval, region: Interval, sample: int
    ) -> Codes:
        """Put other letters in the place of the region's; unknown bases stay unknown."""
        place = [zlib.crc32(region.chrom.encode()), element.start, element.end]
        dice = np.random.default_rng([self._options.seed, *place, sample])
        start = gene.window.input.start
        inside = gene.window.input.intersect(region)
        if inside is None:
            raise ValueError(f"{region} has no base in {gene.window.input}")
        codes_L = gene.codes_L.copy()
        part = codes_L[inside.start - start : inside.end - start]
        known = part != UNKNOWN
        if self._options.replacement == "shuffled":
            part[known] = dice.permutation(part[known])
        else:
            drawn = dice.integers(0, UNKNOWN, region.width, np.uint8)
            part[known] = drawn[inside.start - region.start :][: len(part)][known]
        return codes_L


def _summed(scores_L: NDArray[np.float32] | None, region: Interval, window: Window) -> float | None:
    return None if scores_L is None else float(sum_within(scores_L, region, window))
