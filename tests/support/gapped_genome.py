"""A FASTA of three chromosomes whose bases drift in GC content, one of them with a gap of N."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 20
LINE_BP = 60
# Lengths that no tile divides; chrC has a gap wider than a window, as a centromere would be.
CHROMOSOMES = {"chrA": 150_000, "chrB": 61_234, "chrC": 40_001}
GAP = ("chrC", 12_000, 24_000)


def write_genome(fasta: Path) -> None:
    """Write the chromosomes."""
    generator = np.random.default_rng(SEED)
    with fasta.open("w") as handle:
        for chrom, length in CHROMOSOMES.items():
            bases = _random_bases(generator, length)
            if chrom == GAP[0]:
                bases[GAP[1] : GAP[2]] = ord("N")
            handle.write(f">{chrom}\n")
            text = bases.tobytes().decode()
            for first in range(0, length, LINE_BP):
                handle.write(text[first : first + LINE_BP] + "\n")


def _random_bases(generator: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """Draw bases whose GC content wanders between 30 and 60 per cent along the chromosome."""
    gc = 0.45 + 0.15 * np.sin(np.arange(length) / 7_000 + generator.uniform(0, 6))
    strong = generator.random(length) < gc
    either = generator.integers(0, 2, length)
    letters = np.frombuffer(b"ATGC", np.uint8)
    bases: NDArray[np.uint8] = letters[2 * strong + either]
    return bases
