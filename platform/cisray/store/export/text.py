"""Text files, plain or in BGZF with a tabix index.

Knows pysam and Polars; knows nothing of what the lines say.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import polars as pl
import pysam

CELLS = 1 << 19  # turned into text at a time, some 10 MB
TBI_LIMIT_BP = 1 << 29  # a .tbi index reaches no further


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """Open for writing bytes: BGZF where the name ends in .gz, else plain."""
    with pysam.BGZFile(str(path), "wb") if path.suffix == ".gz" else path.open("wb") as stream:
        yield stream


def write_lines(stream: IO[bytes], rows: pl.DataFrame, line: pl.Expr) -> None:
    """Write one line per row, as the expression makes it; a piece of the rows at a time."""
    for piece in rows.iter_slices(max(1, CELLS // rows.width)):
        stream.write(("\n".join(piece.select(line).to_series()) + "\n").encode())


def index_suffix(lengths: Mapping[str, int]) -> Literal[".tbi", ".csi"]:
    """Choose the kind of index: .csi where a chromosome is longer than a .tbi can tell."""
    return ".csi" if max(lengths.values(), default=0) > TBI_LIMIT_BP else ".tbi"


def index_text(path: Path, preset: Literal["vcf", "bed"], lengths: Mapping[str, int]) -> None:
    """Make the tabix index beside a BGZF file. pysam refuses lines that are not sorted."""
    csi = index_suffix(lengths) == ".csi"
    pysam.tabix_index(str(path), preset=preset, csi=csi, force=True, keep_original=True)
