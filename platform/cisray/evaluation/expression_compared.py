"""Paired tests of expression: whether one score follows genes, tracks or bins better than another.

Knows what was judged together, on the same genes and bins and with the same draws; knows no values.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from scipy import stats

from cisray.evaluation.expression import (
    ACROSS_GENES,
    ACROSS_TRACKS,
    ALL_GENES,
    ALL_TRACKS,
    EVALUATION,
    FEWEST_BLOCKS,
    OVER_BINS,
    Drawn,
    JudgedGenes,
)
from cisray.evaluation.observed import Values
from cisray.evaluation.paired import Comparison, Difference

BY_DRAWS, BY_T = "paired bootstrap", "paired t over genes"


def compare_expression(
    judged: JudgedGenes, over_bins: Mapping[str, Drawn | None]
) -> Iterator[Comparison]:
    """Test every pair of scores, the first less the second, by each of the three kinds of R."""
    for first, second in combinations(judged.r_G, 2):
        means = judged.means.get(first), judged.means.get(second)
        tracks = over_genes(judged.r_G[first], judged.r_G[second])
        found = [(ALL_TRACKS, ACROSS_GENES, over_draws(*means)), (ALL_GENES, ACROSS_TRACKS, tracks)]
        if first in over_bins and second in over_bins:
            drawn = over_draws(over_bins[first], over_bins[second])
            found.append((ALL_TRACKS, OVER_BINS, drawn))
        for task, metric, result in found:
            yield Comparison(
                evaluation=EVALUATION, task=task, metric=metric, first=first, second=second,
                result=result,
            )  # fmt: skip


def over_draws(first: Drawn | None, second: Drawn | None) -> Difference:
    """Test a difference of two means by its deviation over the draws that they have in common.

    Student's t of the units less one, which are genes or blocks of bins.
    """
    if first is None or second is None:
        return Difference(BY_DRAWS, 0, reason="undefined for one of the two")
    difference, units = first.value - second.value, first.units
    se = float((first.redrawn_D - second.redrawn_D).std(ddof=1))
    if units < FEWEST_BLOCKS or se == 0:
        told = "equal in every draw" if se == 0 else f"fewer than {FEWEST_BLOCKS} to draw from"
        return Difference(BY_DRAWS, units, difference, reason=told)
    t = difference / se
    return Difference(BY_DRAWS, units, difference, se, t, float(2 * stats.t.sf(abs(t), units - 1)))


def over_genes(first_G: Values, second_G: Values) -> Difference:
    """Test the mean difference of genes that have R by both scores (Student's paired t)."""
    off = first_G - second_G
    off = off[~np.isnan(off)]
    if len(off) < 2:
        return Difference(BY_T, len(off), reason="fewer than two genes")
    mean, spread = float(off.mean()), float(off.std(ddof=1))
    if spread == 0:
        return Difference(BY_T, len(off), mean, 0.0, reason="the same difference for every gene")
    se = spread / float(np.sqrt(len(off)))
    p_value = float(2 * stats.t.sf(abs(mean / se), len(off) - 1))
    return Difference(BY_T, len(off), mean, se, mean / se, p_value)
