"""Regions of a BED file or a text locus, checked against a genome before work is planned on them.

Knows the first three columns of BED, the name in the fourth, and its comment lines; further columns
are left alone. Every line becomes a region or an error: none is dropped, merged or clipped.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from cisray.errors import RegionsError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.locus import match_chromosome, parse_locus

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_DIGITS = 18  # more than any chromosome has bases
_BED = "BED lines are chrom, start (0-based) and end (not included), separated by tabs"


class Feature(NamedTuple):
    """A line of a BED file: its bases, and the name in the fourth column, empty without one."""

    interval: Interval
    name: str


def _let_pass(_: Interval) -> None:
    """Let every region pass."""


def read_bed(path: str | PathLike[str], genome: Genome) -> list[Interval]:
    """Read the regions of a BED file as `read_features` does, without their names."""
    return [feature.interval for feature in read_features(path, genome)]


def read_mask(path: str | PathLike[str], genome: Genome) -> tuple[list[Interval], int]:
    """Read regions of which those on chromosomes that the FASTA lacks do not matter.

    A published table of gaps has all scaffolds of an assembly, and a FASTA may have fewer. Gives
    the others as `read_bed` does, and how many were left out. Raises RegionsError as `read_bed`
    does, also for a file of which no chromosome is known.
    """
    lacking: list[str] = []
    try:
        features = read_features(path, genome, lacking=lacking)
    except RegionsError as error:
        told = (
            f" All of its {len(lacking):,} lines lie on other chromosomes than {genome.path} has."
        )
        raise RegionsError(f"{error}{told if lacking else ''}") from None
    return [feature.interval for feature in features], len(lacking)


def read_features(
    path: str | PathLike[str],
    genome: Genome,
    *,
    check: Callable[[Interval], None] = _let_pass,
    lacking: list[str] | None = None,
) -> list[Feature]:
    """Read the lines of a BED file, plain or gzip, in file order; chromosomes as the FASTA's.

    Blank lines, comments (#) and `track` and `browser` lines are skipped. Raises `RegionsError`
    with file and line for the first line that is malformed, leaves its chromosome, or of which
    `check` raises one, with the number of further such lines, and for a file without regions.
    With a list `lacking`, lines on chromosomes that the FASTA lacks are put there instead.
    """
    bed = Path(path)
    regions: list[Feature] = []
    problems: list[str] = []
    for number, line in enumerate(text_lines(bed, _BED), start=1):
        if _is_region(line):
            if lacking is not None and _is_lacking(line, genome):
                lacking.append(line)
                continue
            try:
                feature = _parse(line, genome)
                check(feature.interval)
                regions.append(feature)
            except (RegionsError, UnknownChromosome) as error:
                problems.append(f"{bed}:{number}: {error}")
    if problems:
        more = f" ({len(problems) - 1:,} more lines are wrong.)" if len(problems) > 1 else ""
        raise RegionsError(problems[0] + more)
    if not regions:
        raise RegionsError(f"{bed} holds no regions: {_BED}.")
    return regions


def region_of(locus: str, genome: Genome) -> Interval:
    """Read one region from a text locus (1-based inclusive); a bare name is a whole chromosome.

    Raises `LocusError` for text that is none, `UnknownChromosome`, and `RegionsError` for a region
    that leaves its chromosome or has no bases.
    """
    place = parse_locus(locus)
    chrom = genome.resolve(place.chrom)
    end = genome.chromosomes[chrom] if place.end is None else place.end
    try:
        return _checked(chrom, place.start, end, genome)
    except RegionsError as error:
        raise RegionsError(f"the locus {locus!r}: {error}") from error


def text_lines(path: Path, form: str) -> Iterator[str]:
    """Give the lines of a text file, plain or gzip; `form` says for errors what lines should be.

    Raises RegionsError for what is no regular file, unreadable, damaged or no text.
    """
    if path.exists() and not path.is_file():
        raise RegionsError(
            f"{path} is a folder, a pipe or a device, which cannot be read twice: store it in a "
            "file."
        )
    try:
        with path.open("rb") as handle:
            compressed = handle.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        # utf-8-sig: a file saved on Windows may begin with a byte order mark.
        opener = gzip.open if compressed else open
        with opener(path, "rt", encoding="utf-8-sig") as text:
            yield from text
    except OSError as error:
        raise RegionsError(f"cannot read the regions in {path}: {error}.") from error
    except (EOFError, zlib.error) as error:
        raise RegionsError(
            f"{path} is damaged or cut short: {error} Fetch or compress it again."
        ) from error
    except UnicodeDecodeError as error:
        raise RegionsError(f"{path} is not text ({error.reason}): {form}.") from error


def _is_region(line: str) -> bool:
    words = line.split(maxsplit=1)
    return bool(words) and not words[0].startswith("#") and words[0] not in {"track", "browser"}


def _is_lacking(line: str, genome: Genome) -> bool:
    try:
        return match_chromosome(line.split(maxsplit=1)[0], genome.chromosomes) is None
    except UnknownChromosome:
        return False  # it could mean several: an error of the line


def _parse(line: str, genome: Genome) -> Feature:
    line = line.rstrip("\r\n")
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) < 3:
        raise RegionsError(f"{line!r} has {len(columns)} columns: {_BED}.")
    start, end = _integer(columns[1], "start"), _integer(columns[2], "end")
    name = columns[3] if len(columns) > 3 else ""
    return Feature(_checked(genome.resolve(columns[0]), start, end, genome), name)


def _checked(chrom: str, start: int, end: int, genome: Genome) -> Interval:
    length = genome.chromosomes[chrom]
    if start < 0:
        raise RegionsError(f"the start {start} is negative: {_BED}.")
    if end <= start:
        raise RegionsError(f"the region {start} to {end} holds no bases: {_BED}.")
    if end > length:
        raise RegionsError(
            f"the region {start} to {end} leaves {chrom}, which has {length:,} bases in "
            f"{genome.path}: is it of another assembly?"
        )
    return Interval(chrom, start, end)


def _integer(text: str, column: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise RegionsError(
            f"the {column} {text!r} is not a whole number: {_BED}; a line of column names begins "
            "with '#'."
        )
    return int(text)
