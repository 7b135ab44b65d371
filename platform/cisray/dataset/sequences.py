"""The sequences that become examples: a BED file with a column that names the set.

Knows BED and what a genome says of a window; knows nothing of targets. Every line is an example,
or is dropped for a reason that is told, or an error: rows in = examples + dropped.
"""

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from cisray.errors import RegionsError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Window, WindowSpec
from cisray_schemas.training_examples import DROPPED_SEQUENCES, Dropped

_GZIP_MAGIC = b"\x1f\x8b"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FORM = "lines are chrom, start (0-based), end (not included) and split, separated by tabs"


@dataclass(frozen=True, slots=True)
class Sequence:
    """One row: its window as stated, the set it belongs to, and its line, 1-based."""

    interval: Interval
    split: str
    line: int


@dataclass(frozen=True, slots=True)
class Sequences:
    """The rows of a file: those that become examples, in order, and those that do not."""

    kept: tuple[Sequence, ...]
    dropped: pa.Table

    @property
    def total(self) -> int:
        """Count the rows that came in."""
        return len(self.kept) + int(self.dropped.num_rows)

    @property
    def sha256(self) -> str:
        """Digest of the rows, kept and dropped."""
        digest = hashlib.sha256(self.to_bed().encode())
        digest.update(repr(self.dropped.to_pylist()).encode())
        return digest.hexdigest()

    @property
    def dropped_by_reason(self) -> dict[str, int]:
        """Count the dropped rows of each reason."""
        return dict(sorted(Counter(self.dropped["reason"].to_pylist()).items()))

    def of(self, split: str) -> list[Interval]:
        """Give the windows of one set, in order."""
        return [row.interval for row in self.kept if row.split == split]

    def to_bed(self) -> str:
        """Write the kept rows as BED: chrom, start, end, split."""
        rows = ((row.interval, row.split) for row in self.kept)
        return "".join(f"{i.chrom}\t{i.start}\t{i.end}\t{split}\n" for i, split in rows)


def read_sequences(path: Path, width_bp: int | None = None) -> list[Sequence]:
    """Read the rows of a BED file with a split in the fourth column, plain or gzip, in file order.

    Blank lines and comments (#) are skipped; a start may be negative. Raises RegionsError with
    file and line for a line that cannot be read, is not `width_bp` wide, or is there twice.
    """
    rows: list[Sequence] = []
    seen: dict[Interval, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        row = _parse(line, number, path)
        if width_bp is not None and row.interval.width != width_bp:
            raise RegionsError(
                f"{path}:{number}: the sequence {row.interval} has {row.interval.width:,} bases; "
                f"this dataset takes {width_bp:,}. Is it the file of another model?"
            )
        if row.interval in seen:
            raise RegionsError(
                f"{path}:{number}: the sequence {row.interval} is in line {seen[row.interval]} "
                f"already: each is an example of one set."
            )
        seen[row.interval] = number
        rows.append(row)
    if not rows:
        raise RegionsError(f"{path} holds no sequences: {_FORM}.")
    return rows


def place_sequences(
    rows: Iterable[Sequence], genome: Genome, spec: WindowSpec, source: Path
) -> Sequences:
    """Decide which rows become examples; chromosomes are spelled as the FASTA does.

    An input may overhang its chromosome, where it is padded; a target may not, since there is
    nothing to measure. Rows without any A, C, G or T are no examples either. Raises RegionsError
    with the line for a chromosome that the genome lacks, and if no row is left.
    """
    placed = [_resolved(row, genome, source) for row in rows]
    reasons = [_leaves(row, genome, spec) for row in placed]
    inside = [row for row, reason in zip(placed, reasons, strict=True) if reason is None]
    known = dict(zip((row.line for row in inside), _known(inside, genome), strict=True))
    kept, dropped = [], []
    for row, reason in zip(placed, reasons, strict=True):
        if reason is not None:
            dropped.append(_told(row, Dropped.TARGET_LEAVES_CHROMOSOME, reason))
        elif known[row.line] == 0:
            dropped.append(_told(row, Dropped.NO_KNOWN_BASE, "the input has none of A, C, G, T"))
        else:
            kept.append(row)
    if not kept:
        raise RegionsError(
            f"{source}: none of its {len(placed):,} sequences can be an example, the first because "
            f"{dropped[0]['detail']}. Is it of another assembly or model?"
        )
    return Sequences(tuple(kept), pa.Table.from_pylist(dropped, schema=DROPPED_SEQUENCES.schema))


def _known(rows: list[Sequence], genome: Genome) -> list[int]:
    counts: list[int] = genome.acgt_counts([row.interval for row in rows]).tolist()
    return counts


def _resolved(row: Sequence, genome: Genome, source: Path) -> Sequence:
    try:
        chrom = genome.resolve(row.interval.chrom)
    except UnknownChromosome as error:
        raise RegionsError(f"{source}:{row.line}: {error}") from error
    return Sequence(Interval(chrom, row.interval.start, row.interval.end), row.split, row.line)


def _leaves(row: Sequence, genome: Genome, spec: WindowSpec) -> str | None:
    """Say how a target leaves its chromosome, None where it does not."""
    target = window_of(row.interval, spec).target
    length = genome.chromosomes[row.interval.chrom]
    if target.start < 0 or target.end > length:
        return f"its target {target} leaves {target.chrom}, which has {length:,} bases"
    return None


def window_of(interval: Interval, spec: WindowSpec) -> Window:
    """Give the window whose input is `interval`; raises CoordinateError for another width."""
    target = Interval(interval.chrom, interval.start + spec.crop_bp, interval.end - spec.crop_bp)
    return Window(input=interval, target=target, bin_bp=spec.bin_bp)


def _told(row: Sequence, reason: Dropped, detail: str) -> dict[str, Any]:
    place = row.interval
    return {
        "line": row.line,
        "chrom": place.chrom,
        "start": place.start,
        "end": place.end,
        "split": row.split,
        "reason": str(reason),
        "detail": detail,
    }


def _parse(line: str, number: int, path: Path) -> Sequence:
    cells = line.rstrip("\r\n").split("\t")
    try:
        chrom, start, end, split = cells[0], int(cells[1]), int(cells[2]), cells[3]
    except (IndexError, ValueError):
        raise RegionsError(f"{path}:{number}: {line.strip()!r} cannot be read: {_FORM}.") from None
    if not chrom or end <= start or not _NAME.fullmatch(split):
        raise RegionsError(
            f"{path}:{number}: {line.strip()!r} is no sequence with a set: {_FORM}; a set is a "
            f"word such as train."
        )
    return Sequence(Interval(chrom, start, end), split, number)


def _lines(path: Path) -> Iterator[str]:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        yield from content.decode("utf-8-sig").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RegionsError(f"cannot read the sequences in {path}: {error}.") from error
