"""Alignments between two genomes, from UCSC's net and chain files.

Knows both formats, and which genome of a file is which; knows nothing of splits. A fill of a net,
or a chain, is one alignment: the stretch it spans in either genome, gaps within included. Both
formats are described at genome.ucsc.edu/goldenPath/help (net.html, chain.html).
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from cisray.errors import SyntenyError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

Levels = Literal["all", "top"]
_GZIP_MAGIC = b"\x1f\x8b"
_FILL_COLUMNS = 7  # fill, start, size, and of the other genome chrom, strand, start, size
_CHAIN_COLUMNS = 12
_MENDED = "Fetch it again, or see that it is of these two genomes, the first of them named first."


class Alignment(NamedTuple):
    """A stretch of the first genome and the stretch of the second that is aligned to it."""

    first: Interval
    second: Interval

    @property
    def size(self) -> int:
        """Give the bases of the shorter side."""
        return min(self.first.width, self.second.width)


def read_alignments(
    path: Path, first: Genome, second: Genome, *, levels: Levels = "all"
) -> list[Alignment]:
    """Read every alignment of a net or chain file, plain or gzip, in the file's order.

    `first` is the genome that the file calls target and `second` the query. With `levels` "top"
    only the outermost fills of a net count, as in Basenji; otherwise those in gaps of others as
    well. Chromosomes that a FASTA does not have are left out: assemblies differ in their
    unplaced contigs. Raises SyntenyError with file and line for what is malformed, or does not fit
    the genomes, and for a file without alignments.
    """
    lines = enumerate(_lines(path), start=1)
    opening = next(((number, line) for number, line in lines if _counts(line)), (0, ""))
    readers: dict[str, _Reader] = {
        "net": _Net(first, second, levels),
        "chain": _Chain(first, second),
    }
    reader = readers.get(opening[1].split(" ", 1)[0])
    if reader is None:
        raise SyntenyError(
            f"{path}:{opening[0]}: {opening[1][:60]!r} begins neither a net nor a chain file. "
            f"{_MENDED}"
        )
    found: list[Alignment] = []
    for number, line in _chained(opening, lines):
        try:
            alignment = reader.read(line)
        except (SyntenyError, ValueError) as error:
            raise SyntenyError(f"{path}:{number}: {error} {_MENDED}") from None
        if alignment is not None:
            found.append(alignment)
    if not found:
        raise SyntenyError(
            f"{path} has no alignment between chromosomes of {first.path} and {second.path}. "
            f"{_MENDED}"
        )
    return found


class _Reader(Protocol):
    def read(self, line: str) -> Alignment | None:
        """Read a line that is not blank; None where it holds no alignment."""


class _Net:
    """Fills of a net: a line that names a chromosome, then indented lines of its fills and gaps."""

    def __init__(self, first: Genome, second: Genome, levels: Levels) -> None:
        self._first, self._second, self._levels = first, second, levels
        self._chrom: str | None = None

    def read(self, line: str) -> Alignment | None:
        words = line.split()
        if words[0] == "net":
            if len(words) < 3:
                raise SyntenyError(f"{line!r} is no line `net CHROM SIZE`.")
            self._chrom = _known(self._first, words[1], int(words[2]))
            return None
        if words[0] not in ("fill", "gap"):
            raise SyntenyError(f"{line[:60]!r} is neither a net, a fill nor a gap.")
        is_top = line.startswith(" ") and not line.startswith("  ")
        if words[0] == "gap" or (self._levels == "top" and not is_top):
            return None
        if len(words) < _FILL_COLUMNS:
            raise SyntenyError(f"{line[:60]!r} has fewer than {_FILL_COLUMNS} columns.")
        other = _known(self._second, words[3], None)
        if self._chrom is None or other is None:
            return None
        start, size, other_start, other_size = map(int, (words[1], words[2], words[5], words[6]))
        # A net counts from the beginning of either chromosome, whatever the strand.
        return Alignment(
            _inside(self._first, self._chrom, start, start + size),
            _inside(self._second, other, other_start, other_start + other_size),
        )


class _Chain:
    """Headers of chains; the lines of their blocks are passed over."""

    def __init__(self, first: Genome, second: Genome) -> None:
        self._first, self._second = first, second

    def read(self, line: str) -> Alignment | None:
        words = line.split()
        if words[0] != "chain":
            if not (words[0].isascii() and words[0].isdigit()):
                raise SyntenyError(f"{line[:60]!r} is neither a chain nor a block of one.")
            return None
        if len(words) < _CHAIN_COLUMNS:
            raise SyntenyError(f"{line[:60]!r} has fewer than {_CHAIN_COLUMNS} columns.")
        chrom = _known(self._first, words[2], int(words[3]))
        other = _known(self._second, words[7], int(words[8]))
        if chrom is None or other is None:
            return None
        start, end, other_start, other_end = map(int, (words[5], words[6], words[10], words[11]))
        if words[4] == "-":
            start, end = int(words[3]) - end, int(words[3]) - start
        if words[9] == "-":
            # A chain counts from the beginning of the strand that is aligned.
            other_start, other_end = int(words[8]) - other_end, int(words[8]) - other_start
        return Alignment(
            _inside(self._first, chrom, start, end),
            _inside(self._second, other, other_start, other_end),
        )


def _known(genome: Genome, name: str, size: int | None) -> str | None:
    """Give the FASTA's name of a chromosome, None where it has none; check its length."""
    try:
        chrom = genome.resolve(name)
    except UnknownChromosome:
        return None
    length = genome.chromosomes[chrom]
    if size is not None and length != size:
        raise SyntenyError(
            f"{name} has {size:,} bases here and {length:,} in {genome.path}: another assembly?"
        )
    return chrom


def _inside(genome: Genome, chrom: str, start: int, end: int) -> Interval:
    if not 0 <= start < end <= genome.chromosomes[chrom]:
        raise SyntenyError(
            f"{start:,} to {end:,} (0-based) does not lie on {chrom}, which has "
            f"{genome.chromosomes[chrom]:,} bases in {genome.path}."
        )
    return Interval(chrom, start, end)


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _chained(
    opening: tuple[int, str], lines: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, str]]:
    yield opening
    yield from ((number, line) for number, line in lines if _counts(line))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as handle:
            compressed = handle.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        opener = gzip.open if compressed else open
        with opener(path, "rt", encoding="ascii") as text:
            yield from (line.rstrip("\r\n") for line in text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SyntenyError(f"{path} cannot be read: {error}. {_MENDED}") from error
