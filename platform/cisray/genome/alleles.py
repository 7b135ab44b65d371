"""Alleles of a file of variants, each checked against the reference or rejected with one reason.

Knows what may be wrong with an allele, and keeps the count: every alternative allele of every
record, and every line that cannot be read, is one entry, and each entry is an `Allele` or a
`Reject`. Knows nothing of models, windows or scores.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from os import PathLike
from typing import NamedTuple, Self

from cisray.errors import ConfigError, ResultsError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.mismatch import Mismatch, MismatchWatch
from cisray.genome.normalise import ReferenceText, normalise
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant, interval_at
from cisray.genome.vcf import BadLine, Record, read_records
from cisray_schemas import Reason

_CHROMOSOMES_KEPT = 4096
_SHOWN = 40
_ONE_BASE = frozenset("ACGT")


class Allele(NamedTuple):
    """One alternative allele that agrees with the reference.

    `variant` is what is scored: chromosome in the FASTA's spelling, upper case, and normalised
    unless that was switched off. It is hashable and sorts by (chrom, pos, ref, alt): the key by
    which duplicates are scored once. `chrom`, `pos` (1-based), `id`, `ref` and `alt` are as stated
    in the file.
    """

    record: int
    line: int | None
    alt_index: int
    chrom: str
    pos: int
    id: str
    ref: str
    alt: str
    variant: Variant


class Reject(NamedTuple):
    """One allele, or one line, that is not scored; the fields are columns of the rejects table.

    Of a malformed line `chrom`, `pos`, `ref` and `alt` are None and `alt_index` is 0.
    """

    record: int
    line: int | None
    alt_index: int
    chrom: str | None
    pos: int | None
    id: str
    ref: str | None
    alt: str | None
    reason: Reason
    detail: str


class Tally:
    """Counts of what was read and what became of it; tallies of parts add up to the whole's.

    `records` counts records and malformed lines, `entries` their alternative alleles (one for a
    malformed line), both as they are read; `alleles` and `rejects` count what comes out.
    """

    def __init__(self) -> None:
        self.records = 0
        self.entries = 0
        self.alleles = 0
        self.rejects: Counter[Reason] = Counter()

    def read(self, record: Record | BadLine) -> None:
        """Count a record on its way in."""
        self.records += 1
        self.entries += len(record.alts) if isinstance(record, Record) else 1

    def give(self, entry: Allele | Reject) -> None:
        """Count an entry on its way out."""
        if isinstance(entry, Allele):
            self.alleles += 1
        else:
            self.rejects[entry.reason] += 1

    def __iadd__(self, other: Self) -> Self:
        """Add another part's counts."""
        self.records += other.records
        self.entries += other.entries
        self.alleles += other.alleles
        self.rejects.update(other.rejects)
        return self

    def check(self) -> None:
        """Raise `ResultsError` unless entries in = alleles + rejects."""
        if self.entries != self.alleles + self.rejects.total():
            raise ResultsError(
                f"{self.entries:,} alleles were read, but {self.alleles:,} accepted and "
                f"{self.rejects.total():,} rejected: alleles were lost or doubled. This is a fault "
                "of cisray; nothing of this run should be used."
            )

    def as_dict(self) -> dict[str, int]:
        """Give the counts by name, each reason that occurred by its own, for a manifest."""
        counts = {"records": self.records, "entries": self.entries, "alleles": self.alleles}
        return counts | {str(r): self.rejects[r] for r in Reason if self.rejects[r]}


class _Fault(NamedTuple):
    reason: Reason
    detail: str


