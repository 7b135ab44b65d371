"""A sample of windows predicted twice, and how far the two predictions may lie apart.

Knows numbers per bin and track; knows nothing of how either prediction came about, or of which
windows a sample is drawn from. The sample follows from what identifies a run, so that a run that
is interrupted and resumed checks the windows that an undisturbed one checks.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cisray.inference.precision import Precision

# How far the norm over bins of a track's difference may be from nothing, over that of the track.
# float32: sums taken in another order differ by some 1e-6 after 11 blocks, a wrong weight or a
# token out of place by 1e-2 and more. bfloat16: a product is rounded to 4e-3; of 5,313
# tracks of random weights the median is off by 7e-3 and the worst by 4e-2 (benchmarks/results,
# fast_engine), and an error smaller than that hides behind the rounding.
TOLERANCES: Mapping[Precision, float] = {"float32": 1e-4, "bfloat16": 1e-1}
ONE_IN = 1000
LEAST = 3
# Relative errors are told of values that are at least this share of their track's largest.
FAINT = 1e-3

SampleSize = int | Literal["auto", "off"]


def sample_size(wanted: SampleSize, total: int) -> int:
    """Say how many of `total` windows are checked: auto is 1 in 1,000, but at least 3.

    >>> [sample_size("auto", n) for n in (2, 50, 4000, 27_000)], sample_size(7, 5)
    ([2, 3, 4, 27], 5)
    """
    if wanted == "off":
        return 0
    return min(total, max(LEAST, total // ONE_IN) if wanted == "auto" else wanted)


def draw(names: Iterable[str], count: int, seed: str) -> frozenset[str]:
    """Draw `count` of the names: those whose SHA-256 together with the seed comes first.

    The same everywhere and in every version of any library, whatever the order of the names.
    """
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return frozenset(ranked[:count])


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far values lie from plain ones, in the track where they do so most.

    `error` is the norm over bins of the difference over the norm of the plain values: infinite
    where a value is not finite. `track` (on axis T) is that track, `bin` the one in which its
    difference is largest, `value` and `plain` what stands there. `largest_relative` is the largest
    relative error of a single value, of any track, that is not faint.
    """

    error: float
    track: int
    bin: int
    value: float
    plain: float
    largest_relative: float

    def is_within(self, tolerance: float) -> bool:
        """Tell whether the whole is as near as that; never for what is not finite."""
        return self.error <= tolerance


def measure(values_TM: NDArray[np.float32], plain_TM: NDArray[np.float32]) -> Deviation:
    """Measure how far values (T, bins) lie from plain ones of the same windows, before rounding."""
    if values_TM.shape != plain_TM.shape or not values_TM.size:
        raise ValueError(f"values of shape {values_TM.shape} for plain ones of {plain_TM.shape}")
    sound_TM = np.isfinite(values_TM) & np.isfinite(plain_TM)
    if not sound_TM.all():
        track, place = (int(i) for i in np.argwhere(~sound_TM)[0])
        return _deviation(values_TM, plain_TM, (track, place), np.inf, np.inf)
    apart_TM = np.abs(values_TM - plain_TM)
    error_T = _ratio(_norm(apart_TM), _norm(plain_TM))
    track = int(error_T.argmax())
    size_TM = np.abs(plain_TM)
    loud_TM = size_TM >= FAINT * size_TM.max(axis=1, keepdims=True)
    relative = float(_ratio(apart_TM, size_TM).max(initial=0.0, where=loud_TM))
    place = int(apart_TM[track].argmax())
    return _deviation(values_TM, plain_TM, (track, place), float(error_T[track]), relative)


def _deviation(
    values_TM: NDArray[np.float32],
    plain_TM: NDArray[np.float32],
    where: tuple[int, int],
    error: float,
    relative: float,
) -> Deviation:
    return Deviation(error, *where, float(values_TM[where]), float(plain_TM[where]), relative)


def _norm(x_TM: NDArray[np.float32]) -> NDArray[np.float64]:
    norm_T: NDArray[np.float64] = np.linalg.norm(x_TM.astype(np.float64), axis=1)
    return norm_T


def _ratio(part: NDArray[np.floating], whole: NDArray[np.floating]) -> NDArray[np.floating]:
    """Divide; nothing over nothing is no error, something over nothing is an infinite one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[np.floating] = np.where(part == 0, 0, part / whole)
    return ratio
