"""A model that can be computed by hand: it counts the A, C, G and T of every bin.

It is a SequenceModel like any other, so that whatever runs models runs it, and what it should
predict can be counted in the sequence.
"""

import torch

from cisray.errors import UnknownHead
from cisray.tracks import TrackSet


class CountingModel:
    """64 bp in, 4 bins of 8 bp out; 4 tracks, the counts of A, C, G and T."""

    input_bp = 64
    bin_bp = 8
    target_bins = 4

    def __init__(self) -> None:
        self.tracks = {"human": TrackSet.unnamed("human", 4)}

    def check_head(self, head: str) -> None:
        if head != "human":
            raise UnknownHead(f"no head {head!r}")

    def forward_flops(self, head: str) -> float:
        return 64.0 * 4

    def __call__(self, onehot_BLA: torch.Tensor, head: str) -> torch.Tensor:
        bins = onehot_BLA.unflatten(1, (8, 8)).sum(dim=2)  # all 8 bins of the input
        return bins[:, 2:6]  # crop (8 - 4) / 2 = 2 on each side
