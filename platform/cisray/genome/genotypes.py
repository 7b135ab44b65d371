"""Genotypes of people at biallelic variants, out of VCF or BCF: counts of alternative alleles.

Knows columns of genotypes and which entries count; knows nothing of linkage or of traits. Each
alternative allele of the file is one entry, and becomes a `GenotypeRow` or a `LeftOut` with its
reason. Positions are 1-based. Lines of text are read as `cisray.genome.lines` reads them, or
through their index where a region is asked for and an index lies beside; BCF is htslib's.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pysam
from numpy.typing import NDArray

from cisray.errors import VariantsError
from cisray.genome.lines import PYSAM_ERRORS, first_bytes, numbered_lines
from cisray.genome.variant import interval_at
from cisray.locus import Locus, alias_key, match_chromosome

Counts = NDArray[np.int8]

MULTIALLELIC = "more than two alleles"
NOT_BASES = "alleles are not bases"
NO_GENOTYPES = "no genotypes (GT)"
NOT_DIPLOID = "genotypes of other than two copies"
MISSING = "too many genotypes missing"
RARE = "minor allele too rare"
TWICE = "twice in the file"

_SAMPLES_FROM = 9
_UNKNOWN, _OTHER = -1, -2
_BASES = set("ACGT")
_INDICES = (".tbi", ".csi")
_SHOWN = 5


class GenotypeRow(NamedTuple):
    """A variant and how often each of I people has its alternative allele: 0, 1, 2, -1 unknown."""

    chrom: str
    pos: int
    id: str
    ref: str
    alt: str
    counts_I: Counts


class LeftOut(NamedTuple):
    """An entry that does not count, and why."""

    chrom: str
    pos: int
    ref: str
    alt: str
    reason: str


@dataclass(frozen=True, slots=True)
class GenotypeLimits:
    """Which variants count: by the share of the rarer allele, and of people without a genotype."""

    min_maf: float = 0.01
    max_missing: float = 0.1


COMMON = GenotypeLimits()


@dataclass(frozen=True, slots=True, eq=False)
class Genotypes:
    """V variants of I people, and every entry of the file that is not among them."""

    samples: tuple[str, ...]
    rows: tuple[GenotypeRow, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def counts_VI(self) -> Counts:
        """The alternative alleles of every variant and person."""
        if not self.rows:
            return np.empty((0, len(self.samples)), dtype=np.int8)
        return np.stack([row.counts_I for row in self.rows])

    @property
    def read(self) -> int:
        """How many entries the file has, those that do not count included."""
        return len(self.rows) + len(self.left_out)


@dataclass(frozen=True, slots=True)
class GenotypeFile:
    """A VCF or BCF with genotypes of so many people; `kept` are the columns of `samples`."""

    path: Path
    samples: tuple[str, ...]
    limits: GenotypeLimits
    people: int
    kept: tuple[int, ...]

    @classmethod
    def open(
        cls,
        path: Path,
        limits: GenotypeLimits = COMMON,
        samples: Sequence[str] | None = None,
    ) -> "GenotypeFile":
        """Read the header. `samples` chooses people, in the order that is given.

        Raises VariantsError for a file that is none, for one without people, and for people that
        it does not have.
        """
        there = _samples_of(path)
        if not there:
            raise VariantsError(f"{path} has no genotypes: it has no column after FORMAT.")
        wanted = there if samples is None else tuple(samples)
        column = {name: at for at, name in enumerate(there)}
        unknown = [name for name in wanted if name not in column]
        if unknown:
            raise VariantsError(
                f"{path} has no genotypes of {', '.join(unknown[:_SHOWN])} "
                f"({len(unknown):,} of {len(wanted):,} people are missing); it has people such as "
                f"{', '.join(there[:_SHOWN])}."
            )
        kept = tuple(column[name] for name in wanted)
        return cls(path, wanted, limits, len(there), kept)

    def entries(self, region: Locus | None = None) -> Iterator[GenotypeRow | LeftOut]:
        """Give every entry of the file, or of those whose position lies in a region, in order.

        A chromosome may be spelled otherwise than in the file. Raises VariantsError where the file
        is damaged, for a line that is no record, and for records that are not sorted by position
        within a chromosome.
        """
        before: tuple[str, int] = ("", 0)
        seen: set[tuple[str, str]] = set()
        for where, text in _lines(self.path, region):
            columns = text.split("\t")
            place = self._place(columns, where)
            if region is not None and not _within(place, region):
                continue
            if place != before:
                self._require_sorted(before, place, where)
                before, seen = place, set()
            for entry in self._entries_of(place, columns):
                alleles = (entry.ref, entry.alt)
                again = alleles in seen and isinstance(entry, GenotypeRow)
                seen.add(alleles)
                yield LeftOut(*place, *alleles, TWICE) if again else entry

    def read(self, region: Locus | None = None) -> Genotypes:
        """Read the variants of a region, or all, into memory. Raises what `entries` raises."""
        return collect(self.samples, self.entries(region))

    def _place(self, columns: Sequence[str], where: str) -> tuple[str, int]:
        """Give chromosome and 1-based position of a line."""
        expected = _SAMPLES_FROM + self.people
        if len(columns) != expected or not (columns[1].isascii() and columns[1].isdigit()):
            raise VariantsError(
                f"{where}: this is no record of genotypes: it has {len(columns):,} columns where "
                f"the header has {expected:,}, and position {columns[1:2]}. Fetch the file again."
            )
        return columns[0], int(columns[1])

    def _require_sorted(self, before: tuple[str, int], place: tuple[str, int], where: str) -> None:
        if before[0] == place[0] and place[1] < before[1]:
            raise VariantsError(
                f"{where}: position {place[1]:,} of {place[0]} comes after {before[1]:,}: sort the "
                f"file (bcftools sort)."
            )

    def _entries_of(
        self, place: tuple[str, int], columns: Sequence[str]
    ) -> Iterator[GenotypeRow | LeftOut]:
        ref, alts = columns[3].upper(), columns[4].upper().split(",")
        problem = _problem_of_record(ref, alts, columns[8])
        if problem:
            yield from (LeftOut(*place, ref, alt, problem) for alt in alts)
            return
        counts_I = self._counts(columns)
        problem = _problem_of_counts(counts_I, self.limits)
        if problem:
            yield LeftOut(*place, ref, alts[0], problem)
            return
        identifier = "" if columns[2] == "." else columns[2]
        yield GenotypeRow(*place, identifier, ref, alts[0], counts_I)

    def _counts(self, columns: Sequence[str]) -> Counts:
        texts = [columns[_SAMPLES_FROM + at] for at in self.kept]
        if ":" in columns[8]:
            texts = [text.split(":", 1)[0] for text in texts]
        # A file has thousands of these a line: no step of Python's own for each.
        return np.fromiter(map(_KNOWN.__getitem__, texts), dtype=np.int8, count=len(texts))


def collect(samples: Sequence[str], entries: Iterable[GenotypeRow | LeftOut]) -> Genotypes:
    """Put entries into one piece, those that count and the others apart."""
    rows: list[GenotypeRow] = []
    left_out: list[LeftOut] = []
    for entry in entries:
        if isinstance(entry, GenotypeRow):
            rows.append(entry)
        else:
            left_out.append(entry)
    return Genotypes(tuple(samples), tuple(rows), tuple(left_out))


class _Known(dict[str, int]):
    """Texts of genotypes and their counts; one that is new is read and kept."""

    def __missing__(self, text: str) -> int:
        count = _count(text)
        self[text] = count
        return count


def _count(text: str) -> int:
    """Count alternative alleles of a genotype of two copies; half of one known is unknown."""
    alleles = text.strip().replace("|", "/").split("/")
    if text.strip() == ".":
        return _UNKNOWN
    if len(alleles) != 2 or not set(alleles) <= {"0", "1", "."}:
        return _OTHER
    return _UNKNOWN if "." in alleles else sum(allele == "1" for allele in alleles)


_KNOWN = _Known()


def _problem_of_record(ref: str, alts: Sequence[str], layout: str) -> str:
    if len(alts) > 1:
        return MULTIALLELIC
    if not (ref and alts[0] and set(ref) <= _BASES and set(alts[0]) <= _BASES):
        return NOT_BASES
    return "" if layout.split(":", 1)[0] == "GT" else NO_GENOTYPES


def _problem_of_counts(counts_I: Counts, limits: GenotypeLimits) -> str:
    if (counts_I == _OTHER).any():
        return NOT_DIPLOID
    known_I = counts_I[counts_I >= 0]
    if not len(known_I) or 1 - len(known_I) / len(counts_I) > limits.max_missing:
        return MISSING
    share = float(known_I.mean(dtype=np.float64)) / 2
    rarer = min(share, 1 - share)
    # All heterozygous is no variation either.
    alike = int(known_I.min()) == int(known_I.max())
    return RARE if alike or rarer < limits.min_maf else ""


def _within(place: tuple[str, int], region: Locus) -> bool:
    chrom, start = place[0], interval_at(*place, 1).start
    after = region.end is not None and start >= region.end
    return alias_key(chrom) == alias_key(region.chrom) and region.start <= start and not after


def _samples_of(path: Path) -> tuple[str, ...]:
    if first_bytes(path, 3) == b"BCF":
        with _quietly(path) as file:
            return tuple(file.header.samples)
    for _, line in numbered_lines(path):
        if line.startswith(b"#CHROM"):
            return tuple(line.decode("utf-8", "replace").split("\t")[_SAMPLES_FROM:])
        if not line.startswith(b"##"):
            break
    raise VariantsError(
        f"{path} is no VCF or BCF: it has no line #CHROM. Genotypes of people are read from those."
    )


def _lines(path: Path, region: Locus | None) -> Iterator[tuple[str, str]]:
    """Give the records as text, each with its place for messages."""
    if first_bytes(path, 3) == b"BCF":
        yield from ((str(path), text) for text in _bcf_lines(path, region))
    elif region is not None and _has_index(path):
        yield from ((str(path), text) for text in _indexed_lines(path, region))
    else:
        for number, line in numbered_lines(path):
            if line and not line.startswith(b"#") and not line.isspace():
                yield f"{path}:{number}", line.decode("utf-8", "replace")


def _has_index(path: Path) -> bool:
    return any(Path(f"{path}{ending}").is_file() for ending in _INDICES)


def _indexed_lines(path: Path, region: Locus) -> Iterator[str]:
    try:
        with pysam.TabixFile(str(path)) as file:
            chrom = match_chromosome(region.chrom, list(file.contigs))
            if chrom is not None:
                yield from file.fetch(chrom, region.start, region.end)
    except PYSAM_ERRORS as error:
        raise _unreadable(path, error) from error


def _bcf_lines(path: Path, region: Locus | None) -> Iterator[str]:
    file = _quietly(path)
    try:
        if region is None or not _has_index(path):
            yield from (str(record).rstrip("\n") for record in file)
            return
        chrom = match_chromosome(region.chrom, list(file.header.contigs))
        if chrom is not None:
            found = file.fetch(chrom, region.start, region.end)
            yield from (str(record).rstrip("\n") for record in found)
    except PYSAM_ERRORS as error:
        raise _unreadable(path, error) from error
    finally:
        # Closing a file that htslib failed to read fails as well, and would hide why.
        with suppress(OSError):
            file.close()


def _quietly(path: Path) -> "pysam.VariantFile":
    # htslib's remarks about a missing index or undeclared fields are none of the user's concern.
    verbosity = pysam.set_verbosity(0)
    try:
        return pysam.VariantFile(str(path), "rb")
    except PYSAM_ERRORS as error:
        raise _unreadable(path, error) from error
    finally:
        pysam.set_verbosity(verbosity)


def _unreadable(path: Path, error: Exception) -> VariantsError:
    return VariantsError(f"{path} cannot be read as VCF or BCF ({error}): fetch it again.")


def standardised(counts_VI: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give genotypes as columns of mean 0 and length 1 (I, V), and each variant's deviation (V).

    What is unknown takes the variant's mean, hence 0. The deviation is of alternative alleles, over
    I - 1. The product of the columns of two variants is their correlation.
    """
    known_VI = counts_VI >= 0
    values_VI = np.where(known_VI, counts_VI, 0).astype(np.float64)
    mean_V = values_VI.sum(axis=1) / np.maximum(known_VI.sum(axis=1), 1)
    values_VI = np.where(known_VI, values_VI - mean_V[:, None], 0.0)
    length_V = np.sqrt((values_VI**2).sum(axis=1))
    deviation_V = length_V / math.sqrt(max(counts_VI.shape[1] - 1, 1))
    return (values_VI / length_V[:, None]).T, deviation_V


def frequencies(counts_VI: Counts) -> NDArray[np.float64]:
    """Give the share of alternative alleles of each variant, among the genotypes that are known."""
    known_VI = counts_VI >= 0
    share_V: NDArray[np.float64] = np.where(known_VI, counts_VI, 0).sum(axis=1) / (
        2.0 * known_VI.sum(axis=1)
    )
    return share_V