class AlleleChecker:
    """Splits the records of one file into alleles and checks each against the reference.

    `file` names the file in messages. `max_allele_bp` is the longest allele, reference or
    alternative, that may pass, measured as it would be scored. Raises `ConfigError` when it is
    below 1.
    """

    def __init__(
        self,
        genome: Genome,
        file: str,
        *,
        max_allele_bp: int,
        normalise: bool = True,
        watch: MismatchWatch | None = None,
    ) -> None:
        if max_allele_bp < 1:
            raise ConfigError(f"max_allele_bp is {max_allele_bp}, but alleles have 1 base or more.")
        self._genome = genome
        self._file = file
        self._reference = ReferenceText(genome)
        self._max_allele_bp = max_allele_bp
        self._normalise = normalise
        self._watch = watch
        self._resolve = lru_cache(_CHROMOSOMES_KEPT)(self._spelling)

    def check(self, record: Record | BadLine) -> list[Allele | Reject]:
        """Give one entry for each alternative allele of the record, in order; one for a bad line.

        Raises `AssemblyMismatch` when the watch has seen enough, and `FastaError`.
        """
        if isinstance(record, BadLine):
            number, line, problem = record
            reason = Reason.MALFORMED_LINE
            return [Reject(number, line, 0, None, None, "", None, None, reason, problem)]
        ref = record.ref.upper()
        place = self._place(record)
        if isinstance(place, _Fault):
            return [_reject(record, index, place) for index in range(len(record.alts))]
        found: str | None = None
        entries: list[Allele | Reject] = []
        for index, stated in enumerate(record.alts):
            alt = stated.upper()
            checked: Variant | _Fault | None = _fault_of_alleles(ref, alt)
            if checked is None:
                # Once for all alleles of a record, so that the watch counts records.
                found = found or self._look_up(record, place, ref)
                checked = self._variant(place, ref, alt, found)
            if isinstance(checked, _Fault):
                entries.append(_reject(record, index, checked))
            else:
                number, line, chrom, pos, known_as, given, _ = record
                entries.append(
                    Allele(number, line, index, chrom, pos, known_as, given, stated, checked)
                )
        return entries

    def finish(self) -> None:
        """End the file; raise `UnknownChromosome` if the watch saw no chromosome of the FASTA."""
        if self._watch is not None:
            self._watch.close(self._file, self._genome.names_shown)

    def _spelling(self, chrom: str) -> str | _Fault:
        try:
            return self._genome.resolve(chrom)
        except UnknownChromosome as error:
            return _Fault(Reason.UNKNOWN_CHROMOSOME, str(error))

    def _place(self, record: Record) -> Interval | _Fault:
        chrom = self._resolve(record.chrom)
        if isinstance(chrom, _Fault):
            if self._watch is not None:
                self._watch.misplace(record.chrom)
            return chrom
        if self._watch is not None:
            self._watch.place()
        place = interval_at(chrom, record.pos, len(record.ref))
        length = self._genome.chromosomes[chrom]
        if place.start < 0 or place.end > length:
            return _Fault(
                Reason.POSITION_OUT_OF_RANGE,
                f"REF has {len(record.ref):,} base(s) from {record.pos:,} on, and {chrom} has the "
                f"positions 1 to {length:,}.",
            )
        return place

    def _look_up(self, record: Record, place: Interval, ref: str) -> str:
        found = self._reference.letters(place)
        if self._watch is not None:
            if found == ref:
                self._watch.agree()
            else:
                self._watch.differ(self._mismatch(record, place, ref, found))
        return found

    def _mismatch(self, record: Record, place: Interval, ref: str, found: str) -> Mismatch:
        where = f":{record.line}" if record.line else f", record {record.record + 1:,}"
        return Mismatch(
            f"{self._file}{where}: {record.chrom}:{record.pos} has REF {_show(ref)}, the FASTA "
            f"{_show(found)}",
            fits_next=self._holds(place.shift(1), ref),
            fits_alt=any(
                self._holds(interval_at(place.chrom, record.pos, len(alt)), alt.upper())
                for alt in record.alts
                if alt
            ),
        )

    def _holds(self, place: Interval, bases: str) -> bool:
        return (
            place.end <= self._genome.chromosomes[place.chrom]
            and self._reference.letters(place) == bases
        )

    def _variant(self, place: Interval, ref: str, alt: str, found: str) -> Variant | _Fault:
        if found != ref:
            return _Fault(
                Reason.REFERENCE_MISMATCH,
                f"REF is {_show(ref)}, but {self._genome.path.name} has {_show(found)} there.",
            )
        variant = Variant.from_start(place.chrom, place.start, ref, alt)
        if self._normalise:
            variant = normalise(variant, self._reference)
        size = max(len(variant.ref), len(variant.alt))
        if size > self._max_allele_bp:
            return _Fault(
                Reason.TOO_LONG,
                f"its longer allele has {size:,} bases, and {self._max_allele_bp:,} is the limit.",
            )
        return variant


def read_alleles(
    path: str | PathLike[str],
    checker: AlleleChecker,
    tally: Tally,
) -> Iterator[Allele | Reject]:
    """Stream the entries of a file of variants, in its order, counting them in `tally`.

    Raises `VariantsError` for a file that cannot be read; where `checker` has a watch,
    `AssemblyMismatch`, and `UnknownChromosome` at the end; and `ResultsError` if an entry was lost.
    """
    return _entries(read_records(path), checker, tally)


def _entries(
    records: Iterator[Record | BadLine], checker: AlleleChecker, tally: Tally
) -> Iterator[Allele | Reject]:
    for record in records:
        tally.read(record)
        for entry in checker.check(record):
            tally.give(entry)
            yield entry
    tally.check()
    checker.finish()


def _fault_of_alleles(ref: str, alt: str) -> _Fault | None:
    """Find what is wrong with upper-case alleles, whatever the reference says."""
    if ref in _ONE_BASE and alt in _ONE_BASE and ref != alt:
        return None
    if alt in ("", "."):
        return _Fault(Reason.MISSING_ALT, "the record has no alternative allele here.")
    if alt == "*":
        return _Fault(Reason.SPANNING_DELETION, "* stands for a deletion of an earlier record.")
    if "[" in alt or "]" in alt or alt[0] == "." or alt[-1] == ".":
        return _Fault(
            Reason.BREAKEND, f"{_show(alt)} joins a distant place, which has no one window."
        )
    if "<" in alt:
        return _Fault(Reason.SYMBOLIC_ALT, f"{_show(alt)} does not say its bases.")
    for name, allele in (("REF", ref), ("ALT", alt)):
        # strip leaves something wherever any letter is another one.
        if allele.strip("ACGT"):
            return _Fault(
                Reason.NON_ACGT_ALLELE,
                f"{name} {_show(allele)} is not made of A, C, G and T alone.",
            )
    if ref == alt:
        return _Fault(Reason.SAME_AS_REFERENCE, f"REF and ALT are both {_show(ref)}.")
    return None


def _reject(record: Record, index: int, fault: _Fault) -> Reject:
    number, line, chrom, pos, known_as, ref, alts = record
    return Reject(number, line, index, chrom, pos, known_as, ref, alts[index], *fault)


def _show(allele: str) -> str:
    more = f"... ({len(allele):,} letters)" if len(allele) > _SHOWN else ""
    return allele[:_SHOWN] + more
