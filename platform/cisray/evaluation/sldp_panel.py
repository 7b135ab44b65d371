"""Signed LD profile regression over a panel: from genotypes, scores and traits to sums by block.

Knows which passes over the genotypes are needed and what each adds up; the regression itself is
`cisray.evaluation.sldp`'s. The genotypes are read twice: variances of traits' effects, and bounds
of frequency, must be known before blocks are weighted.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.errors import EvaluationError
from cisray.evaluation.gwas import Trait
from cisray.evaluation.metrics import Doubles
from cisray.evaluation.panel import Blocks, PanelBlock, PanelCounts, panel_blocks
from cisray.evaluation.scores import SCORED, TURNED, Joined, ScoreSource
from cisray.evaluation.sldp import (
    LEAST_H2,
    BlockProfiles,
    BlockSums,
    linkage_scores,
)
from cisray.evaluation.tables import KEY
from cisray.genome.genotypes import GenotypeFile

FREQUENCY_BINS = 5
# Variants whose scores are looked up at once.
_AT_ONCE = 20_000


@dataclass(slots=True, eq=False)
class TraitFacts:
    """What is summed up of a trait in the first pass: over the variants with a z-score."""

    variants: int = 0
    chi2: float = 0.0
    scaled_scores: float = 0.0
    people: float = 0.0

    def add(self, z_V: Doubles, people_V: Doubles, scores_V: Doubles) -> None:
        """Add the variants of a block; NaN are left aside."""
        known_V = np.isfinite(z_V)
        self.variants += int(known_V.sum())
        self.chi2 += float((z_V[known_V] ** 2).sum())
        self.scaled_scores += float((people_V * scores_V)[known_V].sum())
        self.people += float(people_V[known_V].sum())


@dataclass(frozen=True, slots=True)
class Heritability:
    """A trait's variance of effects per variant, and that of all `variants` of the panel.

    `h2` is not below 0.03, as published, and `variance` is h2 over the variants; `estimate` is what
    was found.
    """

    estimate: float
    h2: float
    variance: float
    mean_chi2: float
    people: float
    typed: int

    @classmethod
    def of(cls, name: str, facts: TraitFacts, variants: int) -> "Heritability":
        """Estimate it as mean z² - 1 over mean n times LD score (the aggregate estimator).

        Raises EvaluationError without a z-score.
        """
        if not facts.variants:
            raise EvaluationError(f"no variant of {name} is in the blocks of the genotypes.")
        count = float(facts.variants)
        found = (facts.chi2 - count) / facts.scaled_scores * variants
        held = max(found, LEAST_H2)
        people = facts.people / count
        return cls(found, held, held / variants, facts.chi2 / count, people, facts.variants)


@dataclass(slots=True, eq=False)
class Survey:
    """The first pass: what the panel has, traits' facts, and the frequencies of variants."""

    counts: PanelCounts = field(default_factory=PanelCounts)
    facts: list[TraitFacts] = field(default_factory=list)
    rarer: list[Doubles] = field(default_factory=list)

    @property
    def edges(self) -> Doubles:
        """Bounds of five equally large bins of the rarer allele's frequency."""
        inner = np.linspace(0, 1, FREQUENCY_BINS + 1)[1:-1]
        return np.asarray(np.quantile(np.concatenate(self.rarer), inner))


def survey(files: Sequence[GenotypeFile], blocks: Blocks, traits: Sequence[Trait]) -> Survey:
    """Read the panel once. Raises EvaluationError where no variant lies in a block."""
    found = Survey(facts=[TraitFacts() for _ in traits])
    for block, left_out in _blocks_of(files, blocks, found.counts):
        for trait in traits:
            trait.note(left_out)
        if block is None:
            continue
        share_V = block.share_V
        found.rarer.append(np.minimum(share_V, 1 - share_V))
        columns_IV, _ = block.columns()
        scores_V = linkage_scores(columns_IV)
        for trait, facts in zip(traits, found.facts, strict=True):
            facts.add(*trait.at(block.variants), scores_V)
    if not found.rarer:
        raise EvaluationError(
            f"no variant of the genotypes counts and lies in a block: "
            f"{dict(found.counts.left_out.most_common(3))}."
        )
    return found


def _blocks_of(
    files: Sequence[GenotypeFile], blocks: Blocks, counts: PanelCounts
) -> Iterator[tuple[PanelBlock | None, pl.DataFrame]]:
    for file in files:
        yield from panel_blocks(file, blocks, counts)


