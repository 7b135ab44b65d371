"""Statistics of a variant: from what it does to every bin to one number per track.

Knows formulas; knows nothing of variants, models or files. Every function takes the reference's
prediction and the difference alternate - reference, which the engine computes without cancellation,
and never forms that difference again from two sums or two logarithms: a relative error of the
difference stays that relative error in the statistic, however small the effect is.

Names mean what Basenji's scripts mean by them today. Where a name has meant other things:

- SAR is offered under no name, because it names two statistics. Basenji's scripts of 2021 sum the
  log2 ratios of the bins, which is `logSAD` here and there since. VEP's plugin and others take it
  for the log2 ratio of the sums, `SADR` here. The published HDF5 of the 1000 Genomes variants say
  "same as SAD, by computing log2(1 + alternate) - log2(1 + reference)", which does not tell whether
  bins or sums are meant; taken literally, the logarithm is of the model's output, hence of bins.
- SAD is the sum over bins. DeepMind's notebook takes the mean: SAD / 896 over Enformer's bins.
- JS is not the Jensen-Shannon divergence but half of Jeffreys's, as in the scripts that named it.
- D2 is the Euclidean norm itself, not its square.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch

from cisray.errors import ConfigError, ResultsError, near_matches

BINS = -2  # axis N of (..., N, T)
_LANE_VALUES = 1 << 23  # values held in float64 at a time: 64 MB for each intermediate result
_LN2 = math.log(2)
_SMALLEST = torch.finfo(torch.float32).tiny
# What may be missing to zero in an alternate, as a share of the reference and in units of signal.
_ROUNDING_SHARE = 1e-2
_ROUNDING_SIGNAL = 1e-6

Formula = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def reference_sum(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute REF: the reference's signal, summed over bins; the same for every alternate."""
    total_T = prediction_NT.sum(BINS)
    return total_T.expand(*difference_BNT.shape[:BINS], -1)


