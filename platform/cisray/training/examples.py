"""What training needs to know of a set of examples, whoever stores them.

Knows numpy arrays by index; knows neither files nor genomes, nor in which order examples are met.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ExampleSource(Protocol):
    """Pairs of sequence and target by index, such as `cisray.dataset.examples.ExampleSet`."""

    def __len__(self) -> int:
        """Count the examples."""

    def codes_L(self, index: int, shift_bp: int = 0) -> NDArray[np.uint8]:
        """Give base codes (A C G T 0 to 3, else 4), beginning `shift_bp` bases later, (L,)."""

    def target_NT(self, index: int) -> NDArray[np.float32]:
        """Give the measured signal, float32 (N, T)."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadData:
    """The examples of one head.

    `strand_partner_T` tells of each track which one measures the other strand, (T,), itself for
    unstranded ones; None where all are unstranded. `assays` has the places on the T axis of each
    assay's tracks, all of them; nothing where no track has an assay.
    """

    train: ExampleSource
    valid: ExampleSource | None = None
    strand_partner_T: NDArray[np.int64] | None = None
    assays: Mapping[str, Sequence[int]] = field(default_factory=dict)
