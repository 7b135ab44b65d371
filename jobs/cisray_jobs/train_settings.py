"""What a training run is told, and which of it makes it that run.

Knows options and what contradicts itself; knows nothing of models, examples or workers.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from cisray.model.enformer.config import EnformerConfig
from cisray.training.augment import Augmentation
from cisray.training.parallel import Strategy
from cisray.training.recompute import Recompute
from cisray.training.session import TrainSettings
from cisray_jobs import marks
from cisray_jobs.config import JobConfig

Names = tuple[str, ...]
Count = Annotated[int, Field(ge=1)]

# In the folder of a run: what it was told, and what comes of it.
SETTINGS, MODEL_FILE = marks.TRAIN_SETTINGS, "model.safetensors"
# Where and on what a run is done, and what is kept of it: no weight depends on these.
NOT_IDENTITY = frozenset(
    {
        *("out", "keep", "export", "tensorboard"),
        *("workers", "num_gpus", "device", "threads", "strategy", "address", "max_failures"),
        "readers",
    }
)


class TrainModel(JobConfig):
    """The job `cisray train`; see docs/training.md for every option.

    A model begins with the weights of `model`, or anew as `size` or `architecture` says. Counts
    of steps are those of the optimiser: heads take turns, and a round is one step of each.
    """

    dataset: Path
    out: Path
    model: Path | None = None
    size: Literal["tiny", "small", "enformer", "basenji2-tiny", "basenji2"] | None = None
    architecture: dict[str, JsonValue] | None = None
    heads: Names | None = None
    new_heads: Names = ()
    freeze: Names = ()
    adapt: Names = ()
    adapter_rank: Count = 8
    adapter_alpha: Annotated[float, Field(gt=0)] = 16.0
    train_split: str = "train"
    valid_split: str = "valid"
    steps: Count
    batch_size: Count = 64
    micro_batches: Count = 1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    warmup_rounds: Annotated[int, Field(ge=0)] = 5000
    clip_norm: Annotated[float, Field(ge=0)] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    max_shift_bp: Annotated[int, Field(ge=0)] = 3
    reverse_complement: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: Recompute = "none"
    valid_every: Count = 1000
    valid_examples: Count | None = None
    checkpoint_every: Count = 1000
    keep: Count = 3
    export: Literal["best", "last"] = "best"
    tensorboard: bool = False
    readers: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=0)] = 0
    strategy: Strategy = "ddp"
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    device: str = "auto"
    threads: Count | None = None
    max_failures: Annotated[int, Field(ge=0)] = 3
    address: str | None = None

    @field_validator("heads", "new_heads", "freeze", "adapt", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Take names apart at commas, and a list of a YAML file as it is."""
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            return parts
        split = [name.strip() for part in parts for name in str(part).split(",")]
        return tuple(name for name in split if name)

    @model_validator(mode="after")
    def _check(self) -> Self:
        begun = [name for name in ("model", "size", "architecture") if getattr(self, name)]
        if len(begun) != 1:
            told = "none" if not begun else " and ".join(begun)
            raise ValueError(
                f"a model begins in one way: give model, size or architecture, not {told}"
            )
        if self.new_heads and self.model is None:
            raise ValueError("new_heads is for the heads of a model that is given with model")
        shares = self.micro_batches * max(1, self.workers)
        if self.batch_size % shares:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of the {shares} equal shares "
                f"that {max(1, self.workers)} workers with {self.micro_batches} micro_batches "
                "need"
            )
        if self.architecture is not None:
            EnformerConfig.model_validate({**self.architecture, "heads": {"any": 1}})
        return self

    def settings(self, heads: Names) -> TrainSettings:
        """Give the loop what it needs."""
        return TrainSettings(
            heads=heads,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup_rounds=self.warmup_rounds,
            clip_norm=self.clip_norm or None,
            seed=self.seed,
            augmentation=Augmentation(self.max_shift_bp, self.reverse_complement),
            parts=self.micro_batches,
            precision=self.precision,
            valid_every=self.valid_every,
            valid_examples=self.valid_examples,
            checkpoint_every=self.checkpoint_every,
            readers=self.readers,
        )

    def identity(self, digests: Mapping[str, str]) -> dict[str, JsonValue]:
        """List what the trained weights depend on; `digests` stand for dataset and model."""
        options = self.model_dump(mode="json", exclude=set(NOT_IDENTITY))
        return {**options, **digests}


def fingerprint(identity: Mapping[str, JsonValue]) -> str:
    """Digest an identity to 12 hexadecimal digits, for a name."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
