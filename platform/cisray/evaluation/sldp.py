"""Signed LD profile regression: do a signed annotation and a trait point the same way?

Knows genotypes, annotations and z-scores as arrays; knows no files. The method is Reshef et al.
(2018, Nat. Genet. 50:1483). A trait's marginal effects a = z / sqrt(N) are regressed on R v, where
v is the annotation, per deviation of the genotype, and R the linkage. Both are weighted by
W = s R² + R / N, the covariance of a under a polygenic trait, inverted on the leading eigenvectors
of each block. What repeats is a block: p-values come from turning the signs of whole blocks.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cisray.errors import EvaluationError
from cisray.evaluation.metrics import Doubles

FLIPS = 1_000_000
CHUNKS = 300
# Sign vectors of so many chunks are all tried.
MOST_EXACT = 20
SPECTRUM = 0.95
LEAST_H2 = 0.03
_BATCH = 8_192
_COLUMNS = 512
# Draws after which p-values that are large already are left as they are.
_LOOK, _LARGE = 98_304, 0.01
# A score counts as no smaller than another that differs by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class BlockSums:
    """What a block adds to the regression of one trait on T annotations, beside B of background.

    `trait_B`, `trait_T` are products with a; the others are products of profiles with each other.
    All are weighted. `variants` counts those that have a z-score.
    """

    variants: int
    trait_B: Doubles
    trait_T: Doubles
    background_BB: Doubles
    cross_TB: Doubles
    own_T: Doubles

    def __add__(self, other: "BlockSums") -> "BlockSums":
        """Add two blocks up."""
        return BlockSums(
            self.variants + other.variants,
            self.trait_B + other.trait_B,
            self.trait_T + other.trait_T,
            self.background_BB + other.background_BB,
            self.cross_TB + other.cross_TB,
            self.own_T + other.own_T,
        )


def linkage_scores(genotypes_IV: Doubles) -> Doubles:
    """Give each variant's LD score within a block: the sum of squared correlations.

    Each square is lessened by (1 - r²) / (people - 2), what chance adds to it.
    """
    people, variants = genotypes_IV.shape
    scores_V: Doubles = np.empty(variants)
    for first in range(0, variants, _COLUMNS):
        of_some_IV = genotypes_IV[:, first : first + _COLUMNS]
        squares_VV = (genotypes_IV.T @ of_some_IV) ** 2
        scores_V[first : first + _COLUMNS] = squares_VV.sum(axis=0)
    scores_V -= (variants - scores_V) / (people - 2)
    return scores_V


@dataclass(frozen=True, slots=True, eq=False)
class BlockProfiles:
    """Signed LD profiles R v of a block's typed variants, on the K leading eigenvectors of R.

    `value_K` are the eigenvalues and `vectors_KV` the vectors over the typed variants.
    """

    value_K: Doubles
    vectors_KV: Doubles
    background_KB: Doubles
    profile_KT: Doubles

    @classmethod
    def of(
        cls,
        genotypes_IV: Doubles,
        typed_V: NDArray[np.bool_],
        background_VB: Doubles,
        annotation_VT: Doubles,
    ) -> "BlockProfiles":
        """Multiply annotations of all variants by the linkage with typed ones, of which there are.

        Annotations are per deviation of the genotype. As many eigenvectors are kept as hold 95 %
        of the eigenvalues' sum.
        """
        typed_IV = genotypes_IV[:, typed_V]
        _, singular_K, vectors_KV = np.linalg.svd(typed_IV, full_matrices=False)
        value_K = singular_K**2
        held_K = np.cumsum(value_K) / value_K.sum()
        rank = min(int(np.searchsorted(held_K, SPECTRUM)) + 1, len(value_K))
        value_K, vectors_KV = value_K[:rank], vectors_KV[:rank]
        along_KI = vectors_KV @ typed_IV.T
        return cls(
            value_K,
            vectors_KV,
            along_KI @ (genotypes_IV @ background_VB),
            along_KI @ (genotypes_IV @ annotation_VT),
        )

    def sums(self, z_V: Doubles, people_V: Doubles, variance: float) -> BlockSums:
        """Sum the block up for a trait: z of typed variants, of the allele that genotypes count.

        `variance` is that of effects, per variant.
        """
        weight_K = 1 / (variance * self.value_K**2 + self.value_K / people_V.mean())
        trait_K = weight_K * (self.vectors_KV @ (z_V / np.sqrt(people_V)))
        weighted_KB = weight_K[:, None] * self.background_KB
        return BlockSums(
            len(z_V),
            self.background_KB.T @ trait_K,
            self.profile_KT.T @ trait_K,
            self.background_KB.T @ weighted_KB,
            self.profile_KT.T @ weighted_KB,
            (weight_K[:, None] * self.profile_KT**2).sum(axis=0),
        )


def chunks_of(sums: Sequence[BlockSums], most: int) -> list[BlockSums]:
    """Join neighbouring blocks into at most so many chunks of about as many variants each."""
    if len(sums) <= most:
        return list(sums)
    count_G = np.array([each.variants for each in sums], dtype=np.float64)
    middle_G = np.cumsum(count_G) - count_G / 2
    place_G = np.minimum((middle_G / count_G.sum() * most).astype(int), most - 1)
    joined: dict[int, BlockSums] = {}
    for place, each in zip(place_G.tolist(), sums, strict=True):
        joined[place] = joined[place] + each if place in joined else each
    return [joined[place] for place in sorted(joined)]


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """Estimates of T annotations over G chunks.

    `mu_T` is the change of a trait's effect, per deviation of the genotype, with the annotation;
    `error_T` its jackknife error. `score_GT` is what each chunk adds to the score whose sign is
    turned: the products of what background does not explain. NaN where nothing varies.
    """

    mu_T: Doubles
    error_T: Doubles
    score_GT: Doubles


def regress(chunks: Sequence[BlockSums]) -> Regression:
    """Estimate each annotation alone, beside the background.

    Background columns that are nothing but others, or zero, are left aside. Raises EvaluationError
    for fewer than two chunks.
    """
    if len(chunks) < 2:
        raise EvaluationError(
            f"{len(chunks)} block has z-scores, and errors need two or more: give smaller blocks, "
            f"or more of the genome."
        )
    total = _total(chunks)
    mu_T = _slopes(total)
    without_GT = np.array([_slopes(_less(total, chunk)) for chunk in chunks])
    count = len(chunks)
    spread_GT = without_GT - without_GT.mean(axis=0)
    error_T = np.sqrt((count - 1) / count * (spread_GT**2).sum(axis=0))
    inverse_BB = np.linalg.pinv(total.background_BB, hermitian=True)
    of_trait_B, of_profile_BT = inverse_BB @ total.trait_B, inverse_BB @ total.cross_TB.T
    score_GT = np.array(
        [
            chunk.trait_T
            - chunk.cross_TB @ of_trait_B
            - chunk.trait_B @ of_profile_BT
            + (chunk.background_BB @ of_trait_B) @ of_profile_BT
            for chunk in chunks
        ]
    )
    # What is left of a flat annotation is rounding, and has no sign to turn.
    score_GT[:, np.isnan(mu_T)] = np.nan
    return Regression(mu_T, error_T, score_GT)


def _total(chunks: Sequence[BlockSums]) -> BlockSums:
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


def _less(total: BlockSums, chunk: BlockSums) -> BlockSums:
    return BlockSums(
        total.variants - chunk.variants,
        total.trait_B - chunk.trait_B,
        total.trait_T - chunk.trait_T,
        total.background_BB - chunk.background_BB,
        total.cross_TB - chunk.cross_TB,
        total.own_T - chunk.own_T,
    )


def _slopes(sums: BlockSums) -> Doubles:
    """Solve for each annotation beside the background; NaN where background explains it all."""
    inverse_BB = np.linalg.pinv(sums.background_BB, hermitian=True)
    explained_BT = inverse_BB @ sums.cross_TB.T
    top_T = sums.trait_T - sums.trait_B @ explained_BT
    left_T = sums.own_T - np.einsum("tb,bt->t", sums.cross_TB, explained_BT)
    flat_T = left_T <= 1e-12 * np.maximum(sums.own_T, np.finfo(np.float64).tiny)
    slope_T: Doubles = np.full_like(top_T, np.nan)
    np.divide(top_T, left_T, out=slope_T, where=~flat_T)
    return slope_T


@dataclass(frozen=True, slots=True, eq=False)
class FlipTest:
    """p-values of T scores by turning signs of chunks, and z of the same size with their sign.

    `least` is the smallest p-value that there can be; `draws_T` sign vectors were tried, all that
    there are where `exact`.
    """

    p_T: Doubles
    z_T: Doubles
    least: float
    draws_T: Doubles
    exact: bool


def flip_test(score_GT: Doubles, *, flips: int, seed: int) -> FlipTest:
    """Ask how often turned signs give a sum of scores as large, by size.

    All sign vectors are tried of 20 chunks or fewer: two of them (the one as it is, and all
    turned) always count, hence the least p-value is 2 / 2^G. Of more chunks `flips` are drawn, and
    p = (1 + those as large) / (1 + drawn); the same draws serve every annotation. Drawing stops
    early for p-values that are above 0.01 after 98,304.
    """
    chunks = len(score_GT)
    sum_T = np.abs(score_GT.sum(axis=0))
    reached_T = sum_T * (1 - _ROUNDING)
    if chunks <= MOST_EXACT:
        total = 2**chunks
        batches = _all_signs(chunks)
        large_T, drawn_T = _count_large(score_GT, reached_T, batches, total)
        p_T, least = large_T / total, 2 / total
    else:
        batches = _drawn_signs(chunks, flips, seed)
        large_T, drawn_T = _count_large(score_GT, reached_T, batches, _LOOK)
        p_T, least = (1 + large_T) / (1 + drawn_T), 1 / (1 + flips)
    p_T = np.where(np.isfinite(sum_T), p_T, np.nan)
    size_T = np.sqrt(stats.chi2.isf(p_T, 1))
    z_T = np.sign(score_GT.sum(axis=0)) * size_T
    return FlipTest(p_T, z_T, least, drawn_T, exact=chunks <= MOST_EXACT)


def _all_signs(chunks: int) -> Iterator[Doubles]:
    for first in range(0, 2**chunks, _BATCH):
        number = np.arange(first, min(first + _BATCH, 2**chunks))
        bits = number[:, None] >> np.arange(chunks) & 1
        yield (1 - 2 * bits).astype(np.float64)


def _drawn_signs(chunks: int, flips: int, seed: int) -> Iterator[Doubles]:
    dice = np.random.default_rng(seed)
    for first in range(0, flips, _BATCH):
        count = min(_BATCH, flips - first)
        yield (1 - 2 * dice.integers(0, 2, (count, chunks), dtype=np.int8)).astype(np.float64)


def _count_large(
    score_GT: Doubles, reached_T: Doubles, batches: Iterator[Doubles], look: int
) -> tuple[Doubles, Doubles]:
    """Count sums as large as those reached, and how many were drawn, for each annotation."""
    large_T, drawn_T = np.zeros(score_GT.shape[1]), np.zeros(score_GT.shape[1])
    going_T = np.isfinite(reached_T)
    drawn = 0
    for signs_FG in batches:
        sums_FT = np.abs(signs_FG @ score_GT[:, going_T])
        large_T[going_T] += (sums_FT >= reached_T[going_T]).sum(axis=0)
        drawn += len(signs_FG)
        drawn_T[going_T] = drawn
        if drawn == look:
            going_T = going_T & ~((1 + large_T) / (1 + drawn_T) > _LARGE)
        if not going_T.any():
            break
    return large_T, np.maximum(drawn_T, 1.0)


def functional_correlation(
    mu: float, error: float, squares: float, h2: float
) -> tuple[float, float, float]:
    """Give r_f, its error, and the share of heritability in the annotation's direction.

    `squares` is the sum of squares of the annotation, per deviation of the genotype; the share is
    r_f² less its error's square, and may be negative.
    """
    scale = math.sqrt(squares / h2)
    return mu * scale, error * scale, (mu * scale) ** 2 - (error * scale) ** 2
