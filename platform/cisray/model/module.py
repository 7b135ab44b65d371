"""What the networks of cisray have in common as torch modules.

Knows configurations, tracks and heads; knows no layer. `protocol` says what the layers above may
ask of a model; this is how the architectures here answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

from cisray.model.configuration import ALPHABET, ModelConfig
from cisray.tracks import TrackSet


class SequenceModule(nn.Module, ABC):
    """A network over one-hot DNA: a trunk that all heads share (`embed`), and a layer per head.

    `tracks` names the T axis of each head; heads without a table get unnamed tracks. `digest`
    identifies the weights once they come from a checkpoint. An architecture sets `_heads` and
    defines `embed`.
    """

    digest: str = ""
    _heads: nn.ModuleDict

    def __init__(self, config: ModelConfig, tracks: Mapping[str, TrackSet] | None = None) -> None:
        super().__init__()
        self.config: ModelConfig = config
        named = dict(tracks or {})
        self.tracks = {
            head: named.get(head) or TrackSet.unnamed(head, size)
            for head, size in config.heads.items()
        }

    @property
    def input_bp(self) -> int:
        """L, the bases the model reads."""
        return self.config.input_bp

    @property
    def bin_bp(self) -> int:
        """Bases per target bin."""
        return self.config.bin_bp

    @property
    def target_bins(self) -> int:
        """N, the bins the model predicts, centred in its input."""
        return self.config.target_bins

    def check_head(self, head: str) -> None:
        """Raise UnknownHead, naming the heads there are, if `head` is not one of them."""
        self.config.check_head(head)

    def forward_flops(self, head: str) -> float:
        """Count the floating-point operations of one forward pass of one sequence.

        Two per multiply-add of convolutions and matrix products.
        """
        return self.config.forward_flops(head)

    def forward(self, onehot_BLA: torch.Tensor, head: str = "human") -> torch.Tensor:
        """Predict all tracks of a head: onehot_BLA (B, L, 4) to pred_BNT, softplus applied.

        Rows of the one-hot input are A, C, G, T; a base that is none of them is an all-zero row.
        Raises UnknownHead for a head that does not exist and ValueError for another shape.
        """
        self.check_head(head)
        pred_BNT: torch.Tensor = self._heads[head](self.embed(onehot_BLA))
        return pred_BNT

    @abstractmethod
    def embed(self, onehot_BLA: torch.Tensor) -> torch.Tensor:
        """Compute what all heads share: (B, L, 4) to (B, N, D), after the last activation."""

    def check_input(self, onehot_BLA: torch.Tensor) -> None:
        """Raise ValueError unless the input is (B, L, 4) with the model's own L."""
        if onehot_BLA.ndim != 3 or onehot_BLA.shape[1:] != (self.input_bp, ALPHABET):
            raise ValueError(
                f"expected one-hot DNA of shape (batch, {self.input_bp}, {ALPHABET}), "
                f"got {tuple(onehot_BLA.shape)}"
            )


def track_heads(width: int, heads: Mapping[str, int]) -> nn.ModuleDict:
    """Build one linear layer with softplus per head, (B, N, width) to (B, N, T)."""
    return nn.ModuleDict(
        {head: nn.Sequential(nn.Linear(width, size), nn.Softplus()) for head, size in heads.items()}
    )