def alternate_sum(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute ALT: the alternate's signal, summed over bins."""
    return prediction_NT.sum(BINS) + difference_BNT.sum(BINS)


def sad(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute SAD, the SNP activity difference: sum(alt) - sum(ref) over bins.

    Basenji (Kelley et al. 2018).
    """
    return difference_BNT.sum(BINS)


def sadr(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute SADR: log2(sum(alt) + 1) - log2(sum(ref) + 1), of Basenji's scripts of 2021.

    As log1p(SAD / (sum(ref) + 1)) / ln 2.
    """
    ratio_BT = difference_BNT.sum(BINS) / (prediction_NT.sum(BINS) + 1)
    return torch.log1p(ratio_BT) / _LN2


def log_sad(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute logSAD: the sum over bins of log2(alt + 1) - log2(ref + 1), of Basenji and Borzoi.

    As the sum of log1p(d / (ref + 1)) / ln 2, with d = alt - ref.
    """
    return torch.log1p(difference_BNT / (prediction_NT + 1)).sum(BINS) / _LN2


def sax(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute SAX: the difference, with its sign, in the bin where it is largest; Basenji.

    Of several bins with the same largest size, the first counts.
    """
    largest_BT = difference_BNT.abs().argmax(BINS)
    return difference_BNT.gather(BINS, largest_BT.unsqueeze(BINS)).squeeze(BINS)


def d1(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute D1: the sum over bins of |alt - ref|; Basenji and Borzoi."""
    return difference_BNT.abs().sum(BINS)


def d2(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute D2: the square root of the sum over bins of (alt - ref)^2; Borzoi."""
    return difference_BNT.square().sum(BINS).sqrt()


def js(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    """Compute JS: how far the shape of the signal changes, whatever its height.

    With c the 25th percentile of ref over the bins at hand, p = (ref + c) / sum(ref + c) and
    q = (alt + c) / sum(alt + c), it is (KL(p, q) + KL(q, p)) / 2 = sum((q - p) ln(q / p)) / 2, in
    nats; Basenji and Borzoi. c is taken to be at least the smallest normal float32, 1.2e-38, so
    that a signal of zero has a shape.

    As sum(p w log1p(w)) / 2 with w = q / p - 1 = (d / (ref + c) - v) sum(ref + c) / sum(alt + c),
    where v = sum(d) / sum(ref + c): no term is negative. Where all bins change by nearly the same
    factor the subtraction in w costs digits, but in float64 only those beyond what a d of float32
    can tell.
    """
    pseudo = _lower_quartile(prediction_NT).clamp(min=_SMALLEST)
    raised_NT = prediction_NT + pseudo
    # In this order: an alternate of zero keeps its pseudocount, however small that is.
    changed_BNT = (prediction_NT + difference_BNT) + pseudo
    total, changed_total = raised_NT.sum(BINS, keepdim=True), changed_BNT.sum(BINS, keepdim=True)
    growth = difference_BNT.sum(BINS, keepdim=True) / total
    w_BNT = (difference_BNT / raised_NT - growth) * (total / changed_total)
    # Where the share of a bin falls by more than half, 1 + w has lost what it is made of.
    direct_BNT = torch.log((changed_BNT / changed_total) / (raised_NT / total))
    log_ratio_BNT = torch.where(w_BNT > -0.5, torch.log1p(w_BNT), direct_BNT)
    return (raised_NT / total * w_BNT * log_ratio_BNT).sum(BINS) / 2


def _lower_quartile(prediction_NT: torch.Tensor) -> torch.Tensor:
    """Interpolate the 25th percentile over bins, (1, T): numpy's "linear" method."""
    sorted_NT = prediction_NT.sort(dim=BINS).values
    place = 0.25 * (len(sorted_NT) - 1)
    below, above = math.floor(place), math.ceil(place)
    return torch.lerp(sorted_NT[below : below + 1], sorted_NT[above : above + 1], place - below)


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic; `function` takes prediction (N, T) and difference (..., N, T) to (..., T).

    `swap` says what happens when the alleles trade places: the sign "flips", the value "keeps", or
    "none" of both, because the definition favours the reference. `unit` is that of the value, where
    "signal" is what the track measures in a bin.
    """

    name: str
    function: Formula
    swap: Literal["flips", "keeps", "none"]
    unit: str


STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        statistic.name: statistic
        for statistic in (
            Statistic("REF", reference_sum, "none", "signal"),
            Statistic("ALT", alternate_sum, "none", "signal"),
            Statistic("SAD", sad, "flips", "signal"),
            Statistic("SADR", sadr, "flips", "log2 ratio"),
            Statistic("logSAD", log_sad, "flips", "log2 ratio"),
            Statistic("SAX", sax, "flips", "signal"),
            Statistic("D1", d1, "keeps", "signal"),
            Statistic("D2", d2, "keeps", "signal"),
            Statistic("JS", js, "none", "nats"),
        )
    }
)


def find(names: Sequence[str]) -> list[Statistic]:
    """Look statistics up, in the order given; names count as written, SAD and not sad.

    Raises `ConfigError` for an unknown name, a name given twice, or none at all.
    """
    known = ", ".join(STATISTICS)
    if not names:
        raise ConfigError(f"no statistic is asked for: choose from {known}.")
    for name in names:
        if name == "SAR":
            raise ConfigError(
                "SAR names two statistics: ask for SADR, the log2 ratio of the sums over bins, or "
                "for logSAD, the sum over bins of log2 ratios, which Basenji's SAR is."
            )
        if name not in STATISTICS:
            by_folded = {key.casefold(): key for key in STATISTICS}
            near = by_folded.get(name.casefold())
            hint = f" Did you mean {near}?" if near else near_matches(name, STATISTICS)
            raise ConfigError(f"there is no statistic {name!r}: choose from {known}.{hint}")
    if len(set(names)) < len(names):
        raise ConfigError(f"a statistic is asked for twice in {', '.join(names)}: name each once.")
    return [STATISTICS[name] for name in names]


def compute(
    names: Sequence[str], prediction_NT: torch.Tensor, difference_BNT: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Compute statistics of B alternates of one reference window: (B, T) float32 under each name.

    On the device of its arguments, float32 or float64; computed in float64 and rounded once. An
    alternate that falls below zero by rounding counts as zero: its difference is raised to -ref,
    which can only bring it nearer to the truth, since no model here predicts less than zero. NaN
    comes out as NaN.

    Raises `ConfigError` as `find` does, `ResultsError` for a prediction that is negative by more
    than rounding (1 % of the reference), and `ValueError` for shapes or types that do not fit.
    """
    wanted = find(names)
    _check(prediction_NT, difference_BNT)
    reference_NT = prediction_NT.double()
    shape = (len(difference_BNT), prediction_NT.shape[1])
    found = {one.name: difference_BNT.new_empty(shape, dtype=torch.float32) for one in wanted}
    for lanes in _lanes(difference_BNT):
        changes_BNT = _raised(prediction_NT, difference_BNT[lanes]).double()
        for one in wanted:
            found[one.name][lanes] = one.function(reference_NT, changes_BNT).float()
    return found


def _check(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> None:
    if prediction_NT.ndim != 2 or not len(prediction_NT):
        raise ValueError(f"expected a prediction (N, T) with bins, got {(*prediction_NT.shape,)}")
    if difference_BNT.ndim != 3 or difference_BNT.shape[1:] != prediction_NT.shape:
        raise ValueError(
            f"expected differences (B, {prediction_NT.shape[0]}, {prediction_NT.shape[1]}), got "
            f"{(*difference_BNT.shape,)}"
        )
    for given in (prediction_NT, difference_BNT):
        if given.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"statistics are of float32 or float64 values, got {given.dtype}")
    if bool((prediction_NT < 0).any()):
        raise ResultsError(
            f"a reference prediction is {prediction_NT.min().item():g}, but models predict signals "
            "of zero and more: the model or the engine that ran it breaks its contract."
        )


def _lanes(difference_BNT: torch.Tensor) -> Iterator[slice]:
    """Cut axis B into pieces of a bounded size; one alternate at the least."""
    step = max(1, _LANE_VALUES // max(1, difference_BNT[:1].numel()))
    return (slice(first, first + step) for first in range(0, len(difference_BNT), step))


def _raised(prediction_NT: torch.Tensor, difference_BNT: torch.Tensor) -> torch.Tensor:
    lowest_NT = -((1 + _ROUNDING_SHARE) * prediction_NT + _ROUNDING_SIGNAL)
    if bool((difference_BNT < lowest_NT).any()):
        raise ResultsError(
            f"an alternate's prediction is {(prediction_NT + difference_BNT).min().item():g}, but "
            "models predict signals of zero and more, and this is no rounding: the engine that "
            "computed the difference breaks its contract."
        )
    return torch.maximum(difference_BNT, -prediction_NT)
