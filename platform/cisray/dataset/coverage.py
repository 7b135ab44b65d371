"""From measured values of every base to the targets of a window: pure arithmetic.

Knows the formulas of Basenji's pipeline and the order they are applied in; knows nothing of files
or genomes. Sources: `hound_data_read.py` and `hound_data_write.py` of Baskerville, the successor of
the scripts that made the published training data. Arithmetic is float64 and is rounded once, to
float16, where the source rounds the bases to float16 first and sums them in float32.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.errors import TargetsError
from cisray.genome.interval import Interval

BLACKLIST_BUFFER_BP = 20
# Below so many bins the source takes 0 for the baseline.
MIN_BASELINE_BINS = 8
# Share of a bin that must be unmappable for the bin to be.
MIN_UNMAPPABLE_SHARE = 0.1
FLOAT16_MAX = float(np.finfo(np.float16).max)

Bases = NDArray[np.float64]


def _mean(bases_NP: Bases) -> Bases:
    means: Bases = bases_NP.mean(axis=1)
    return means


def _sum(bases_NP: Bases) -> Bases:
    sums: Bases = bases_NP.sum(axis=1)
    return sums


def _median(bases_NP: Bases) -> Bases:
    medians: Bases = np.median(bases_NP, axis=1)
    return medians


def _max(bases_NP: Bases) -> Bases:
    highest: Bases = bases_NP.max(axis=1)
    return highest


def _signed_root(values: Bases) -> Bases:
    """Squeeze to sqrt(1 + x) - 1. Raises ValueError for values below -1."""
    if (values < -1).any():
        raise ValueError(f"the square root of 1 + {values.min():g} does not exist")
    return np.sqrt(1 + values) - 1


def _power75(values: Bases) -> Bases:
    """Squeeze to (1 + x)^0.75 - 1. Raises ValueError for values below -1."""
    if (values < -1).any():
        raise ValueError(f"the power 0.75 of 1 + {values.min():g} does not exist")
    powers: Bases = (1 + values) ** 0.75 - 1
    return powers


POOLS: Mapping[str, Callable[[Bases], Bases]] = {
    "sum": _sum,
    "mean": _mean,
    "avg": _mean,
    "median": _median,
    "max": _max,
    "sum_sqrt": lambda bases_NP: _signed_root(_sum(bases_NP)),
    "mean_sqrt": lambda bases_NP: _signed_root(_mean(bases_NP)),
    "avg_sqrt": lambda bases_NP: _signed_root(_mean(bases_NP)),
    "sum_exp75": lambda bases_NP: _power75(_sum(bases_NP)),
}
"""How the bases of a bin become one value, by the word in the column `sum_stat`."""


@dataclass(frozen=True, slots=True)
class TrackRule:
    """What the table of targets says of one track; None and 1 leave values as they are."""

    sum_stat: str
    scale: float = 1.0
    clip: float | None = None
    clip_soft: float | None = None


def baseline(bases_L: Bases, bins: int) -> float:
    """Give what stands for an ordinary value of a window: the median of its bases.

    0 where any base has no value, or the window has fewer than 8 target bins, as in the source:
    `nan_to_num(percentile(bases, 50))`. In a bigWig that leaves out bases without reads the
    ordinary value is 0.
    """
    if bins < MIN_BASELINE_BINS or np.isnan(bases_L).any():
        return 0.0
    return float(np.median(bases_L))


def fill_bases(bases_L: Bases, blacklisted: Sequence[slice], bins: int) -> Bases:
    """Cap the bases of blacklisted stretches, and fill in what is missing, by the `baseline`.

    The former are held to -baseline .. baseline, missing bases (NaN) become the baseline. Source:
    `np.clip(black, -baseline, baseline)`, then `seq_cov[isnan] = baseline`.
    """
    missing_L = np.isnan(bases_L)
    if not blacklisted and not missing_L.any():
        return bases_L
    ordinary = baseline(bases_L, bins)
    filled_L = bases_L.copy()
    for stretch in blacklisted:
        filled_L[stretch] = np.clip(filled_L[stretch], -abs(ordinary), abs(ordinary))
    filled_L[missing_L] = ordinary
    return filled_L


def pool(bases_L: Bases, rule: TrackRule, bin_bp: int) -> Bases:
    """Make one value of every bin_bp bases: scaled, pooled, soft clipped, clipped.

    The bases are those of the target, without the crop. Scale acts on bases, before pooling; soft
    clip takes x above c to c - 1 + sqrt(x - c + 1); clip holds to -clip .. clip. Raises ValueError
    where a root does not exist.
    """
    binned_N = POOLS[rule.sum_stat](rule.scale * bases_L.reshape(-1, bin_bp))
    if rule.clip_soft is not None:
        above = binned_N > rule.clip_soft
        excess = binned_N[above] - rule.clip_soft
        binned_N[above] = rule.clip_soft - 1 + np.sqrt(excess + 1)
    if rule.clip is not None:
        binned_N = np.clip(binned_N, -rule.clip, rule.clip)
    return binned_N


def to_float16(values_N: Bases) -> NDArray[np.float16]:
    """Round to float16. Raises ValueError for what that cannot hold: it would become infinite."""
    if not np.isfinite(values_N).all():
        raise ValueError("a value is infinite or not a number")
    largest = float(np.abs(values_N).max(initial=0.0))
    with np.errstate(over="ignore"):
        rounded: NDArray[np.float16] = values_N.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise ValueError(
            f"a value of {largest:g} is above {FLOAT16_MAX:,.0f}, the largest of float16"
        )
    return rounded


def cap_unmappable(
    target_NT: NDArray[np.float16], unmappable_N: NDArray[np.bool_], quantile: float
) -> NDArray[np.float16]:
    """Hold the unmappable bins of each track down to a quantile of the track's bins in the window.

    Source: `minimum(targets[umap], percentile(targets, 100 * umap_clip, axis=0))`; the quantile is
    taken over all bins, unmappable ones included, and rounded to float16.
    """
    if not unmappable_N.any():
        return target_NT
    cap_T = np.quantile(target_NT.astype(np.float64), quantile, axis=0).astype(np.float16)
    capped: NDArray[np.float16] = np.where(
        unmappable_N[:, None], np.minimum(target_NT, cap_T), target_NT
    )
    return capped


@dataclass(frozen=True, slots=True)
class Stretches:
    """Regions of a genome, for finding those that lie in a window; in any order, may overlap."""

    by_chrom: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, regions: Iterable[Interval]) -> "Stretches":
        """Take regions, whose chromosomes are spelled as the windows' will be."""
        rows: dict[str, list[tuple[int, int]]] = {}
        for region in regions:
            rows.setdefault(region.chrom, []).append((region.start, region.end))
        return cls({chrom: np.array(pairs, dtype=np.int64) for chrom, pairs in rows.items()})

    def within(self, window: Interval, buffer_bp: int = 0) -> list[slice]:
        """Give the parts of a window that lie in regions widened on both sides, as its bases.

        >>> Stretches.of([Interval("1", 5, 8)]).within(Interval("1", 0, 20), buffer_bp=2)
        [slice(3, 10, None)]
        """
        pairs = self.by_chrom.get(window.chrom)
        if pairs is None:
            return []
        starts = np.maximum(pairs[:, 0] - buffer_bp - window.start, 0)
        ends = np.minimum(pairs[:, 1] + buffer_bp - window.start, window.width)
        shared = starts < ends
        pieces = zip(starts[shared].tolist(), ends[shared].tolist(), strict=True)
        return [slice(start, end) for start, end in pieces]


def unmappable_bins(regions: Stretches, target: Interval, bin_bp: int) -> NDArray[np.bool_]:
    """Mark the bins of a target of which at least a tenth lies in unmappable regions.

    The source counts the overlap with each region by itself; here they are counted together.
    """
    marked = np.zeros(target.width, dtype=np.bool_)
    for stretch in regions.within(target):
        marked[stretch] = True
    shares: NDArray[np.bool_] = marked.reshape(-1, bin_bp).mean(axis=1) >= MIN_UNMAPPABLE_SHARE
    return shares


def checked_rule(rule: TrackRule, place: str) -> TrackRule:
    """Give the rule back. Raises TargetsError, naming the place, for one that cannot be applied."""
    if rule.sum_stat not in POOLS:
        raise TargetsError(
            f"{place}: sum_stat {rule.sum_stat!r} is none of {', '.join(POOLS)}: write one of "
            f"these."
        )
    for name in ("clip", "clip_soft"):
        bound = getattr(rule, name)
        if bound is not None and bound <= 0:
            raise TargetsError(f"{place}: {name} {bound:g} must be above 0, or blank for none.")
    return rule
