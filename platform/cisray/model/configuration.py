"""What every architecture's configuration has: a window, heads with their tracks, a cost.

Knows arithmetic; knows nothing of torch, of any file format or of any one architecture.
"""

from abc import abstractmethod
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cisray.errors import UnknownHead, near_matches

ALPHABET = 4  # A, C, G, T


class ModelConfig(BaseModel):
    """What it takes to build a network; each architecture adds its own fields.

    `heads` counts the tracks of every head. `input_bp` and `target_bins` are the window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_bp: int = Field(gt=0)
    target_bins: int = Field(gt=0)
    heads: dict[str, int]

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.input_bp % self.bin_bp:
            raise ValueError(
                f"input_bp {self.input_bp} is not a multiple of the bin width {self.bin_bp}"
            )
        if self.target_bins > self.tokens:
            raise ValueError(f"target_bins {self.target_bins} exceeds the {self.tokens} tokens")
        if (self.tokens - self.target_bins) % 2:
            raise ValueError(
                f"{self.tokens} tokens cannot be cropped to {self.target_bins} bins evenly"
            )
        if not self.heads or min(self.heads.values()) < 1:
            raise ValueError(f"every head needs at least one track, got {self.heads}")
        return self

    @property
    @abstractmethod
    def bin_bp(self) -> int:
        """Bases per trunk token and per target bin."""

    @property
    def tokens(self) -> int:
        """K, the trunk tokens of one input."""
        return self.input_bp // self.bin_bp

    @property
    def crop_bins(self) -> int:
        """Tokens cropped on each side before the heads."""
        return (self.tokens - self.target_bins) // 2

    @property
    @abstractmethod
    def base_channels(self) -> int:
        """Channels that every base of the input has, before the first pooling."""

    def check_head(self, head: str) -> None:
        """Raise UnknownHead, naming the heads there are, if `head` is not one of them."""
        if head not in self.heads:
            have = ", ".join(f"{name} ({size} tracks)" for name, size in self.heads.items())
            raise UnknownHead(
                f"The model has no head {head!r}; it has {have}.{near_matches(head, self.heads)}"
            )

    @abstractmethod
    def forward_flops(self, head: str) -> float:
        """Count the floating-point operations of one forward pass of one sequence."""
