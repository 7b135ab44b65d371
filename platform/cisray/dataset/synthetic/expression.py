"""What sequence does on a made-up genome: from bases to occupancy, activity, expression, tracks.

Knows the formulas of docs/synthetic.md; draws nothing. The same functions give the tracks of the
reference and the true effect of every variant.

Axis letters: E elements, G genes, F factors, C cell types, T tracks, S steps of 16 bp.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.synthetic.layout import Element, Gene, SyntheticGenome
from cisray.dataset.synthetic.motifs import Codes, Floats, Motif
from cisray.dataset.synthetic.settings import ASSAYS, ROLES, STEP_BP, Assay

_OFFSET = 0.7  # z0: what an element needs before it opens
_SLOPE = 3.0  # k: how sharply it does
ALONE = 0.3  # η: expression of a promoter without any enhancer
_TAIL = 4.0  # standard deviations after which a peak ends

WEIGHTS_FC = np.array([role.weights for role in ROLES])


def occupancy(codes_L: Codes, motifs: tuple[Motif, ...]) -> Floats:
    """Sum the affinities of all sites in the bases of one element, (F,)."""
    return np.array([motif.occupancy(codes_L) for motif in motifs])


def activity(occupancy_EF: Floats) -> Floats:
    """Compute how open elements are in each cell type, (E, C).

    A softplus log(1 + exp(k (z - z0))) / k of the weighted occupancies z.
    """
    drive_EC = occupancy_EF @ WEIGHTS_FC
    open_EC: Floats = np.logaddexp(0.0, _SLOPE * (drive_EC - _OFFSET)) / _SLOPE
    return open_EC


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What one sequence does: occupancy and activity of elements, expression of genes."""

    occupancy_EF: Floats
    activity_EC: Floats
    expression_GC: Floats

    def strength(self, assay: Assay) -> Floats:
        """Give the strength of each peak of a track: one per gene for CAGE, else per element."""
        if assay.measure == "start":
            return self.expression_GC[:, assay.cell]
        if assay.measure == "open":
            return self.activity_EC[:, assay.cell]
        factor = next(n for n, role in enumerate(ROLES) if role.name == assay.factor)
        return self.occupancy_EF[:, factor]


@dataclass(frozen=True, slots=True, eq=False)
class Regulation:
    """Which element acts on which gene, and by how much at their distance."""

    motifs: tuple[Motif, ...]
    promoter_G: NDArray[np.int64]
    contact_GE: Floats

    @classmethod
    def of(cls, genome: SyntheticGenome) -> Self:
        """Measure every distance: contact is exp(-d / λ) up to the reach, and zero beyond."""
        settings = genome.settings
        contact_GE = np.zeros((len(genome.genes), len(genome.elements)))
        middle_E = np.array([element.middle for element in genome.elements])
        chrom_E = np.array([element.chrom for element in genome.elements])
        enhancer_E = np.array([element.kind == "enhancer" for element in genome.elements])
        for number, gene in enumerate(genome.genes):
            distance_E = np.abs(middle_E - gene.tss)
            acts_E = enhancer_E & (chrom_E == gene.chrom) & (distance_E <= settings.reach_bp)
            contact_GE[number, acts_E] = np.exp(-distance_E[acts_E] / settings.decay_bp)
        promoter_G = np.array([gene.promoter for gene in genome.genes])
        return cls(genome.motifs, promoter_G, contact_GE)

    def state(self, occupancy_EF: Floats) -> State:
        """Compute what follows from occupancies.

        A gene's expression is its promoter's activity times (η + the sum over enhancers of
        activity and contact), cell type by cell type.
        """
        activity_EC = activity(occupancy_EF)
        expression_GC = activity_EC[self.promoter_G] * (ALONE + self.contact_GE @ activity_EC)
        return State(occupancy_EF, activity_EC, expression_GC)


def read_occupancy(genome: SyntheticGenome) -> Floats:
    """Scan every element of the reference, (E, F)."""
    return np.array(
        [
            occupancy(genome.codes[element.chrom][element.start : element.end], genome.motifs)
            for element in genome.elements
        ]
    )


def peak(middle: int, assay: Assay, length: int) -> tuple[int, Floats]:
    """Draw a peak of strength one around a base: its first step, and the signal per base of each.

    A Gaussian in the distance between the middle of a step and `middle`, cut after four standard
    deviations and at the ends of the chromosome.
    """
    tail = round(_TAIL * assay.width_bp)
    first = max(0, (middle - tail) // STEP_BP)
    end = min(length // STEP_BP, (middle + tail) // STEP_BP + 1)
    middle_S = STEP_BP * np.arange(first, end) + STEP_BP / 2
    return first, assay.height * np.exp(-0.5 * ((middle_S - middle) / assay.width_bp) ** 2)


def expected(genome: SyntheticGenome, state: State, assay: Assay, chrom: str) -> Floats:
    """Compute a track without noise: the signal per base in each step of a chromosome, (S,).

    A chromosome's last bases, if they do not fill a step, have no signal.
    """
    length = genome.settings.chromosomes[chrom]
    signal_S = np.full(length // STEP_BP, assay.background)
    for place, strength in zip(_peaks(genome, assay), state.strength(assay), strict=True):
        if place.chrom == chrom:
            first, shape_S = peak(_middle(place), assay, length)
            signal_S[first : first + len(shape_S)] += strength * shape_S
    return signal_S


def masses(genome: SyntheticGenome, assay: Assay) -> Floats:
    """Sum each peak of strength one over its bases: what a unit of strength adds to a track."""
    lengths = genome.settings.chromosomes
    return np.array(
        [
            STEP_BP * peak(_middle(place), assay, lengths[place.chrom])[1].sum()
            for place in _peaks(genome, assay)
        ]
    )


def observed(genome: SyntheticGenome, state: State, chrom: str) -> NDArray[np.float32]:
    """Measure all tracks of a chromosome, (T, S): Poisson counts of steps, by base and depth."""
    per_unit = genome.settings.depth * STEP_BP
    generator = genome.settings.generator(f"counts {chrom}")
    mean_TS = np.array([expected(genome, state, assay, chrom) for assay in ASSAYS])
    return (generator.poisson(mean_TS * per_unit) / per_unit).astype(np.float32)


def _peaks(genome: SyntheticGenome, assay: Assay) -> Sequence[Element | Gene]:
    return genome.genes if assay.measure == "start" else genome.elements


def _middle(place: Element | Gene) -> int:
    return place.tss if isinstance(place, Gene) else place.middle
