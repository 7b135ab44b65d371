"""Whether z-scores and linkage are of one population, and of the same alleles.

Knows z-scores and genotypes; knows no files. Zou et al. (2022) let z be N(0, (1 - s) R + s I)
without effects: the likeliest s says how far linkage and z-scores are apart, and each z-score can
be predicted from the others.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from cisray.evaluation.metrics import Doubles

# Of the grid of deviations and of what counts as an outlier, as in susieR's kriging_rss. Its steps
# are of 1.05: they take some ten times as long and found the same outliers where both were tried.
_STEP, _LEAST_SCALE, _LEAST_LARGEST = 1.2, 0.8, 2.0
_OUTLIER_RATIO, _OUTLIER_Z = 2.0, 2.0
_ROUNDS, _SETTLED = 200, 1e-5
_SMALLEST_SHARE = 1e-8
_TINY = 1e-15
_RANK = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Eigenvectors and eigenvalues of the linkage of V variants, without the null space."""

    vectors_VK: Doubles
    values_K: Doubles

    @classmethod
    def of(cls, genotypes_IV: Doubles) -> "Spectrum":
        """Decompose genotypes with columns of length 1."""
        _, singular_K, vectors_KV = np.linalg.svd(genotypes_IV, full_matrices=False)
        kept = singular_K > _RANK * singular_K[0]
        return cls(vectors_KV[kept].T, singular_K[kept] ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class LinkageCheck:
    """How z-scores and linkage agree.

    `share` is s, between 0 (they agree) and 1. `expected_V` is each z-score as the others predict
    it, `residual_V` how many deviations it is off, and `ratio_V` the log likelihood ratio of the
    alleles being exchanged.
    """

    share: float
    expected_V: Doubles
    residual_V: Doubles
    ratio_V: Doubles
    z_V: Doubles

    @property
    def outlier_V(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Tell of which variants exchanged alleles are likely: ratio and |z| both above 2."""
        return np.asarray((self.ratio_V > _OUTLIER_RATIO) & (np.abs(self.z_V) > _OUTLIER_Z))


def shrunken(z_V: Doubles, people: int) -> Doubles:
    """Scale z-scores by the share of variance that a variant leaves, as a correlation would be."""
    scaled_V: Doubles = z_V * np.sqrt((people - 1) / (z_V**2 + people - 2))
    return scaled_V


def mismatch(z_V: Doubles, spectrum: Spectrum) -> float:
    """Find the likeliest share s of (1 - s) R + s I, from 1e-8 to 1; `z_V` is shrunken."""
    along_K = (z_V @ spectrum.vectors_VK) ** 2
    rest = max(float(z_V @ z_V) - float(along_K.sum()), 0.0)
    outside = len(z_V) - len(spectrum.values_K)

    def unlikely(log_share: float) -> float:
        share = math.exp(log_share)
        spread_K = (1 - share) * spectrum.values_K + share
        inside = float((np.log(spread_K) + along_K / spread_K).sum())
        return inside + (outside * log_share + rest / share if outside else 0.0)

    bounds = (math.log(_SMALLEST_SHARE), 0.0)
    found = optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded")
    return math.exp(float(found.x))


def check_linkage(z_V: Doubles, people: int, spectrum: Spectrum) -> LinkageCheck:
    """Predict every z-score from the others, and weigh what exchanged alleles would explain.

    Residuals are taken for a mixture of normal distributions of many scales, fitted to all of
    them, so that effects, which are residuals too, do not count as exchanged alleles.
    """
    scaled_V = shrunken(z_V, people)
    share = mismatch(scaled_V, spectrum)
    gain_K = 1 / ((1 - share) * spectrum.values_K + share) - 1 / share
    along_K = scaled_V @ spectrum.vectors_VK
    precise_V = scaled_V / share + spectrum.vectors_VK @ (gain_K * along_K)
    diagonal_V = 1 / share + (spectrum.vectors_VK**2) @ gain_K
    expected_V = scaled_V - precise_V / diagonal_V
    deviation_V = 1 / np.sqrt(diagonal_V)
    residual_V = (scaled_V - expected_V) / deviation_V
    ratio_V = _exchanged((scaled_V, expected_V, deviation_V), _scales(residual_V))
    return LinkageCheck(share, expected_V, residual_V, ratio_V, z_V)


def _scales(residual_V: Doubles) -> Doubles:
    largest = float(np.abs(residual_V).max())
    top = max(2 * largest, _LEAST_LARGEST)
    count = math.ceil(math.log(top / _LEAST_SCALE) / math.log(_STEP))
    return np.asarray(top * _STEP ** np.arange(-count, 1, dtype=np.float64))


def _exchanged(told: tuple[Doubles, Doubles, Doubles], scales_K: Doubles) -> Doubles:
    """Give the log likelihood ratio of z-scores with their sign turned, against as they are."""
    z_V, expected_V, deviation_V = told
    spread_VK = deviation_V[:, None] * scales_K
    as_is_VK = stats.norm.logpdf((z_V - expected_V)[:, None], scale=spread_VK)
    turned_VK = stats.norm.logpdf((z_V + expected_V)[:, None], scale=spread_VK)
    logs_K = np.log(_mixture(as_is_VK) + _TINY)
    ratio_V: Doubles = special.logsumexp(turned_VK + logs_K, axis=1) - special.logsumexp(
        as_is_VK + logs_K, axis=1
    )
    return ratio_V


def _mixture(logs_VK: Doubles) -> Doubles:
    """Find the weights of a mixture by expectation and maximisation."""
    likely_VK = np.exp(logs_VK - logs_VK.max(axis=1, keepdims=True))
    weight_K = np.full(likely_VK.shape[1], 1 / likely_VK.shape[1])
    for _ in range(_ROUNDS):
        joint_VK = likely_VK * weight_K
        new_K = (joint_VK / joint_VK.sum(axis=1, keepdims=True)).mean(axis=0)
        settled = float(np.abs(new_K - weight_K).max()) < _SETTLED
        weight_K = new_K
        if settled:
            break
    return weight_K
