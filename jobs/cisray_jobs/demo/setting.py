"""How large a demonstration is, where it happens, and how it speaks.

Knows sizes, paths and lines of text; knows nothing of what the steps do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from cisray.engine.progress import Display

Say = Callable[[str], None]

CHROMOSOMES = 5  # the last is kept from training
UNSEEN = f"chr{CHROMOSOMES}"
INPUT_BP, TARGET_BINS = 8_192, 48
ARCHITECTURE = {
    "channels": 144,
    "num_transformer_layers": 1,
    "num_heads": 4,
    "key_size": 16,
    "channels_divisible_by": 8,
    "dropout": 0.1,
}


@dataclass(frozen=True, slots=True)
class DemoSize:
    """How much is made up, and how long the model learns from it."""

    chromosome_bp: int
    region_bp: int
    individuals: int
    steps: int
    warmup: int


WHOLE = DemoSize(chromosome_bp=600_000, region_bp=50_000, individuals=200, steps=900, warmup=50)
# Shows that everything runs: a model of so few steps has learnt nothing.
QUICK = DemoSize(chromosome_bp=60_000, region_bp=20_000, individuals=20, steps=4, warmup=2)


@dataclass(frozen=True, slots=True)
class Demo:
    """Where a demonstration happens, how large it is, and to whom it speaks."""

    out: Path
    of: DemoSize
    seed: int
    workers: str
    say: Say
    display: Display

    def path(self, name: str) -> Path:
        """Give the place of a part."""
        return self.out / name

    @property
    def fasta(self) -> Path:
        """Where the bases are."""
        return self.path("made-up/genome.fa")

    def tell(self, number: int, title: str, command: str, options: Mapping[str, object]) -> None:
        """Say what comes, and how it is typed."""
        given = " ".join(
            f"--{name.replace('_', '-')} {quote(str(value))}" for name, value in options.items()
        )
        self.say(f"{number}. {title}\n   $ cisray {command} {given}")
