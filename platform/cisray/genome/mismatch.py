"""A watch on reference alleles that differ from the FASTA, which stops a run on the wrong assembly.

Knows how many mismatches are too many, and how soon that is certain; knows nothing of records. A
few mismatches are rejects; many mean that the scores of the others are nonsense as well, since one
base in four agrees by chance.
"""

from math import log
from typing import NamedTuple

from cisray.errors import AssemblyMismatch, ConfigError

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
        too_many = self.compared >= self.after and self.differing > self.limit * self.compared
        if too_many or self._decided():
            raise AssemblyMismatch(
                f"{self.differing:,} of the first {self.compared:,} reference alleles differ from "
                f"the FASTA ({'; '.join(self._examples)}). {self._cause()} A limit "
                f"on mismatches above {self.limit} lets the file pass, and rejects these."
            )

    def _decided(self) -> bool:
        if self.limit >= _WRONG_RATE:
            return False
        agreeing = self.compared - self.differing
        against = self.differing * log(_WRONG_RATE / self.limit)
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
