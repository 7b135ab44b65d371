"""The values of a bigWig file by interval, and whether the file fits a genome at all.

Knows pybigtools and chromosome names; knows nothing of targets. A file is checked before any value
of it is used: chromosomes under any alias, their lengths, and that there is something in it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pybigtools
from numpy.typing import NDArray

from cisray.errors import TargetsError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.locus import match_chromosome

Answer = TypeVar("Answer")
_NAMES_SHOWN = 5


class BigWig:
    """An open bigWig file."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises TargetsError for what is missing, damaged or no bigWig file."""
        self.path = path
        if not path.is_file():
            raise TargetsError(
                f"there is no bigWig file {path}: check the column `file` of the table of targets, "
                f"whose paths start at the table's folder or at --bigwig-dir."
            )
        self._file = self._ask(lambda: pybigtools.open(str(path)))
        if not self._ask(lambda: self._file.is_bigwig):
            raise TargetsError(f"{path} is a bigBed file, which has no values: give a bigWig.")
        self.lengths: dict[str, int] = dict(self._ask(self._file.chroms))
        self.summary: dict[str, Any] = dict(self._ask(self._file.info)["summary"])

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it: a head has more tracks than a process may have open files."""
        self._file.close()

    def values(self, interval: Interval) -> NDArray[np.float64]:
        """Give one value per base, float64 (L,), NaN where the file has none.

        The chromosome is one of the file's own names. Raises TargetsError for a damaged file.
        """
        where = (interval.chrom, interval.start, interval.end)
        found = self._ask(lambda: self._file.values(*where, fillna=None))
        return np.asarray(found, dtype=np.float64)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of Rust is no Exception
            raise TargetsError(
                f"{self.path} cannot be read as a bigWig file: {error}. It is damaged, cut short "
                f"or of another kind: fetch it again."
            ) from error


def fit_to_genome(
    bigwig: BigWig, genome: Genome, chroms: Iterable[str], *, allow_missing: bool = False
) -> dict[str, str | None]:
    """Find what the file calls each chromosome; None for those it lacks, if that is allowed.

    Raises TargetsError for a chromosome that it lacks, or whose length there is not the FASTA's:
    then it is of another assembly.
    """
    names: dict[str, str | None] = {}
    for chrom in chroms:
        try:
            name = match_chromosome(chrom, bigwig.lengths)
        except UnknownChromosome as error:
            raise TargetsError(f"{bigwig.path}: {error}") from error
        if name is None and not allow_missing:
            raise TargetsError(
                f"{bigwig.path} has no chromosome {chrom}, where there are sequences; it has "
                f"{_shown(bigwig.lengths)}. Leave these sequences out, or give "
                f"--allow-missing-chromosomes to take them for 0."
            )
        if name is not None and bigwig.lengths[name] != genome.chromosomes[chrom]:
            raise TargetsError(
                f"{bigwig.path} has {bigwig.lengths[name]:,} bases on {name}, and {genome.path} "
                f"has {genome.chromosomes[chrom]:,} on {chrom}: they are of different assemblies."
            )
        names[chrom] = name
    return names


def is_empty(bigwig: BigWig) -> bool:
    """Tell whether a file has no value anywhere but 0, going by its own summary."""
    summary = bigwig.summary
    return bool(summary["basesCovered"] == 0 or summary["min"] == summary["max"] == 0)


def _shown(lengths: dict[str, int]) -> str:
    names = list(lengths)
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
