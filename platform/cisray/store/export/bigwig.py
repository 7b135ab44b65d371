"""bigWig files of a genome run, one per track.

Knows pybigtools; knows nothing of runs. pybigtools and pyBigWig were compared, versions 0.3.0 and
0.3.29: both write a million bins in about a second, but on a full disk pyBigWig corrupts memory,
and it takes ends beyond the chromosome. pybigtools prints its errors, and those of the values that
it is given, and returns as if all were well; so errors are carried around it here, and every file
is opened again and its bases are counted.
"""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pybigtools

from cisray.errors import ConfigError, StorageError
from cisray.store.export.bins import chromosome_bins
from cisray.store.export.columns import GenomeTracks

CHUNK_BINS = 1 << 16
Entry = tuple[str, int, int, float]


def write_bigwig(run: GenomeTracks, column: str, path: Path) -> int:
    """Write one track and return the number of its bins.

    Values are the float32 of the run. Chromosomes without rows are left out. Raises ConfigError
    when no chromosome has any, StorageError when what was written is not what the run has, and
    what `chromosome_bins` raises.
    """
    entries = _Entries(run, column)
    stream = iter(entries)
    # Errors at the start need not go through the library, nor must a file without any bins.
    first = list(islice(stream, 1))
    entries.reraise()
    if not first:
        raise ConfigError(
            "there are no bins to export, and a bigWig cannot be empty: the region, or the whole "
            "run, has only tiles without A, C, G and T. Choose another --region, or take --format "
            "bedgraph, whose files may be."
        )
    lengths = {chrom: run.lengths[chrom] for chrom in run.chromosomes if chrom in run.lengths}
    try:
        pybigtools.open(str(path), "w").write(lengths, chain(first, stream))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        raise _not_written(path, str(error)) from error
    entries.reraise()
    _check(path, entries.bases)
    return entries.bins


class _Entries:
    """The entries of one track, what they add up to, and the error that ended them early."""

    def __init__(self, run: GenomeTracks, column: str) -> None:
        self._source = chromosome_bins(run, column)
        self.bins = 0
        self.bases: dict[str, int] = {}
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Entry]:
        try:
            for chrom, bins in self._source:
                self.bins += bins.height
                self.bases[chrom] = int((bins["end"] - bins["start"]).sum())
                for piece in bins.iter_slices(CHUNK_BINS):
                    columns = (piece[name].to_list() for name in ("start", "end", "value"))
                    yield from zip([chrom] * piece.height, *columns, strict=True)
        except BaseException as error:  # noqa: BLE001 - `reraise` does, the library would print it
            self.error = error

    def reraise(self) -> None:
        """Raise the error that ended the entries, unless it is that nobody wanted more."""
        if self.error is not None and not isinstance(self.error, GeneratorExit):
            raise self.error


def _check(path: Path, bases: dict[str, int]) -> None:
    """Compare the file, opened again, with what was meant to be in it."""
    try:
        with pybigtools.open(str(path)) as written:
            chroms = set(written.chroms())
            covered = written.info()["summary"]["basesCovered"]
    except (pybigtools.BBIReadError, OSError) as error:
        raise _not_written(path, str(error)) from error
    if chroms != bases.keys() or covered != sum(bases.values()):
        raise _not_written(
            path,
            f"{covered:,} bases on {len(chroms):,} chromosomes are in it, not "
            f"{sum(bases.values()):,} on {len(bases):,}",
        )


def _not_written(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"the bigWig {path.name} could not be written: {reason}. pybigtools says why on stderr, "
        f"often a full disk; make room and run the same command again."
    )
