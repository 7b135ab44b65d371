"""A watch on alleles that do not fit the FASTA, which stops a run on the wrong assembly or names.

Knows how many mismatches are too many, and how soon that is certain; knows nothing of records. A
few mismatches are rejects; many mean that the scores of the others are nonsense as well, since one
base in four agrees by chance. Chromosomes that the FASTA lacks harm nobody else, so that one that
it has is enough.
"""

from math import log
from typing import NamedTuple

from cisray.errors import AssemblyMismatch, ConfigError, UnknownChromosome

_FALSE_ALARM = 1e-6
_WRONG_RATE = 0.5  # the mismatch rate of the alternative hypothesis; a wrong assembly has about 0.7
_EXAMPLES = 3
_MOST = 0.9


class Mismatch(NamedTuple):
    """One record whose REF is not what the FASTA holds, in words, and what would explain it.

    `fits_next`: REF stands one base further on, as when positions are 0-based. `fits_alt`: the
    FASTA holds an alternative allele, as when the alleles are swapped.
    """

    text: str
    fits_next: bool
    fits_alt: bool


class MismatchWatch:
    """Counts records that agree with the FASTA and that differ, and raises when too many differ.

    The rule: stop when more than `limit` of at least `after` records differ; and, however few there
    are, as soon as a sequential probability ratio test (Wald 1945) of a rate of `limit` against one
    half is decided, with at most one false alarm in a million files whose records differ
    independently at that rate. With a limit of 0.05, 6 mismatches and no match decide it, since
    (0.5 / 0.05)^6 = 10^6. A limit of 0.5 or more leaves out the test; a limit of 1 never stops.

    A file that has no record on a chromosome of the FASTA is judged by the same rule, as if all of
    them differed; at its end, as it may begin with chromosomes that a FASTA of one does not have.
    Raises `ConfigError`.
    """

    def __init__(self, *, limit: float = 0.05, after: int = 1000) -> None:
        if not (0 < limit <= 1 and after >= 1):
            raise ConfigError(
                f"the limit on mismatches is {limit} after {after} records: it is a share above 0 "
                "and up to 1 (which never stops), after 1 record or more."
            )
        self.limit = limit
        self.after = after
        self.compared = 0
        self.differing = 0
        self._fits_next = 0
        self._fits_alt = 0
        self._examples: list[str] = []
        self._placed = False
        self._misplaced = 0
        self._strangers: dict[str, None] = {}

    def place(self) -> None:
        """Take note of a record on a chromosome that the FASTA has."""
        self._placed = True

    def misplace(self, chrom: str) -> None:
        """Count a record on a chromosome that the FASTA lacks."""
        self._misplaced += 1
        if len(self._strangers) < _EXAMPLES:
            self._strangers[chrom] = None

    def close(self, file: str, has: str) -> None:
        """End `file`; raise `UnknownChromosome` if none of its names was one that the FASTA `has`.

        Both are words for the message.
        """
        if not self._placed and self._too_many(self._misplaced, self._misplaced):
            names = ", ".join(map(repr, self._strangers))
            raise UnknownChromosome(
                f"none of the {self._misplaced:,} records of {file} lies on a chromosome of the "
                f"FASTA: the first names in the file are {names}, and the FASTA has {has}. Use the "
                "FASTA that the variants were called on, or rename the chromosomes of one of the "
                "two, as bcftools annotate --rename-chrs does. A limit on mismatches of 1 lets the "
                "file pass, and rejects all of it."
            )

    def agree(self) -> None:
        """Count a record that agrees; raise `AssemblyMismatch` where it completes `after`."""
        self.compared += 1
        if self.compared == self.after:
            self._judge()

    def differ(self, mismatch: Mismatch) -> None:
        """Count a record that differs; raise `AssemblyMismatch` when it is one too many."""
        self.compared += 1
        self.differing += 1
        self._fits_next += mismatch.fits_next
        self._fits_alt += mismatch.fits_alt
        if len(self._examples) < _EXAMPLES:
            self._examples.append(mismatch.text)
        self._judge()

    def _judge(self) -> None:
        if self._too_many(self.differing, self.compared):
            raise AssemblyMismatch(
                f"{self.differing:,} of the first {self.compared:,} reference alleles differ from "
                f"the FASTA ({'; '.join(self._examples)}). {self._cause()} A limit "
                f"on mismatches above {self.limit} lets the file pass, and rejects these."
            )

    def _too_many(self, differing: int, compared: int) -> bool:
        if compared >= self.after and differing > self.limit * compared:
            return True
        return self._decided(differing, compared - differing)

    def _decided(self, differing: int, agreeing: int) -> bool:
        if self.limit >= _WRONG_RATE:
            return False
        against = differing * log(_WRONG_RATE / self.limit)
        in_favour = agreeing * log((1 - self.limit) / (1 - _WRONG_RATE))
        # The slack keeps (0.5 / 0.05)^6 from missing 10^6 by rounding.
        return against - in_favour >= -log(_FALSE_ALARM) - 1e-9

    def _cause(self) -> str:
        if self._fits_next >= _MOST * self.differing:
            return (
                f"{self._fits_next:,} of them stand one base further on: the positions look "
                "0-based, and must be 1-based."
            )
        if self._fits_alt >= _MOST * self.differing:
            return (
                f"In {self._fits_alt:,} of them the FASTA has the alternative allele: REF and ALT "
                "look swapped."
            )
        return (
            "The variants look like those of another assembly: use the FASTA that they were called "
            "on, or lift them over."
        )
