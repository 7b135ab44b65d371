"""Files of variants as records: VCF, BCF, and lists of variants, told apart by their content.

Knows how a record is written and which number and line it has; knows nothing of the reference or of
what its alleles may be. Every line that should be a record becomes a `Record` or a `BadLine`, so
that none is lost and none shifts the others' numbers (docs/decisions/0012).

What a file is, by its text after decompression (plain, gzip or BGZF):

- BCF begins with `BCF`; VCF with `##`, or with the columns `#CHROM`, `POS` and `ID`. After a VCF's
  header every line that is not blank is a record, with as many columns as the line `#CHROM` has.
- Everything else is a list, without a header: blank lines and comments (#) are skipped, and each
  other line is, by its own columns, `chrom pos ref alt [id]` (separated by tabs, or by spaces
  where there is no tab) or one identifier such as `chr1:100:A:G` (`Variant.from_id`).

Positions are 1-based in all of them.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import pysam

from cisray.errors import CoordinateError, VariantsError
from cisray.genome.lines import BYTE_ORDER_MARK, PYSAM_ERRORS, first_bytes, numbered_lines
from cisray.genome.variant import split_id

_SNIFFED = 64
_MAX_DIGITS = 18  # more than any chromosome has bases, and within 64 bits
_VCF_COLUMNS = [b"#CHROM", b"POS", b"ID", b"REF", b"ALT"]
_LIST_TRIED = 20  # lines of a list that may be unreadable before the file is taken for no list
_SHOWN = 60
_LIST = "chrom, pos (1-based), ref, alt and perhaps id, or one identifier such as chr1:100:A:G"


class Record(NamedTuple):
    """One record as the file states it, nothing checked but that it can be read.

    `record` counts from 0 in the file's order, `line` from 1 and is None in BCF; `pos` is 1-based,
    and 0 is possible (VCF's telomere); `id` is empty where the file says `.`.
    """

    record: int
    line: int | None
    chrom: str
    pos: int
    id: str
    ref: str
    alts: tuple[str, ...]


class BadLine(NamedTuple):
    """A line that should be a record and cannot be read; it has a number as records do."""

    record: int
    line: int | None
    problem: str


def read_records(path: str | PathLike[str]) -> Iterator[Record | BadLine]:
    """Stream the records of a file of variants, in its order.

    A file without records, or without any text, gives none. Raises `VariantsError` with file and
    line for a file that is missing, damaged, cut short, or no file of variants; damage beyond the
    first block is met while iterating.
    """
    source = Path(path).expanduser()
    beginning = first_bytes(source, _SNIFFED)
    if beginning.startswith(b"BCF"):
        return _bcf_records(source)
    beginning = beginning.removeprefix(BYTE_ORDER_MARK)
    if beginning.startswith(b"##") or beginning.split()[:3] == _VCF_COLUMNS[:3]:
        return _vcf_records(source)
    return _list_records(source)


def _vcf_records(path: Path) -> Iterator[Record | BadLine]:
    lines = numbered_lines(path)
    num_columns = _read_header(path, lines)
    return _number(lines, lambda line: _vcf_fields(line, num_columns))


def _read_header(path: Path, lines: Iterator[tuple[int, bytes]]) -> int:
    """Read up to the line `#CHROM` and give its number of columns."""
    number = 1
    for number, line in lines:
        if line.startswith(b"##"):
            continue
        columns = line.split(b"\t")
        if columns[: len(_VCF_COLUMNS)] == _VCF_COLUMNS:
            return len(columns)
        raise VariantsError(
            f"{path}:{number}: {_show(line)} stands where a VCF has the line that begins with "
            "#CHROM, POS, ID, REF, ALT, separated by tabs: restore the header."
        )
    raise VariantsError(
        f"{path}:{number}: the file ends within the header of a VCF, before the line #CHROM: it is "
        "cut short. Fetch it again."
    )


_Fields = tuple[str, int, str, str, tuple[str, ...]]


class _Malformed(Exception):
    """What is wrong with one line."""


def _number(
    lines: Iterator[tuple[int, bytes]], fields_of: Callable[[bytes], _Fields]
) -> Iterator[Record | BadLine]:
    record = 0
    for number, line in lines:
        if not line or line.isspace():
            continue
        try:
            yield Record(record, number, *fields_of(line))
        except _Malformed as problem:
            yield BadLine(record, number, f"{problem} The line is {_show(line)}.")
        record += 1


def _vcf_fields(line: bytes, num_columns: int) -> _Fields:
    if line.startswith(b"#"):
        raise _Malformed("A line that begins with # stands among the records.")
    found = line.count(b"\t") + 1
    if found != num_columns:
        raise _Malformed(f"It has {found:,} columns where the header has {num_columns:,}.")
    chrom, pos, identifier, ref, alt = line.split(b"\t", 5)[:5]
    return _fields(chrom, pos, ref, alt, identifier)


def _fields(chrom: bytes, pos: bytes, ref: bytes, alt: bytes, identifier: bytes) -> _Fields:
    """Decode the columns; an allele, a name or a position that is not one is malformed."""
    if not (pos.isdigit() and len(pos) <= _MAX_DIGITS):
        raise _Malformed(f"The position {_show(pos)} is not a whole number.")
    if not (chrom and ref and alt):
        raise _Malformed("The chromosome, the reference or the alternative allele is empty.")
    try:
        name, known_as = chrom.decode("utf-8"), identifier.decode("utf-8")
        alleles, reference = alt.decode("ascii"), ref.decode("ascii")
    except UnicodeDecodeError as error:
        raise _Malformed(f"It is not text: {error.reason}.") from error
    alts = tuple(alleles.split(",")) if "," in alleles else (alleles,)
    return name, int(pos), "" if known_as == "." else known_as, reference, alts


def _list_records(path: Path) -> Iterator[Record | BadLine]:
    lines = ((n, line) for n, line in numbered_lines(path) if not line.lstrip().startswith(b"#"))
    records = _number(lines, _list_fields)
    return _refuse_what_is_no_list(path, records)


def _list_fields(line: bytes) -> _Fields:
    columns = [c.strip() for c in line.split(b"\t")] if b"\t" in line else line.split()
    if len(columns) == 1:
        try:
            chrom, pos, ref, alt = split_id(columns[0].decode("utf-8", "replace"))
        except CoordinateError as error:
            raise _Malformed(f"{error}") from error
        return chrom, pos, "", ref, (alt,)
    if len(columns) not in (4, 5):
        raise _Malformed(f"It has {len(columns):,} columns, not those of a list: {_LIST}.")
    chrom_b, pos_b, ref_b, alt_b, *more = columns
    return _fields(chrom_b, pos_b, ref_b, alt_b, more[0] if more else b".")


def _refuse_what_is_no_list(
    path: Path, records: Iterator[Record | BadLine]
) -> Iterator[Record | BadLine]:
    """Hold the first lines back until one of them can be read."""
    held: list[BadLine] = []
    for record in records:
        if isinstance(record, Record):
            yield from held
            yield record
            yield from records
            return
        held.append(record)
        if len(held) == _LIST_TRIED:
            break
    if held:
        raise VariantsError(
            f"{path}:{held[0].line}: this is no file of variants: it has no header of a VCF, and "
            f"none of its first {len(held)} lines is a variant. {held[0].problem} Restore the "
            f"VCF's header, or give {_LIST}, one a line."
        )


def _bcf_records(path: Path) -> Iterator[Record]:
    # htslib's remarks about a missing index or undeclared fields are none of the user's concern.
    verbosity = pysam.set_verbosity(0)
    try:
        try:
            file = pysam.VariantFile(str(path), "rb", drop_samples=True)
        except PYSAM_ERRORS as error:
            raise VariantsError(
                f"{path} begins as BCF, but cannot be opened: {error}. Fetch it again."
            ) from error
    finally:
        pysam.set_verbosity(verbosity)
    return _iterate_bcf(path, file)


def _iterate_bcf(path: Path, file: "pysam.VariantFile") -> Iterator[Record]:
    record = -1
    try:
        for record, found in enumerate(file):
            alts = tuple(found.alts or (".",))
            ref = found.ref or "."
            yield Record(record, None, found.chrom, found.pos, found.id or "", ref, alts)
    except PYSAM_ERRORS as error:
        raise VariantsError(
            f"{path}, record {record + 2:,}: the file is damaged or cut short there: {error}. "
            "Fetch it again."
        ) from error
    finally:
        # Closing a file that htslib failed to read fails as well, and would hide why.
        with suppress(OSError):
            file.close()


def _show(text: bytes) -> str:
    shown = text[:_SHOWN].decode("utf-8", "backslashreplace")
    return repr(shown) + (f" and {len(text) - _SHOWN:,} bytes more" if len(text) > _SHOWN else "")
