"""Small FASTA files for the genome tests: plain, and BGZF in blocks of a chosen size."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from Bio import bgzf

FastaMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def make_fasta(tmp_path_factory: pytest.TempPathFactory) -> FastaMaker:
    """Write sequences to a FASTA file in a folder of its own; `block` makes it BGZF."""
    numbers = count()

    def make(
        sequences: dict[str, str], *, line: int = 60, newline: str = "\n", block: int | None = None
    ) -> Path:
        folder = tmp_path_factory.mktemp(f"fasta{next(numbers)}")
        text = "".join(
            f">{name} a description{newline}"
            + "".join(bases[i : i + line] + newline for i in range(0, len(bases), line))
            for name, bases in sequences.items()
        ).encode("ascii")
        if block is None:
            path = folder / "genome.fa"
            path.write_bytes(text)
            return path
        path = folder / "genome.fa.gz"
        write_bgzf(path, text, block)
        return path

    return make


def write_bgzf(path: Path, text: bytes, block: int) -> None:
    with bgzf.BgzfWriter(str(path)) as writer:
        for start in range(0, len(text), block):
            writer.write(text[start : start + block])
            writer.flush()
