"""The .fai index of a FASTA file: made when missing, and believed only where it fits.

Knows where each sequence's bases lie in the file's text. An index that exists is never rewritten:
it is somebody's file, and other programs may be reading it. Instead each start and end that it
states is compared with the FASTA itself, so that a stale index is an error and not a shift.
"""

import os
import re
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from pyfaidx import Faidx, FastaIndexingError

from cisray.errors import FastaError
from cisray.genome.fasta import FastaFile

_NUM_COLUMNS = 5
_LONGEST_HEADER = 1 << 20
_BETWEEN = re.compile(rb"[\r\n]*>[ \t]*(\S+)[^\n]*(?:\n|\Z)")


@dataclass(frozen=True, slots=True)
class Contig:
    """One line of the index; `offset` is the byte of the first base, lines are equally long."""

    name: str
    length: int
    offset: int
    line_bases: int
    line_bytes: int

    def byte_of(self, position: int) -> int:
        """Give the byte, in the file's text, of the base at a 0-based position."""
        line, within = divmod(position, self.line_bases)
        return self.offset + line * self.line_bytes + within

    @property
    def end_byte(self) -> int:
        """The byte after the last base."""
        return self.byte_of(self.length - 1) + 1 if self.length else self.offset


def load_index(fasta: FastaFile) -> list[Contig]:
    """Read the index beside a FASTA file, in the file's order, making it first when there is none.

    Raises `FastaError` when the index is malformed, does not fit the file, or cannot be written.
    """
    path = index_path(fasta.path)
    if not path.exists():
        _build(fasta)
    contigs = _parse(path)
    _check_fit(contigs, fasta)
    return contigs


def index_path(fasta: Path) -> Path:
    """Name the index of a FASTA file, as samtools does.

    >>> index_path(Path("hg38.fa")).name
    'hg38.fa.fai'
    """
    return fasta.with_name(fasta.name + ".fai")


def _build(fasta: FastaFile) -> None:
    """Index with pyfaidx in a folder of our own, then publish the result in one step.

    pyfaidx chooses its reader by the file's ending and writes beside the file in place; the link
    gives it the ending it needs and keeps two processes from meeting in a half-written index.
    """
    path = fasta.path
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".cisray-fai-") as folder:
            link = Path(folder) / ("sequence.fa.gz" if fasta.compressed else "sequence.fa")
            link.symlink_to(path.resolve())
            Faidx(str(link)).close()
            # The .gzi that pyfaidx makes as well goes with the folder: nothing here needs it.
            os.replace(index_path(link), index_path(path))
    except (FastaIndexingError, ValueError, RuntimeError, zlib.error) as error:
        reason = " ".join(str(error).replace(str(link), str(path)).split()).rstrip(".")
        raise FastaError(
            f"cannot index {path}: {reason}. Every sequence needs a name of its own and lines of "
            "equal length; mend the file, with `seqkit seq -w 60` for instance."
        ) from error
    except OSError as error:
        raise FastaError(
            f"{path} has no index, and none can be written beside it ({error.strerror or error}): "
            f"run `samtools faidx {path}` with the right to write there, or copy the FASTA to a "
            "folder of your own."
        ) from error


def _misfit(path: Path, reason: str) -> FastaError:
    return FastaError(
        f"the index {path} does not fit its FASTA: {reason}. Either the FASTA is truncated or "
        "damaged (fetch it again), or the index is of another file: then delete the index and run "
        "again, and it is made anew."
    )


def _parse(path: Path) -> list[Contig]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FastaError(f"cannot read the index {path}: {error}.") from error
    contigs: dict[str, Contig] = {}
    for number, line in enumerate(lines, start=1):
        contig = _parse_line(line)
        if contig is None:
            raise FastaError(
                f"{path}:{number}: {line!r} is not a line of a FASTA index (name, length, offset, "
                "bases and bytes of a line, separated by tabs): the index is malformed or "
                "truncated. Delete it and run again, and it is made anew."
            )
        if contig.name in contigs:
            raise FastaError(
                f"{path}:{number}: the sequence {contig.name!r} is there twice: rename one of the "
                "two in the FASTA, then delete the index and run again."
            )
        contigs[contig.name] = contig
    if not any(contig.length for contig in contigs.values()):
        raise _misfit(path, "it lists no sequence with any bases")
    return sorted(contigs.values(), key=lambda contig: contig.offset)


def _parse_line(line: str) -> Contig | None:
    name, *fields = line.split("\t")
    numeric = all(field.isascii() and field.isdigit() for field in fields)
    if not name or not numeric or len(fields) != _NUM_COLUMNS - 1:
        return None
    length, offset, line_bases, line_bytes = map(int, fields)
    if not line_bases <= line_bytes <= line_bases + 2 or (length and not line_bases):
        return None
    if length > line_bases == line_bytes:
        return None
    return Contig(name, length, offset, line_bases, line_bytes)


def _check_fit(contigs: list[Contig], fasta: FastaFile) -> None:
    """Compare the text between every two sequences with the name that the index gives there.

    Together the stretches between and the sequences make up the whole file, so an index that
    passes can differ from the file only in where lines break, which fetches compare.
    """
    path = index_path(fasta.path)
    end = 0
    for contig in contigs:
        if contig.end_byte > fasta.size:
            raise _misfit(
                path,
                f"it has {contig.name} end at byte {contig.end_byte:,} of the text, which has "
                f"{fasta.size:,}",
            )
        gap = contig.offset - end
        header = _BETWEEN.fullmatch(fasta.read_at(end, gap)) if 0 < gap <= _LONGEST_HEADER else None
        if header is None or header[1] != contig.name.encode():
            raise _misfit(path, f"the line that names {contig.name} is not where the index has it")
        end = contig.end_byte
        # An index that is a base too long takes the line break for a base.
        if contig.length and fasta.read_at(end - 1, 1).isspace():
            raise _misfit(path, f"{contig.name} is shorter than the index has it")
    rest = fasta.size - end
    if rest > _LONGEST_HEADER or fasta.read_at(end, rest).strip():
        raise _misfit(path, f"the file goes on after {contigs[-1].name}, where the index ends")
