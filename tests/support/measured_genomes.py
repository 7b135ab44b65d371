"""A small genome with bigWig files and tables of targets, for building datasets."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pybigtools

Entry = tuple[str, int, int, float]
LENGTHS = {"chr1": 3_000, "chr2": 2_000}


def write_fasta(path: Path, lengths: Mapping[str, int] = LENGTHS, seed: int = 1) -> Path:
    """Random bases; chr2 begins with 900 N."""
    rng = np.random.default_rng(seed)
    text = ""
    for chrom, length in lengths.items():
        bases = "".join(rng.choice(list("ACGT"), length))
        if chrom.endswith("2"):
            bases = "N" * 900 + bases[900:]
        text += f">{chrom}\n{bases}\n"
    path.write_text(text)
    return path


def write_bigwig(
    path: Path, entries: Iterable[Entry], lengths: Mapping[str, int] = LENGTHS
) -> Path:
    """A bigWig of these entries, sorted."""
    pybigtools.open(str(path), "w").write(dict(lengths), iter(sorted(entries)))
    return path


def steps(lengths: Mapping[str, int] = LENGTHS, factor: float = 1.0) -> list[Entry]:
    """A value for every 10 bases, all different: any shift by a base changes some sums."""
    return [
        (chrom, first, min(first + 10, length), factor * (1 + (first // 10 * 7) % 31))
        for chrom, length in lengths.items()
        for first in range(0, length, 10)
    ]


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """A table of targets; each row gives file and what differs from the defaults."""
    columns = ["index", "identifier", "file", "clip", "clip_soft", "scale", "sum_stat"]
    lines = ["\t".join([*columns, "description"])]
    for index, row in enumerate(rows):
        full = {"index": index, "identifier": f"E{index}", "scale": 1, "sum_stat": "sum", **row}
        lines.append("\t".join([*(str(full.get(c, "")) for c in columns), f"CHIP:track {index}"]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_sequences(path: Path, rows: Iterable[tuple[str, int, int, str]]) -> Path:
    """A BED file with a split."""
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path
