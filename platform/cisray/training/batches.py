"""Micro-batches of one worker, read ahead by torch's DataLoader.

Knows examples and their order; knows no model. What a batch holds is a function of the step's
number and of the worker's, so that nothing of the reading needs to be saved.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cisray.training.augment import Drawing
from cisray.training.examples import ExampleSource, HeadData
from cisray.training.order import Alternation


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Base codes (B, L), uint8, and measured signal (B, N, T), float32, of one head."""

    codes_BL: torch.Tensor
    target_BNT: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Move it."""
        return Batch(
            self.codes_BL.to(device, non_blocking=True),
            self.target_BNT.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of each step's batch is whose: of `ranks` workers, in `parts` micro-batches."""

    rank: int
    ranks: int
    parts: int

    def number(self, part: int) -> int:
        """Count the shares of a step so that its micro-batches follow each other."""
        return part * self.ranks + self.rank

    @property
    def shares(self) -> int:
        """How many shares a step's batch is cut into."""
        return self.ranks * self.parts


class TrainingBatches(Dataset[Batch]):
    """The micro-batches of one worker, by their number: step times parts plus part."""

    def __init__(
        self,
        data: Mapping[str, HeadData],
        alternation: Alternation,
        drawing: Drawing,
        share: Share,
    ) -> None:
        self._data = data
        self._alternation = alternation
        self._drawing = drawing
        self._share = share

    def __getitem__(self, number: int) -> Batch:
        """Read a micro-batch."""
        step, part = divmod(number, self._share.parts)
        head = self._alternation.head(step)
        positions = self._alternation.positions(step, self._share.number(part), self._share.shares)
        data = self._data[head]
        pairs = [self._drawing.example(data, head, position) for position in positions]
        codes, targets = zip(*pairs, strict=True)
        return Batch(torch.from_numpy(np.stack(codes)), torch.from_numpy(np.stack(targets)))

    def read(self, first_step: int, steps: int, readers: int) -> Iterator[Batch]:
        """Read the micro-batches of steps in order, `readers` processes ahead; 0 reads here."""
        parts = self._share.parts
        numbers = range(first_step * parts, steps * parts)
        return iter(
            DataLoader(
                self,
                batch_size=None,
                sampler=numbers,
                num_workers=readers,
                # A fork would inherit the locks of threads that do not live on in it.
                multiprocessing_context="spawn" if readers else None,
            )
        )


def validation_batches(
    examples: ExampleSource, limit: int | None, size: int, rank: int, ranks: int
) -> Iterator[tuple[Batch, int]]:
    """Yield a worker's share of a validation set, with the number of examples that count.

    All workers get equally many batches, as they may have to compute in step: one that runs out
    gets its last example once more, of which none counts.
    """
    total = len(examples) if limit is None else min(limit, len(examples))
    mine = range(rank, total, ranks)
    batches = math.ceil(math.ceil(total / ranks) / size)
    for number in range(batches):
        indices = list(mine[number * size : (number + 1) * size])
        shown = indices or [total - 1]
        yield (
            Batch(
                torch.from_numpy(np.stack([examples.codes_L(i) for i in shown])),
                torch.from_numpy(np.stack([examples.target_NT(i) for i in shown])),
            ),
            len(indices),
        )


def onehot(codes_BL: torch.Tensor) -> torch.Tensor:
    """Turn codes (B, L) into float32 one-hot rows (B, L, A); code 4 is an all-zero row."""
    rows = torch.zeros(5, 4, device=codes_BL.device)
    rows.fill_diagonal_(1.0)
    return rows[codes_BL.long()]
