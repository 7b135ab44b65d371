"""Alignments between two genomes, from UCSC's net and chain files.

Knows both formats, and which genome of a file is which; knows nothing of splits. A fill of a net,
or a chain, is one alignment: the stretch it spans in either genome, gaps within included. Both
formats are described at genome.ucsc.edu/goldenPath/help (net.html, chain.html).
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

from cisray.dataset.alignments import Alignment, Alignments, Columns
from cisray.errors import SyntenyError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.locus import match_chromosome

Levels = Literal["all", "top"]
_GZIP_MAGIC = b"\x1f\x8b"
_FILL_COLUMNS = 7  # fill, start, size, and of the other genome chrom, strand, start, size
_CHAIN_COLUMNS = 12
_MENDED = "Fetch it again, or see that it is of these two genomes, the first of them named first."


def read_alignments(
    path: Path, first: Genome, second: Genome, *, levels: Levels = "all"
) -> Alignments:
    """Read every alignment of a net or chain file, plain or gzip, in the file's order.

    `first` is the genome that the file calls target and `second` the query. With `levels` "top"
    only the outermost fills of a net count, as in Basenji; otherwise those in gaps of others as
    well. Chromosomes that a FASTA does not have are left out, since assemblies differ in their
    unplaced contigs, and counted by name. Raises SyntenyError with file and line for what is
    malformed, or does not fit the genomes, and for a file without alignments.
    """
    lines = enumerate(_lines(path), start=1)
    opening = next(((number, line) for number, line in lines if _counts(line)), (0, ""))
    into = Columns()
    names = _Names(first), _Names(second)
    readers: dict[str, _Reader] = {"net": _Net(*names, into, levels), "chain": _Chain(*names, into)}
    reader = readers.get(opening[1].split(maxsplit=1)[0] if opening[1] else "")
    if reader is None:
        raise SyntenyError(
            f"{path}:{opening[0]}: {opening[1][:60]!r} begins neither a net nor a chain file. "
            f"{_MENDED}"
        )
    for number, line in _chained(opening, lines):
        try:
            reader.read(line)
        except (SyntenyError, UnknownChromosome, ValueError) as error:
            raise SyntenyError(f"{path}:{number}: {error} {_MENDED}") from None
    found = into.done()
    if not len(found):
        raise SyntenyError(
            f"{path} has no alignment between chromosomes of {first.path} and {second.path}. "
            f"{_MENDED}"
        )
    return found


class _Reader(Protocol):
    def read(self, line: str) -> None:
        """Read a line that is not blank."""


class _Names:
    """Chromosomes of a FASTA by the names of a file, each looked up once."""

    def __init__(self, genome: Genome) -> None:
        self._genome = genome
        self._known: dict[str, str | None] = {}

    def known(self, name: str, size: int | None = None) -> str | None:
        """Give the FASTA's name of a chromosome, None where it has none; check its length."""
        if name not in self._known:
            self._known[name] = match_chromosome(name, self._genome.chromosomes)
        chrom = self._known[name]
        if chrom is None or size is None:
            return chrom
        length = self._genome.chromosomes[chrom]
        if length != size:
            raise SyntenyError(
                f"{name} has {size:,} bases here and {length:,} in {self._genome.path}: another "
                f"assembly?"
            )
        return chrom

    def inside(self, chrom: str, start: int, end: int) -> Interval:
        """Give a stretch that lies on its chromosome."""
        length = self._genome.chromosomes[chrom]
        if not 0 <= start < end <= length:
            raise SyntenyError(
                f"{start:,} to {end:,} (0-based) does not lie on {chrom}, which has {length:,} "
                f"bases in {self._genome.path}."
            )
        return Interval(chrom, start, end)


class _Net:
    """Fills of a net: a line that names a chromosome, then indented lines of its fills and gaps."""

    def __init__(self, first: _Names, second: _Names, into: Columns, levels: Levels) -> None:
        self._first, self._second, self._into, self._levels = first, second, into, levels
        self._name = ""
        self._chrom: str | None = None

    def read(self, line: str) -> None:
        words = line.split()
        if words[0] == "net":
            if len(words) < 3:
                raise SyntenyError(f"{line!r} is no line `net CHROM SIZE`.")
            self._name, self._chrom = words[1], self._first.known(words[1], int(words[2]))
            return
        if words[0] not in ("fill", "gap"):
            raise SyntenyError(f"{line[:60]!r} is neither a net, a fill nor a gap.")
        is_top = line.startswith(" ") and not line.startswith("  ")
        if words[0] == "gap" or (self._levels == "top" and not is_top):
            return
        if len(words) < _FILL_COLUMNS:
            raise SyntenyError(f"{line[:60]!r} has fewer than {_FILL_COLUMNS} columns.")
        _check_strand(words[4])
        other = self._second.known(words[3])
        start, size, other_start, other_size = map(int, (words[1], words[2], words[5], words[6]))
        if self._chrom is None or other is None:
            lacking = self._name if self._chrom is None else words[3]
            self._into.leave_out(lacking, min(size, other_size))
            return
        # A net counts from the beginning of either chromosome, whatever the strand.
        self._into.add(
            Alignment(
                self._first.inside(self._chrom, start, start + size),
                self._second.inside(other, other_start, other_start + other_size),
            )
        )


class _Chain:
    """Headers of chains; the lines of their blocks are passed over."""

    def __init__(self, first: _Names, second: _Names, into: Columns) -> None:
        self._first, self._second, self._into = first, second, into

    def read(self, line: str) -> None:
        words = line.split()
        if words[0] != "chain":
            if not (words[0].isascii() and words[0].isdigit()):
                raise SyntenyError(f"{line[:60]!r} is neither a chain nor a block of one.")
            return
        if len(words) < _CHAIN_COLUMNS:
            raise SyntenyError(f"{line[:60]!r} has fewer than {_CHAIN_COLUMNS} columns.")
        chrom = self._first.known(words[2], int(words[3]))
        other = self._second.known(words[7], int(words[8]))
        start, end = _from_the_beginning(words[3:7])
        other_start, other_end = _from_the_beginning(words[8:12])
        if chrom is None or other is None:
            lacking = words[2] if chrom is None else words[7]
            self._into.leave_out(lacking, min(end - start, other_end - other_start))
            return
        self._into.add(
            Alignment(
                self._first.inside(chrom, start, end),
                self._second.inside(other, other_start, other_end),
            )
        )


def _from_the_beginning(words: Sequence[str]) -> tuple[int, int]:
    """Read size, strand, start and end of a chain's side, which count from the strand's start."""
    size, start, end = int(words[0]), int(words[2]), int(words[3])
    _check_strand(words[1])
    return (start, end) if words[1] == "+" else (size - end, size - start)


def _check_strand(text: str) -> None:
    if text not in ("+", "-"):
        raise SyntenyError(f"{text!r} stands where a strand must, + or -.")


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
