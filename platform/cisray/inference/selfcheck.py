"""A sample of windows or variants computed twice, and how far the two results may lie apart.

Knows numbers per bin and track; knows nothing of how either result came about, or of what a sample
is drawn from. The sample follows from what identifies a run, so that a run that
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
# For effects: how far a track's may be from the plain one, over the norm of this, when the noise of
# subtracting two predictions has been taken off. bfloat16: products of differences are off by 0.4
# to 1 % of an effect, and the tests allow 2 % (docs/accuracy.md); float32: by 1e-6 to 2e-5, and at
# the published size by up to 5e-3 where a unit lies close to its threshold.
EFFECT_TOLERANCES: Mapping[Precision, float] = {"float32": 5e-3, "bfloat16": 5e-2}
# The share of a track's signal that is noise in the plain way: two float32 passes leave 2e-7 to
# 3e-7 over all tracks (docs/accuracy.md); ten times that for the worst track of thousands.
SUBTRACTION_NOISE = 3e-6
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


def sample_rows(total: int, count: int, seed: str) -> frozenset[int]:
    """Draw `count` of the rows 0, 1, ..., `total` - 1, or all where there are not as many.

    Time and memory are those of the count, not of the total, and a larger sample of the same seed
    holds the smaller one: a shuffle of all rows (Fisher and Yates) is begun, and only what it moves
    is held. Its numbers are SHA-256 of the seed and a counter, the same everywhere.

    >>> sorted(sample_rows(10_000_000, 4, "a seed"))
    [513376, 853650, 2251571, 2570318]
    """
    moved: dict[int, int] = {}
    drawn: list[int] = []
    for place in range(min(count, total)):
        digest = hashlib.sha256(f"{seed} {place}".encode()).digest()
        # 256 bits over at most some billions of rows: no row is favoured by more than 1 in 2**220.
        other = place + int.from_bytes(digest, "big") % (total - place)
        drawn.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return frozenset(drawn)


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far values lie from plain ones, in the track where they do so most.

    `error` is the norm over bins of the difference over the norm of the plain values: infinite
    where a value is not finite. Of effects, the noise of the plain way is taken off the difference.
    `track` (on axis T) is that track, `bin` the one in which its difference is largest, `value` and
    `plain` what stands there. `largest_relative` is the largest relative error of a single value,
    of any track, that is not faint.
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
    return _measure(values_TM, plain_TM, np.zeros_like(plain_TM))


def measure_effect(
    fast_NT: NDArray[np.float32], plain_NT: NDArray[np.float32], prediction_NT: NDArray[np.float32]
) -> Deviation:
    """Measure how far a variant's differences (N, T) lie from plain ones, before any statistic.

    `prediction_NT` is that of the reference. What subtraction of two float32 predictions cannot
    tell, SUBTRACTION_NOISE of a track's norm, is no error: where an effect is smaller than that,
    nothing is said of it.
    """
    return _measure(fast_NT.T, plain_NT.T, np.float32(SUBTRACTION_NOISE) * np.abs(prediction_NT.T))


def _measure(
    values_TM: NDArray[np.float32], plain_TM: NDArray[np.float32], noise_TM: NDArray[np.float32]
) -> Deviation:
    shapes = {values_TM.shape, plain_TM.shape, noise_TM.shape}
    if len(shapes) > 1 or not values_TM.size:
        raise ValueError(f"values of shape {values_TM.shape} for plain ones of {plain_TM.shape}")
    sound_TM = np.isfinite(values_TM) & np.isfinite(plain_TM) & np.isfinite(noise_TM)
    if not sound_TM.all():
        track, place = (int(i) for i in np.argwhere(~sound_TM)[0])
        return _deviation(values_TM, plain_TM, (track, place), np.inf, np.inf)
    apart_TM, size_TM = np.abs(values_TM - plain_TM), np.abs(plain_TM)
    error_T = _ratio((_norm(apart_TM) - _norm(noise_TM)).clip(min=0), _norm(plain_TM))
    track = int(error_T.argmax())
    loud_TM = size_TM >= FAINT * size_TM.max(axis=1, keepdims=True)
    relative_TM = _ratio((apart_TM - noise_TM).clip(min=0), size_TM)
    relative = float(relative_TM.max(initial=0.0, where=loud_TM))
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
