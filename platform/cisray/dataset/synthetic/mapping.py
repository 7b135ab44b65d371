"""What a study of the made-up individuals would find: associations of variants with expression.

Knows genotypes, true effects and a regression; knows nothing of sequence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.synthetic.layout import SyntheticGenome
from cisray.dataset.synthetic.motifs import Floats
from cisray.dataset.synthetic.settings import CELLS
from cisray.dataset.synthetic.variants import Snv, Truth


@dataclass(frozen=True, slots=True)
class Association:
    """One variant tested against one gene in one cell type.

    `beta` is the change of log2 expression per alternate allele; `true_beta` what it is by
    construction; `pip` the posterior probability that this variant, of those tested, is the one.
    """

    variant: int
    gene: int
    cell: str
    beta: float
    se: float
    pip: float
    true_beta: float


_PRIOR_SD = 0.5  # of effects, in Wakefield's Bayes factor


def map_eqtls(
    genome: SyntheticGenome,
    variants: tuple[Snv, ...],
    haplotypes_VH: NDArray[np.uint8],
    truth: Truth,
) -> list[Association]:
    """Measure expression in the individuals and map it, gene by gene, cell type by cell type.

    Expression is half the sum of an individual's dosages times their effects, plus Gaussian noise.
    Each variant within `mapping_bp` of the start is regressed alone; probabilities follow from
    approximate Bayes factors (Wakefield 2009) under one causal variant.
    """
    generator = genome.settings.generator("expression")
    dosage_VI = haplotypes_VH.reshape(len(variants), -1, 2).sum(axis=2).astype(np.float64)
    start_V = np.array([variant.start for variant in variants])
    chrom_V = np.array([variant.chrom for variant in variants])
    found: list[Association] = []
    for number, gene in enumerate(genome.genes):
        near = np.abs(start_V - gene.tss) <= genome.settings.mapping_bp
        tested = np.flatnonzero(near & (chrom_V == gene.chrom))
        for cell, name in enumerate(CELLS):
            fold = truth.folds(tested, number, cell)
            noise_I = generator.normal(0, genome.settings.expression_noise, dosage_VI.shape[1])
            level_I = 0.5 * fold @ dosage_VI[tested] + noise_I
            beta, se, pip = _regress(dosage_VI[tested], level_I)
            found.extend(
                Association(int(v), number, name, *map(float, row))
                for v, *row in zip(tested, beta, se, pip, 0.5 * fold, strict=True)
            )
    return found


def _regress(dosage_VI: Floats, level_I: Floats) -> tuple[Floats, Floats, Floats]:
    """Regress a level on each variant alone: slopes, their errors, posterior probabilities."""
    centred_VI = dosage_VI - dosage_VI.mean(axis=1, keepdims=True)
    level_I = level_I - level_I.mean()
    spread_V = (centred_VI**2).sum(axis=1)
    beta_V = centred_VI @ level_I / spread_V
    rest_V = (level_I**2).sum() - beta_V**2 * spread_V
    variance_V = rest_V / (len(level_I) - 2) / spread_V
    shrink_V = _PRIOR_SD**2 / (_PRIOR_SD**2 + variance_V)
    log_factor_V = 0.5 * (np.log1p(-shrink_V) + shrink_V * beta_V**2 / variance_V)
    weight_V = np.exp(log_factor_V - log_factor_V.max())
    return beta_V, np.sqrt(variance_V), weight_V / weight_V.sum()
