"""Contribution scores: which bases and tokens of a window a prediction rests on.

Knows gradients, attention and windows; knows nothing of how they are computed, of files or of rows.
A gradient is d objective / d one-hot of neighbouring bases, letters in the order A, C, G, T
(`cisray.inference.gradients`). Bases that a window does not hold have no part in its prediction:
their score is zero.
"""

import numpy as np
from numpy.typing import NDArray

from cisray.errors import CoordinateError
from cisray.genome.encode import UNKNOWN, onehot
from cisray.genome.interval import Interval
from cisray.genome.windows import Window

Scores = NDArray[np.float32]


def gradient_times_input(codes_L: NDArray[np.uint8], gradient_LA: Scores) -> Scores:
    """Take the gradient at the letter that stands there: (..., L, A) to (..., L).

    DeepMind's notebook for Enformer: the gradient times the one-hot rows, summed over letters. An
    unknown base, a row of zeros, scores zero.
    """
    _check(codes_L, gradient_LA)
    scores_L: Scores = (onehot(codes_L) * gradient_LA).sum(axis=-1)
    return scores_L


def centred_gradient_times_input(codes_L: NDArray[np.uint8], gradient_LA: Scores) -> Scores:
    """Take the gradient at the letter that stands there, less the mean of all four.

    Calico's variant, (..., L, A) to (..., L). What all four letters share changes nothing when one
    takes another's place; what is left is three quarters of the mean loss to the three others, to
    first order. An unknown base scores zero.
    """
    _check(codes_L, gradient_LA)
    return gradient_times_input(codes_L, gradient_LA - gradient_LA.mean(axis=-1, keepdims=True))


def first_order(codes_R: NDArray[np.uint8], gradient_RA: Scores) -> Scores:
    """Approximate the effect of every substitution: gradient[alternate] - gradient[reference].

    (..., R, A) to the same shape, in the unit of the objective: the first term of the effect's
    Taylor series at the reference, exact for a model that is linear in its input. Exactly zero for
    the reference's own letter; NaN for the four letters at an unknown base, which none of them
    substitutes.
    """
    _check(codes_R, gradient_RA)
    unknown_R = codes_R == UNKNOWN
    own_R = np.where(unknown_R, 0, codes_R).astype(np.intp)
    reference = np.take_along_axis(
        gradient_RA, np.broadcast_to(own_R[:, None], (*gradient_RA.shape[:-1], 1)), axis=-1
    )
    effects_RA: Scores = gradient_RA - reference
    effects_RA[..., unknown_R, :] = np.nan
    return effects_RA


def pool_absolute(scores_L: Scores, bin_bp: int = 128) -> Scores:
    """Average |score| over bins: (..., L) to (..., L / bin_bp), as DeepMind's notebook plots it.

    Raises ValueError unless the bases are whole bins.
    """
    bases = scores_L.shape[-1]
    if bases % bin_bp:
        raise ValueError(f"{bases} bases are no whole number of bins of {bin_bp}")
    binned = np.abs(scores_L).reshape(*scores_L.shape[:-1], bases // bin_bp, bin_bp)
    pooled_K: Scores = binned.mean(axis=-1, dtype=np.float64).astype(np.float32)
    return pooled_K


def spread_tokens(scores_K: Scores, bin_bp: int = 128) -> Scores:
    """Share each token's score out equally among its bases: (..., K) to (..., K bin_bp).

    A sum over whole tokens stays what it was; an interval that cuts a token gets its share.
    """
    shared_L: Scores = np.repeat(scores_K / np.float32(bin_bp), bin_bp, axis=-1)
    return shared_L


def sum_within(scores_L: Scores, interval: Interval, window: Window) -> NDArray[np.float64]:
    """Sum the scores of a window's bases (..., L) over an interval: (...,), float64.

    Bases that the window does not read add nothing; an enhancer out of reach scores zero. Avsec et
    al. 2021 score the 2,000 bp around an enhancer, `interval.resize(2_000)`, and take the sizes of
    gradient x input, so that activating and repressing bases do not cancel. Raises
    CoordinateError for an interval on another chromosome, and ValueError for scores that are not
    those of the window's bases.
    """
    whole = window.input
    if scores_L.shape[-1] != whole.width:
        raise ValueError(f"{scores_L.shape[-1]} scores are not those of {whole.width} bases")
    if interval.chrom != whole.chrom:
        raise CoordinateError(
            f"{interval} cannot score in a window of {whole.chrom}, {whole}: an enhancer and its "
            "gene lie on one chromosome."
        )
    shared = whole.intersect(interval) or Interval(whole.chrom, whole.start, whole.start)
    part = scores_L[..., shared.start - whole.start : shared.end - whole.start]
    return np.asarray(part.sum(axis=-1, dtype=np.float64))


def _check(codes_L: NDArray[np.uint8], gradient_LA: Scores) -> None:
    if gradient_LA.shape[-2:] != (*codes_L.shape, 4) or codes_L.ndim != 1:
        raise ValueError(
            f"a gradient {gradient_LA.shape} does not fit {codes_L.shape} codes: expected "
            "(..., bases, 4) and (bases,)"
        )
