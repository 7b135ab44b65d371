"""Per-track correlation and explained variance, gathered a batch at a time.

Knows predictions and targets as they stream by; knows no model. Sums are float64, and sums of
parts of the data add up to those of the whole, so that workers can share an evaluation.
"""

from dataclasses import dataclass
from typing import Self

import torch

_SUMS = 5  # of p, y, p p, y y, p y


@dataclass(frozen=True, slots=True, eq=False)
class TrackMoments:
    """What correlations need to know of all pairs seen: their number, and five sums per track.

    `sums` are those of p, y, p², y² and p y, float64 (5, T), p predicted and y measured; `loss`
    is the sum of the batches' losses, each times its number of examples.
    """

    sums: torch.Tensor
    bins: float = 0.0
    examples: float = 0.0
    loss: float = 0.0

    @classmethod
    def empty(cls, tracks: int, device: torch.device | str = "cpu") -> Self:
        """Begin with nothing seen. A device without float64 is none of ours."""
        return cls(torch.zeros(_SUMS, tracks, dtype=torch.float64, device=device))

    def seen(
        self, pred_BNT: torch.Tensor, target_BNT: torch.Tensor, loss: float = 0.0
    ) -> "TrackMoments":
        """Add a batch."""
        p, y = pred_BNT.double().flatten(0, 1), target_BNT.double().flatten(0, 1)
        sums = torch.stack([x.sum(dim=0) for x in (p, y, p * p, y * y, p * y)])
        examples = len(pred_BNT)
        return self + TrackMoments(sums, float(len(p)), float(examples), loss * examples)

    def __add__(self, other: "TrackMoments") -> "TrackMoments":
        """Take two parts of the data together."""
        return TrackMoments(
            self.sums + other.sums,
            self.bins + other.bins,
            self.examples + other.examples,
            self.loss + other.loss,
        )

    def flat(self) -> torch.Tensor:
        """Lay everything out as one vector, whose sum over workers is that of all of them."""
        counts = torch.tensor([self.bins, self.examples, self.loss], dtype=torch.float64)
        return torch.cat([self.sums.flatten(), counts.to(self.sums.device)])

    @classmethod
    def from_flat(cls, flat: torch.Tensor) -> Self:
        """Undo `flat`."""
        bins, examples, loss = flat[-3:].tolist()
        return cls(flat[:-3].reshape(_SUMS, -1), bins, examples, loss)

    def mean_loss(self) -> float:
        """Average the loss over examples; NaN if there were none."""
        return self.loss / self.examples if self.examples else float("nan")

    def pearson_T(self) -> torch.Tensor:
        """Correlate prediction and measurement over all bins, (T,); NaN where one is constant.

        One correlation per track over everything seen, and not a mean of one per sequence.
        """
        p, y, pp, yy, py = self.sums / self.bins
        spread = _positive(pp - p * p, pp) * _positive(yy - y * y, yy)
        correlation_T: torch.Tensor = (py - p * y) / spread.sqrt()
        return correlation_T

    def r2_T(self) -> torch.Tensor:
        """Give 1 - sum (y - p)² / sum (y - mean y)², (T,); NaN where y is constant."""
        _, y, pp, yy, py = self.sums / self.bins
        explained_T: torch.Tensor = 1 - (pp - 2 * py + yy) / _positive(yy - y * y, yy)
        return explained_T


def _positive(variance: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """Put NaN for a variance that is nothing but the rounding of its two terms."""
    return torch.where(variance > 1e-13 * square, variance, torch.nan)


def mean_defined(values_T: torch.Tensor) -> float | None:
    """Average over the tracks that have a value; None if no track has one."""
    defined = values_T[~values_T.isnan()]
    return float(defined.mean()) if len(defined) else None
