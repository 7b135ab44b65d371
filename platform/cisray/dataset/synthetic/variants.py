"""Variants of a made-up genome, and what each of them truly does to every track and gene.

Knows where variants fall and how their truth is computed: by the genome's own function of sequence,
once with the reference base and once with the alternate. Variants are substitutions.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.synthetic.expression import Regulation, masses, occupancy
from cisray.dataset.synthetic.haplotypes import copy_founders
from cisray.dataset.synthetic.layout import SyntheticGenome
from cisray.dataset.synthetic.motifs import Floats
from cisray.dataset.synthetic.settings import ASSAYS, ROLES

Origin = Literal["site", "element", "decoy", "background"]
# Shares of the variants that are drawn inside planted sites of elements, anywhere in elements,
# inside decoys, and anywhere.
_SHARES: dict[Origin, float] = {"site": 0.2, "element": 0.1, "decoy": 0.1, "background": 0.6}


@dataclass(frozen=True, slots=True)
class Snv:
    """A substitution at a 0-based start, in codes; `origin` is how its place was drawn.

    `element` numbers the element that it lies in, -1 for none; `factor` names that of the planted
    site that it lies in, empty for none.
    """

    chrom: str
    start: int
    ref: int
    alt: int
    origin: Origin
    element: int
    factor: str


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What variants do, each alone on the reference.

    `effect_VT` is the change of a track's expected signal, summed over all bases; `fold_VGC` the
    change of log2 expression of a gene in a cell type, of variants that change any.
    """

    effect_VT: Floats
    fold_VGC: dict[int, Floats]

    def folds(self, variants: NDArray[np.intp], gene: int, cell: int) -> Floats:
        """Give the change of a gene's log2 expression by each of some variants."""
        known = (self.fold_VGC.get(int(variant)) for variant in variants)
        return np.array([0.0 if fold_GC is None else fold_GC[gene, cell] for fold_GC in known])


def draw_variants(genome: SyntheticGenome) -> tuple[Snv, ...]:
    """Draw variants in the order of the genome, at most one at a base."""
    generator = genome.settings.generator("variants")
    found: list[Snv] = []
    for chrom, length in genome.settings.chromosomes.items():
        total = genome.settings.variants_per_locus * (length // genome.settings.locus_bp)
        origins: dict[int, Origin] = {}
        for origin, share in _SHARES.items():
            places = _places(genome, chrom, origin)
            count = min(len(places), round(share * total))
            for start in generator.choice(places, count, replace=False):
                origins.setdefault(int(start), origin)
        element_L, factor_L = _painted(genome, chrom)
        for start in sorted(origins):
            ref = int(genome.codes[chrom][start])
            alt = (ref + int(generator.integers(1, 4))) % 4
            element, factor = int(element_L[start]), int(factor_L[start])
            name = "" if factor < 0 else ROLES[factor].name
            found.append(Snv(chrom, start, ref, alt, origins[start], element, name))
    return tuple(found)


def _places(genome: SyntheticGenome, chrom: str, origin: Origin) -> NDArray[np.int64]:
    """List the bases where variants of an origin may fall."""
    if origin == "background":
        return np.arange(genome.settings.chromosomes[chrom])
    if origin == "element":
        spans = [(e.start, e.end) for e in genome.elements if e.chrom == chrom]
    else:
        kind = "active" if origin == "site" else "decoy"
        spans = [(s.start, s.end) for s in genome.sites if (s.chrom, s.kind) == (chrom, kind)]
    return np.concatenate([np.arange(0), *(np.arange(start, end) for start, end in spans)])


def _painted(genome: SyntheticGenome, chrom: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Say of every base in which element and in a site of which factor it lies, -1 for none."""
    element_L, factor_L = np.full((2, genome.settings.chromosomes[chrom]), -1)
    for number, element in enumerate(genome.elements):
        if element.chrom == chrom:
            element_L[element.start : element.end] = number
    for site in genome.sites:
        if site.chrom == chrom:
            factor_L[site.start : site.end] = site.factor
    return element_L, factor_L


def true_effects(
    genome: SyntheticGenome,
    regulation: Regulation,
    occupancy_EF: Floats,
    variants: tuple[Snv, ...],
) -> Truth:
    """Compute what every variant does: the function of the alternate less that of the reference.

    Only the element that a variant lies in is scanned again, since nothing else can change; a
    variant outside all elements has an effect of exactly zero.
    """
    reference = regulation.state(occupancy_EF)
    mass_T = [masses(genome, assay) for assay in ASSAYS]
    effect_VT = np.zeros((len(variants), len(ASSAYS)))
    folds: dict[int, Floats] = {}
    for number, variant in enumerate(variants):
        if variant.element < 0:
            continue
        changed_EF = occupancy_EF.copy()
        changed_EF[variant.element] = _alternate_occupancy(genome, variant)
        state = regulation.state(changed_EF)
        for track, assay in enumerate(ASSAYS):
            change = state.strength(assay) - reference.strength(assay)
            effect_VT[number, track] = change @ mass_T[track]
        if (state.expression_GC != reference.expression_GC).any():
            folds[number] = np.log2(state.expression_GC / reference.expression_GC)
    return Truth(effect_VT, folds)


def _alternate_occupancy(genome: SyntheticGenome, variant: Snv) -> Floats:
    element = genome.elements[variant.element]
    codes_L = genome.codes[variant.chrom][element.start : element.end].copy()
    codes_L[variant.start - element.start] = variant.alt
    return occupancy(codes_L, genome.motifs)


def draw_haplotypes(genome: SyntheticGenome, variants: tuple[Snv, ...]) -> NDArray[np.uint8]:
    """Draw the alleles of all haplotypes, (V, H): 1 is the alternate."""
    pieces = []
    for chrom in genome.settings.chromosomes:
        start_V = np.array([v.start for v in variants if v.chrom == chrom], np.int64)
        generator = genome.settings.generator(f"haplotypes {chrom}")
        pieces.append(copy_founders(generator, start_V, genome.settings))
    return np.concatenate(pieces)