def background(share_V: Doubles, deviation_V: Doubles, edges: Doubles) -> Doubles:
    """Lay out signed annotations of minor alleles in bins of frequency (V, 5).

    In its bin a variant has the deviation of its genotype, as an effect of the same size per
    allele has it; negative where the alternative allele is the more frequent.
    """
    place_V = np.searchsorted(edges, np.minimum(share_V, 1 - share_V), side="right")
    values_VB = np.zeros((len(share_V), FREQUENCY_BINS))
    signed_V = np.where(share_V <= 0.5, deviation_V, -deviation_V)
    values_VB[np.arange(len(share_V)), place_V] = signed_V
    return values_VB


@dataclass(slots=True, eq=False)
class Annotations:
    """What is known of the T features of all sources: their squares and support, and statuses."""

    squares_T: Doubles
    support_T: Doubles
    statuses: list[Counter[str]]
    named: tuple[Joined, ...]
    variants: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """The second pass: of every trait what each block adds, and the annotations' own sums."""

    sums: list[list[BlockSums]]
    annotations: Annotations


def sum_blocks(
    files: Sequence[GenotypeFile],
    blocks: Blocks,
    of: tuple[Sequence[Trait], Sequence[float]],
    sources: Sequence[ScoreSource],
    edges: Doubles | None,
) -> Summed:
    """Read the panel again and sum every block up, for traits with their variances of effects.

    Scores are of the alternative allele, per allele: times the deviation of the genotype they are
    the annotation. A variant without scores in a source has the annotation 0 there, as published.
    Without `edges` there is no background.
    """
    traits, variances = of
    sums: list[list[BlockSums]] = [[] for _ in traits]
    known: Annotations | None = None
    counts = PanelCounts()
    read = (block for block, _ in _blocks_of(files, blocks, counts) if block is not None)
    for group in _grouped(read):
        alleles = pl.concat([block.variants.select(KEY) for block in group])
        joined = tuple(source.join(alleles) for source in sources)
        known = known or _empty(joined)
        _count(known, joined)
        values_VT = np.concatenate([each.values_VT for each in joined], axis=1)
        first = 0
        for block in group:
            part_VT = values_VT[first : first + block.variants.height]
            first += block.variants.height
            _sum_block(block, part_VT, (traits, variances), edges, (sums, known))
    if known is None:
        raise EvaluationError("the genotypes have no variants in blocks.")
    return Summed(sums, known)


def _grouped(blocks: Iterable[PanelBlock]) -> Iterator[list[PanelBlock]]:
    """Put blocks together until their scores are worth looking up."""
    held: list[PanelBlock] = []
    for block in blocks:
        held.append(block)
        if sum(each.variants.height for each in held) >= _AT_ONCE:
            yield held
            held = []
    if held:
        yield held


def _empty(joined: Sequence[Joined]) -> Annotations:
    count = sum(len(each.features) for each in joined)
    return Annotations(np.zeros(count), np.zeros(count), [Counter() for _ in joined], tuple(joined))


def _count(known: Annotations, joined: Sequence[Joined]) -> None:
    for counter, each in zip(known.statuses, joined, strict=True):
        counter.update(each.status)


def _sum_block(
    block: PanelBlock,
    scores_VT: NDArray[np.float32],
    of: tuple[Sequence[Trait], Sequence[float]],
    edges: Doubles | None,
    into: tuple[list[list[BlockSums]], Annotations],
) -> None:
    sums, known = into
    columns_IV, deviation_V = block.columns()
    scored_VT = np.nan_to_num(scores_VT.astype(np.float64)) * deviation_V[:, None]
    known.squares_T += (scored_VT**2).sum(axis=0)
    known.support_T += (scored_VT != 0).sum(axis=0)
    known.variants += len(deviation_V)
    background_VB = np.empty((len(deviation_V), 0))
    if edges is not None:
        background_VB = background(block.share_V, deviation_V, edges)
    profiles: dict[bytes, BlockProfiles] = {}
    for trait, variance, found in zip(*of, sums, strict=True):
        z_V, people_V = trait.at(block.variants)
        typed_V = np.isfinite(z_V)
        if not typed_V.any():
            continue
        # Traits of one study have the same variants, mostly.
        key = typed_V.tobytes()
        if key not in profiles:
            profiles[key] = BlockProfiles.of(columns_IV, typed_V, background_VB, scored_VT)
        found.append(profiles[key].sums(z_V[typed_V], people_V[typed_V], variance))


def scored_share(statuses: Counter[str]) -> float:
    """Give the share of alleles that have scores."""
    total = statuses.total()
    return (statuses[SCORED] + statuses[TURNED]) / total if total else 0.0
