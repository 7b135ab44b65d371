"""The reference genome: bases of a FASTA file by interval, and which of them are known.

Knows chromosomes by the FASTA's own names and lengths, and what a reference base may be; knows
nothing of windows, models or how the file is stored.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cisray.errors import CoordinateError, FastaError, UnknownChromosome, near_matches
from cisray.genome.encode import UNKNOWN, encode
from cisray.genome.fai import Contig, load_index
from cisray.genome.fasta import FastaFile, open_fasta
from cisray.genome.interval import Interval
from cisray.locus import match_chromosome

_STEP_BP = 1 << 22  # bases held as text at a time while a chromosome is read
_ILLEGAL = 255
_NAMES_SHOWN = 8

# IUPAC's letters for DNA. U (RNA), X and the gap signs are refused: a reference that has them is
# not the sequence its coordinates count on.
_LETTERS = b"ACGTRYSWKMBDHVN"
_CODE_OF_BYTE = np.full(256, _ILLEGAL, dtype=np.uint8)
for _byte in _LETTERS + _LETTERS.lower():
    _CODE_OF_BYTE[_byte] = encode(bytes([_byte]))[0]


def _breaks(contig: Contig, start: int, size: int) -> NDArray[np.bool_]:
    """Mark the line breaks that the index foresees in `size` bytes from the base at `start`."""
    breaks = np.zeros(size, dtype=np.bool_)
    first = contig.line_bases - start % contig.line_bases
    for offset in range(contig.line_bytes - contig.line_bases):
        breaks[first + offset :: contig.line_bytes] = True
    return breaks


class Genome:
    """An open FASTA file; a context manager, safe to share between threads.

    Pickling sends the path, and the receiving process opens the file for itself.
    """

    def __init__(
        self, fasta: FastaFile, contigs: Sequence[Contig], sha256: str | None = None
    ) -> None:
        self._fasta = fasta
        self._known_sha256 = sha256
        self._contigs = {contig.name: contig for contig in contigs}
        self.chromosomes: dict[str, int] = {contig.name: contig.length for contig in contigs}

    @classmethod
    def open(cls, path: str | PathLike[str], *, sha256: str | None = None) -> Self:
        """Open a plain or BGZF FASTA file; its .fai is made beside it when there is none.

        The index is checked against the file before anything is read by it, and the .gzi of a BGZF
        file is not needed. `sha256` is for who has just taken the digest: it is believed. Raises
        `FastaError`, each with the file and the remedy.
        """
        fasta = open_fasta(Path(path).expanduser())
        try:
            return cls(fasta, load_index(fasta), sha256)
        except BaseException:
            fasta.close()
            raise

    def close(self) -> None:
        """Close the file; fetching afterwards raises `ValueError`."""
        self._fasta.close()

    def __enter__(self) -> Self:
        """Return the genome itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path], "Genome"], tuple[Path]]:
        """Pickle as the path."""
        return Genome.open, (self.path,)

    def __repr__(self) -> str:
        """Show the path and the number of chromosomes."""
        return f"Genome({str(self.path)!r}, {len(self.chromosomes)} chromosomes)"

    @property
    def path(self) -> Path:
        """Where the FASTA file lies."""
        return self._fasta.path

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the file as stored: a BGZF copy differs from the plain file."""
        return self._known_sha256 or self._fasta.sha256()

    def resolve(self, name: str) -> str:
        """Give the FASTA's spelling of a chromosome name, through the alias table.

        Raises `UnknownChromosome`, which shows what the FASTA has.
        """
        spelling = match_chromosome(name, self.chromosomes)
        if spelling is None:
            raise UnknownChromosome(
                f"{self.path} has no chromosome {name!r}; it has {self.names_shown}."
                f"{near_matches(name, self.chromosomes)}"
            )
        return spelling

    @property
    def names_shown(self) -> str:
        """Name the first chromosomes, and count the others, for a message."""
        names = list(self.chromosomes)
        more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
        return ", ".join(names[:_NAMES_SHOWN]) + more

    def fetch(self, interval: Interval) -> NDArray[np.uint8]:
        """Give the bases as codes_L: A 0, C 1, G 2, T 3, any other IUPAC letter 4; case is ignored.

        Raises `CoordinateError` where the interval leaves the chromosome, `UnknownChromosome`, and
        `FastaError` where the file holds something that is no DNA letter.
        """
        contig = self._contig_of(interval)
        codes_L = np.empty(interval.width, dtype=np.uint8)
        for start in range(interval.start, interval.end, _STEP_BP):
            end = min(start + _STEP_BP, interval.end)
            _, codes_L[start - interval.start : end - interval.start] = self._read(
                contig, start, end
            )
        return codes_L

    def letters(self, interval: Interval) -> bytes:
        """Give the bases as the file has them, letters of either case; raises as `fetch` does."""
        contig = self._contig_of(interval)
        if not interval.width:
            return b""
        return self._read(contig, interval.start, interval.end)[0].tobytes()

    def _contig_of(self, interval: Interval) -> Contig:
        contig = self._contigs[self.resolve(interval.chrom)]
        if interval.start < 0 or interval.end > contig.length:
            raise CoordinateError(
                f"{interval} leaves {contig.name}, which has {contig.length:,} bases in "
                f"{self.path}: check the assembly and the coordinates."
            )
        return contig

    def _read(
        self, contig: Contig, start: int, end: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        first_byte, end_byte = contig.byte_of(start), contig.byte_of(end - 1) + 1
        text = np.frombuffer(self._fasta.read_at(first_byte, end_byte - first_byte), dtype=np.uint8)
        is_break = (text == ord("\n")) | (text == ord("\r"))
        if not np.array_equal(is_break, _breaks(contig, start, text.size)):
            raise FastaError(
                f"{self.path} breaks the lines of {Interval(contig.name, start, end)} elsewhere "
                f"than its index says. Delete {self.path}.fai and run again, and it is made anew."
            )
        letters = text[~is_break]
        codes_L: NDArray[np.uint8] = _CODE_OF_BYTE[letters]
        illegal = np.flatnonzero(codes_L == _ILLEGAL)
        if illegal.size:
            here = int(illegal[0])
            where = Interval(contig.name, start + here, start + here + 1)
            raise FastaError(
                f"{self.path} holds the byte {bytes([letters[here]])!r} at {where}, which is no "
                "IUPAC letter for DNA: the file is damaged or is not a nucleotide FASTA. Fetch it "
                "again."
            )
        return letters, codes_L

    def fetch_padded(self, interval: Interval) -> NDArray[np.uint8]:
        """Give codes_L of an interval that may overhang its chromosome; what is missing is code 4.

        Raises `CoordinateError` when none of its bases lies on the chromosome.
        """
        inside = self._inside(interval)
        if inside is None:
            raise CoordinateError(
                f"no base of {interval} lies on the chromosome, which has "
                f"{self.chromosomes[self.resolve(interval.chrom)]:,} bases in {self.path}."
            )
        before, after = inside.start - interval.start, interval.end - inside.end
        return np.pad(self.fetch(inside), (before, after), constant_values=UNKNOWN)

    def _inside(self, interval: Interval) -> Interval | None:
        length = self.chromosomes[self.resolve(interval.chrom)]
        return interval.intersect(Interval(interval.chrom, 0, length))

    def acgt_count(self, interval: Interval) -> int:
        """Count the bases of an interval that are A, C, G or T and on the chromosome."""
        return int(self.acgt_counts([interval])[0])

    def acgt_counts(self, intervals: Sequence[Interval]) -> NDArray[np.int64]:
        """Count A, C, G and T in each interval, reading each chromosome once.

        Bases off the chromosome do not count. Holds two bytes for each base of the stretch that the
        intervals of one chromosome span, so half a gigabyte for human chr1.
        """
        counts = np.zeros(len(intervals), dtype=np.int64)
        by_chrom: dict[str, list[tuple[int, Interval]]] = {}
        for index, interval in enumerate(intervals):
            inside = self._inside(interval)
            if inside is not None:
                by_chrom.setdefault(inside.chrom, []).append((index, inside))
        for chrom, placed in by_chrom.items():
            span_start = min(inside.start for _, inside in placed)
            span_end = max(inside.end for _, inside in placed)
            is_acgt = self.fetch(Interval(chrom, span_start, span_end)) < UNKNOWN
            for index, inside in placed:
                known = is_acgt[inside.start - span_start : inside.end - span_start]
                counts[index] = np.count_nonzero(known)
        return counts
