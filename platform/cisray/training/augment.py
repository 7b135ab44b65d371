"""Random shifts and the other strand: the same example, seen a little differently each time.

Knows codes and targets of one example; knows no batch. What is drawn depends on the seed, the head
and how often the head's examples were met, and not on which worker draws it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.training.examples import HeadData
from cisray.training.order import example_at, generator

_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far windows are shifted at most, in bp, and whether half of them are turned round."""

    max_shift_bp: int = 3
    reverse_complement: bool = True

    def draw(self, seed: int, head: str, position: int) -> tuple[int, bool]:
        """Draw shift_bp and whether to take the other strand, each uniformly."""
        draws = generator(seed, "augment", head, position)
        shift_bp = int(draws.integers(-self.max_shift_bp, self.max_shift_bp, endpoint=True))
        return shift_bp, bool(draws.integers(2)) and self.reverse_complement


def reverse_complement(
    codes_L: NDArray[np.uint8],
    target_NT: NDArray[np.float32],
    partner_T: NDArray[np.int64] | None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Read an example on the other strand: bases and bins in reverse, strand partners exchanged."""
    turned_NT = target_NT[::-1] if partner_T is None else target_NT[::-1, partner_T]
    return np.ascontiguousarray(_COMPLEMENT[codes_L][::-1]), np.ascontiguousarray(turned_NT)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What fixes the order of examples and how each of them is augmented."""

    seed: int
    augmentation: Augmentation

    def example(
        self, data: HeadData, head: str, position: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Give codes_L and target_NT of the `position`-th training example of a head."""
        index = example_at(self.seed, head, position, len(data.train))
        shift_bp, is_turned = self.augmentation.draw(self.seed, head, position)
        codes_L, target_NT = data.train.codes_L(index, shift_bp), data.train.target_NT(index)
        if is_turned:
            return reverse_complement(codes_L, target_NT, data.strand_partner_T)
        return codes_L, target_NT
