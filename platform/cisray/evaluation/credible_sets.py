"""Credible sets: the fewest variants that hold a single effect with a given probability.

Knows a fit of SuSiE and linkage; knows no files.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.evaluation.metrics import Doubles
from cisray.evaluation.susie import SusieFit

_COLUMNS = 256
_DIGITS = 10


@dataclass(frozen=True, slots=True, eq=False)
class CredibleSet:
    """Variants that hold the `effect`-th single effect with probability `coverage` or more.

    They are in order of probability, the likeliest first. `purity` is the least correlation
    between two of them, by size.
    """

    effect: int
    variants: NDArray[np.intp]
    coverage: float
    purity: float
    log_bayes_factor: float


def credible_sets(
    fit: SusieFit, genotypes_IV: Doubles, *, coverage: float, min_purity: float
) -> Iterator[CredibleSet]:
    """Give the sets of effects that are there, without those of low purity and repeated ones.

    An effect that the data do not support is spread over variants that are hardly correlated:
    that is what the purity tells. `genotypes_IV` has columns of length 1.
    """
    seen: set[tuple[int, ...]] = set()
    for effect in np.flatnonzero(fit.present_E).tolist():
        weight_V = fit.weight_EV[effect]
        # Of variants that are the same in everybody the first, not those that rounding favours.
        order_V = np.argsort(-np.round(weight_V, _DIGITS), kind="stable")
        held_V = np.cumsum(weight_V[order_V])
        # Rounding may leave the sum of all below the coverage that is asked for.
        count = min(int(np.searchsorted(held_V, coverage)) + 1, len(order_V))
        chosen = order_V[:count]
        key = tuple(np.sort(chosen).tolist())
        if key in seen:
            continue
        seen.add(key)
        purity = least_correlation(genotypes_IV[:, chosen], min_purity)
        if purity >= min_purity:
            bayes = float(fit.log_bayes_factor_E[effect])
            yield CredibleSet(effect, chosen, float(held_V[count - 1]), purity, bayes)


def least_correlation(columns_IV: Doubles, bound: float) -> float:
    """Give the least size of a correlation between two columns; below the bound, any such."""
    least = 1.0
    for first in range(0, columns_IV.shape[1], _COLUMNS):
        products = columns_IV[:, first : first + _COLUMNS].T @ columns_IV
        least = min(least, float(np.abs(products).min()))
        if least < bound:
            break
    return least
