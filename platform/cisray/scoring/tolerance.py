"""How far a statistic may lie from the same one computed before, on another machine perhaps.

Knows statistics and what they are computed from; knows nothing of where either is kept. The bound
is that of the self-check, which holds differences and predictions to it bin by bin: here they are
changed by as much, and what that makes of a statistic is tolerated.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.inference.precision import Precision
from cisray.inference.selfcheck import EFFECT_TOLERANCES, TOLERANCES
from cisray.scoring.statistics import compute
from cisray.scoring.variants import SPREAD, EffectArrays

_FLOAT32_ROUNDING = 2.0**-22


def rounding_of(mantissa_bits: int) -> float:
    """Give the largest relative error of a value that is stored with so many bits, and computed.

    >>> rounding_of(10)
    0.000488519668579...
    """
    return float(2.0 ** -(mantissa_bits + 1)) + _FLOAT32_ROUNDING


def tolerated(
    names: Sequence[str],
    seen: EffectArrays,
    bins: range,
    *,
    precision: Precision,
    noise: float,
    mantissa_bits: int,
) -> Mapping[str, NDArray[np.float64]]:
    """Say for each track (T) how far each statistic may be off, given what it is computed from.

    `bins` of those seen count, `noise` is the share of the signal that may be rounding; a spread
    may be off by as much as its statistic. No change makes a prediction negative: statistics refuse
    such ones.
    """
    first = bins.start - seen.bins.start
    part = slice(first, first + len(bins))
    here_NT = seen.prediction_NT[part].double().cpu()
    change_NT = seen.difference_NT[part].double().cpu()
    plain = [name.removesuffix(SPREAD) for name in names]
    exact = _compute(plain, here_NT, change_NT)
    effect = EFFECT_TOLERANCES[precision]
    size_NT = effect * change_NT.abs()
    # In which direction a difference is off is not known: what moves a statistic most is let pass.
    effects = (
        (here_NT, change_NT + size_NT),
        (here_NT, torch.maximum(change_NT - size_NT, -here_NT)),
        (here_NT, change_NT * (1 - effect)),
    )
    others = (
        (here_NT, change_NT + noise * here_NT),
        (here_NT * (1 + TOLERANCES["float32"]), change_NT),
    )

    def moved(arrays: tuple[torch.Tensor, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
        found = _compute(plain, *arrays)
        return {name: np.abs(found[name] - exact[name]) for name in exact}

    by_effects, by_others = [moved(a) for a in effects], [moved(a) for a in others]
    allowed = {
        name: rounding_of(mantissa_bits) * np.abs(values_T)
        + np.max([found[name] for found in by_effects], axis=0)
        + np.sum([found[name] for found in by_others], axis=0)
        for name, values_T in exact.items()
    }
    return {name: allowed[name.removesuffix(SPREAD)] for name in names}


def _compute(
    names: Sequence[str], prediction_NT: torch.Tensor, difference_NT: torch.Tensor
) -> dict[str, NDArray[np.float64]]:
    found = compute(tuple(dict.fromkeys(names)), prediction_NT, difference_NT[None])
    return {name: values_BT[0].double().numpy() for name, values_BT in found.items()}
