"""What training asks of whoever runs it: which worker it is, and where its state is kept.

Knows no process group and no storage; `cisray.engine.group` has those, with Ray and without.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cisray.training.augment import Augmentation

# A number of each assay, by its name.
ByAssay = Mapping[str, Mapping[str, int | float | None]]
Record = Mapping[str, str | int | float | ByAssay | None]


class Session(Protocol):
    """One worker of a group that trains together; the only one if there is no group."""

    @property
    def rank(self) -> int:
        """This worker's number, from 0."""

    @property
    def ranks(self) -> int:
        """How many workers there are."""

    @property
    def device(self) -> str:
        """Where this worker computes, as torch names it."""

    @property
    def writes_later(self) -> bool:
        """Whether `save` returns before it has written, so that it needs a copy of the state."""

    def restored(self) -> Path | None:
        """Give the folder of the newest whole checkpoint; None at the beginning."""

    def save(
        self, step: int, write: Callable[[Path], None], metrics: Mapping[str, float | None]
    ) -> None:
        """Keep what `write` puts into the folder that it is given; every worker calls.

        A checkpoint is there whole or not at all. `metrics` are those that a policy of keeping
        the best may look at.
        """

    def finish(self) -> None:
        """Wait until all that was saved is kept, and raise what went wrong on the way."""


class Recorder(Protocol):
    """Where the numbers of a training run go; only worker 0 is given one that writes."""

    def begin(self, step: int) -> None:
        """Forget what was recorded at `step` or later, as these steps come again."""

    def add(self, record: Record) -> None:
        """Take a record; each has `kind` (train or valid), `step` and `head`."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a model is trained; the defaults are Enformer's.

    `steps` and everything that counts steps means optimiser steps; heads take turns, and a round
    is one step of each. `batch_size` is that of a step, over all workers and `parts`
    micro-batches. `clip_norm` None does not clip. `valid_examples` None takes all.
    `readers` are the processes that read ahead.
    """

    heads: tuple[str, ...]
    steps: int
    batch_size: int
    learning_rate: float = 5e-4
    warmup_rounds: int = 5000
    clip_norm: float | None = 0.2
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    parts: int = 1
    precision: str = "float32"
    valid_every: int = 1000
    valid_examples: int | None = None
    checkpoint_every: int = 1000
    readers: int = 0
