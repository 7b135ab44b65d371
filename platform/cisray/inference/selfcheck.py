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
# The same for effects, in the measure of `measure_effect`. Products of bfloat16 are off by 0.4 to
# 1.2 % of an effect over all tracks (docs/accuracy.md), and in the worst of 5,313 tracks of random
# weights by up to 6 %. float32: by 1e-6 to 2e-5, in the worst track 9e-4, and by up to 5e-3 where a
# unit lies close to its threshold.
EFFECT_TOLERANCES: Mapping[Precision, float] = {"float32": 5e-3, "bfloat16": 1e-1}
# The share of a track's signal that may be noise where two float32 predictions are subtracted, at
# the least and at the most. On a CPU it is 2e-7 to 3e-7 over all tracks (docs/accuracy.md). A GPU
# left 2e-6 at the published size in the median track, 4e-6 in the worst, 8e-6 over four bins alone;
# the worst track of a reference that was predicted both ways was off by 5e-6 to 1e-5 there.
LEAST_NOISE, MOST_NOISE = 3e-6, 2e-5
NOISE_OF_REFERENCE = 2.0
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

    `error` is the norm over bins of the difference over the norm of the plain values (for effects
    see `measure_effect`): infinite where a value is not finite. `track` (on axis T) is that track,
    `bin` the one in which its difference is largest, `value` and `plain` what stands there.
    `largest_relative` is the largest relative error of a single value, of any track, that is not
    faint.
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
    return _not_finite(values_TM, plain_TM) or _worst(
        values_TM, plain_TM, allowed_T=np.zeros(len(plain_TM)), scale_T=_norm(plain_TM)
    )


def subtraction_noise(reference: Deviation) -> float:
    """Estimate what subtracting two float32 predictions cannot tell, as a share of the signal.

    That depends on device and model. How much they round, a reference tells that was predicted both
    ways; its worst track, with a margin, within bounds.
    """
    return min(MOST_NOISE, max(LEAST_NOISE, NOISE_OF_REFERENCE * reference.error))


def measure_effect(
    fast_NT: NDArray[np.float32],
    plain_NT: NDArray[np.float32],
    prediction_NT: NDArray[np.float32],
    *,
    noise: float,
) -> Deviation:
    """Measure how far a variant's differences (N, T) lie from plain ones, before any statistic.

    `prediction_NT` is that of the reference. From the norm of a track's error is taken off what the
    plain way cannot tell, `noise` of the norm of its signal: of an effect that is smaller, nothing
    is said. The rest is over the norm of the track's effect, or over the effect that it would have
    if it had that of all tracks, root mean square of effect over signal, where this is more: in a
    track whose own effect happens to cancel, the errors of its summands remain.
    """
    if len({fast_NT.shape, plain_NT.shape, prediction_NT.shape}) > 1 or not fast_NT.size:
        raise ValueError(
            f"effects of shape {fast_NT.shape} for plain ones of {plain_NT.shape} and predictions "
            f"of {prediction_NT.shape}"
        )
    broken = _not_finite(prediction_NT.T, prediction_NT.T) or _not_finite(fast_NT.T, plain_NT.T)
    if broken:
        return broken
    signal_T, effect_T = _norm(prediction_NT.T), _norm(plain_NT.T)
    share_T = np.divide(effect_T, signal_T, out=np.zeros_like(effect_T), where=signal_T > 0)
    typical_T = np.sqrt(np.mean(np.square(share_T))) * signal_T
    return _worst(
        fast_NT.T,
        plain_NT.T,
        allowed_T=noise * signal_T,
        scale_T=np.maximum(effect_T, typical_T),
    )


def _not_finite(values_TM: NDArray[np.float32], plain_TM: NDArray[np.float32]) -> Deviation | None:
    """Point at the first value that is not finite, if there is one."""
    sound_TM = np.isfinite(values_TM) & np.isfinite(plain_TM)
    if sound_TM.all():
        return None
    track, place = (int(i) for i in np.argwhere(~sound_TM)[0])
    return _deviation(values_TM, plain_TM, (track, place), np.inf, np.inf)


def _worst(
    values_TM: NDArray[np.float32],
    plain_TM: NDArray[np.float32],
    *,
    allowed_T: NDArray[np.float64],
    scale_T: NDArray[np.float64],
) -> Deviation:
    apart_TM = np.abs(values_TM - plain_TM)
    error_T = _ratio((_norm(apart_TM) - allowed_T).clip(min=0), scale_T)
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
