"""What every sequence-to-function model offers to the layers above.

Knows the shape of a model; knows no particular one. Coordinates are not its business: it states
its geometry in bases and bins, and `cisray.inference` makes a WindowSpec of it.
"""

from typing import Protocol

import torch

from cisray.tracks import TrackSet


class SequenceModel(Protocol):
    """A torch module that reads one-hot DNA and predicts tracks along its centre."""

    tracks: dict[str, TrackSet]

    @property
    def input_bp(self) -> int:
        """L, the bases the model reads."""

    @property
    def bin_bp(self) -> int:
        """Bases per target bin."""

    @property
    def target_bins(self) -> int:
        """N, the bins the model predicts, centred in its input."""

    def check_head(self, head: str) -> None:
        """Raise UnknownHead if there is no such head."""

    def forward_flops(self, head: str) -> float:
        """Floating-point operations of one forward pass of one sequence."""

    def __call__(self, onehot_BLA: torch.Tensor, head: str) -> torch.Tensor:
        """Predict all tracks of a head: onehot_BLA (B, L, 4) to pred_BNT, float32, positive."""
