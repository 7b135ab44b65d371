"""A folder of published training data: its statistics, its sequences, and which file holds which.

Knows the layout that Basenji and its successors write; knows nothing of how the result is stored.
Example i of a set is row i of that set in sequences.bed; files are in the order of their numbers,
and all of a set but the last hold the same number of examples.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cisray.dataset.coverage import to_float16
from cisray.dataset.sequences import Sequence, Sequences, read_sequences
from cisray.dataset.tfrecords import Record, RecordShape, read_examples, read_records
from cisray.dataset.writer import Example
from cisray.errors import ConfigError, CoordinateError, RecordError, UnknownChromosome
from cisray.genome.encode import UNKNOWN, decode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import WindowSpec
from cisray_schemas.training_examples import DROPPED_SEQUENCES

STATISTICS = "statistics.json"
_FILE = re.compile(r"(?P<split>.+?)-(?P<number>\d+)(?:-of-\d+)?\.(?:tfr|tfrecord)s?")
_NUMBERS = ("num_targets", "seq_length", "pool_width", "crop_bp", "target_length")
_SHOWN_BP = 12


@dataclass(frozen=True, slots=True)
class Statistics:
    """What statistics.json says: the shape of every example, and how many each set has."""

    length: int
    bin_bp: int
    crop_bp: int
    bins: int
    tracks: int
    examples: dict[str, int]

    @property
    def shape(self) -> RecordShape:
        """What each record must hold."""
        return RecordShape(self.length, self.bins, self.tracks)


@dataclass(frozen=True, slots=True)
class Published:
    """The folder, read and found to agree with itself; `files` are by set, in order."""

    root: Path
    statistics: Statistics
    rows: tuple[Sequence, ...]
    files: dict[str, tuple[Path, ...]]
    per_file: int

    @classmethod
    def open(cls, root: Path) -> "Published":
        """Read what describes the records, and count those of one file.

        Raises RecordError for a folder that is incomplete or whose parts disagree, RegionsError
        for its sequences.bed.
        """
        statistics = _read_statistics(root / STATISTICS)
        rows = read_sequences(root / "sequences.bed", statistics.length)
        counts = dict(Counter(row.split for row in rows))
        if counts != statistics.examples:
            raise RecordError(
                f"{root / 'sequences.bed'} has {_told(counts)}, {STATISTICS} says "
                f"{_told(statistics.examples)}: they are of different datasets, or one was cut "
                f"short."
            )
        files = _find_files(root / "tfrecords", statistics.examples)
        longest = max(files, key=lambda split: len(files[split]))
        per_file = sum(1 for _ in read_records(files[longest][0]))
        if not per_file:
            raise RecordError(f"{files[longest][0]} holds no records. Fetch it again.")
        for split, paths in files.items():
            need = -(-statistics.examples[split] // per_file)
            if need != len(paths):
                raise RecordError(
                    f"{root / 'tfrecords'} has {len(paths):,} files of {split}, but "
                    f"{statistics.examples[split]:,} examples at {per_file:,} a file (as in "
                    f"{files[longest][0].name}) take {need:,}: some are missing."
                )
        return cls(root, statistics, tuple(rows), files, per_file)

    @property
    def ordered_rows(self) -> list[Sequence]:
        """Give the rows set after set, as shards are."""
        return [row for split in self.files for row in self.rows if row.split == split]


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a published example becomes one of ours: another input around the same centre.

    `source` is the shape of the records' windows, `spec` the shape wanted. Without a genome no base
    can come from beyond the record, and records are not compared with anything.
    """

    source: Statistics
    spec: WindowSpec
    margin_bp: int
    genome: Genome | None

    def __post_init__(self) -> None:
        """Refuse what cannot be: other bins, or bases that nobody has."""
        if (
            self.spec.target_bins > self.source.bins
            or (self.source.bins - self.spec.target_bins) % 2
        ):
            raise ConfigError(
                f"{self.spec.target_bins:,} of the {self.source.bins:,} bins cannot be the middle "
                f"ones: give --target-bins up to {self.source.bins:,}, smaller by an even number."
            )
        beyond = self.spec.input_bp // 2 + self.margin_bp - self.source.length // 2
        if self.genome is None and beyond > 0:
            raise ConfigError(
                f"the records have {self.source.length:,} bases, and {self.spec.input_bp:,} with a "
                f"margin of {self.margin_bp} bp are asked for: give --fasta, from which the others "
                f"are taken, or --margin-bp 0 and no --extend-to."
            )

    def place(self, interval: Interval) -> Interval:
        """Give the input window around the centre of a record's, spelled as the genome does.

        Raises UnknownChromosome.
        """
        wider_bp = (self.spec.input_bp - self.source.length) // 2
        chrom = self.genome.resolve(interval.chrom) if self.genome else interval.chrom
        return Interval(chrom, interval.start - wider_bp, interval.end + wider_bp)

    def example(self, record: Record, interval: Interval) -> Example:
        """Make an example of a record, which lies at `interval`.

        Raises RecordError where its bases are not the genome's, ValueError for targets beyond
        float16.
        """
        where = self.place(interval)
        wide = Interval(where.chrom, where.start - self.margin_bp, where.end + self.margin_bp)
        if self.genome is None:
            first = wide.start - interval.start
            codes_S = record.codes_L[first : first + wide.width]
        else:
            _compare(record.codes_L, interval, self.genome)
            codes_S = self.genome.fetch_padded(wide)
        return Example(where, codes_S, self._target_NT(record))

    def _target_NT(self, record: Record) -> NDArray[np.float16]:
        first = (self.source.bins - self.spec.target_bins) // 2
        return to_float16(record.target_NT[first : first + self.spec.target_bins])


def fitted_examples(path: Path, places: list[Interval], fitting: Fitting) -> Iterator[Example]:
    """Make the examples of one file, whose records lie at these places. Raises RecordError."""
    count = 0
    for record in read_examples(path, fitting.source.shape):
        if count < len(places):
            try:
                yield fitting.example(record, places[count])
            except (ValueError, CoordinateError, RecordError) as error:
                raise RecordError(f"{path}, record {count}: {error}") from error
        count += 1
    if count != len(places):
        raise RecordError(
            f"{path} holds {count:,} records, and sequences.bed has {len(places):,} rows for it: "
            f"the file was cut short, or is of another dataset."
        )


def fitted_sequences(published: Published, fitting: Fitting) -> Sequences:
    """Give the sequences of all examples with their new windows; none is dropped.

    Raises RecordError for a chromosome that the genome lacks.
    """
    kept = []
    for row in published.ordered_rows:
        try:
            kept.append(Sequence(fitting.place(row.interval), row.split, row.line))
        except UnknownChromosome as error:
            raise RecordError(f"{published.root / 'sequences.bed'}:{row.line}: {error}") from error
    return Sequences(tuple(kept), pa.Table.from_pylist([], schema=DROPPED_SEQUENCES.schema))


def fitted_spec(
    source: Statistics, input_bp: int | None = None, target_bins: int | None = None
) -> WindowSpec:
    """Give the geometry of the result; what is not asked for stays as it is published."""
    return WindowSpec(input_bp or source.length, source.bin_bp, target_bins or source.bins)


def _compare(codes_L: NDArray[np.uint8], interval: Interval, genome: Genome) -> None:
    """Compare bases that are known: for N, Basenji's scripts long stored one drawn at random."""
    expected_L = genome.fetch_padded(interval)
    different = np.flatnonzero((codes_L != expected_L) & (expected_L != UNKNOWN))
    if different.size:
        first = int(different[0])
        base = Interval(interval.chrom, interval.start + first, interval.start + first + 1)
        shown = slice(first, first + _SHOWN_BP)
        raise RecordError(
            f"its sequence is not that of {genome.path} at {interval}: {different.size:,} bases "
            f"differ, the first at {base}, where the record has {decode(codes_L[shown])} and the "
            f"FASTA {decode(expected_L[shown])}. Give the assembly that the records were made from."
        )


def _read_statistics(path: Path) -> Statistics:
    try:
        content = json.loads(path.read_bytes())
        length, bin_bp = content["seq_length"], content["pool_width"]
        numbers = {name: int(content[name]) for name in _NUMBERS}
    except OSError as error:
        raise RecordError(
            f"cannot read {path}: {error.strerror}. The folder of a published dataset has "
            f"{STATISTICS}, sequences.bed, targets.txt and tfrecords/."
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(
            f"{path} cannot be read: {error!r}. It must have the numbers {', '.join(_NUMBERS)}."
        ) from error
    covered = numbers["target_length"] * bin_bp + 2 * numbers["crop_bp"]
    if covered != length:
        raise RecordError(
            f"{path}: {numbers['target_length']:,} bins of {bin_bp} bp and a crop of "
            f"{numbers['crop_bp']:,} bp on both sides make {covered:,} bp, but seq_length is "
            f"{length:,}."
        )
    sets = {name.removesuffix("_seqs"): n for name, n in content.items() if name.endswith("_seqs")}
    return Statistics(
        length=length,
        bin_bp=bin_bp,
        crop_bp=numbers["crop_bp"],
        bins=numbers["target_length"],
        tracks=numbers["num_targets"],
        examples={split: count for split, count in sets.items() if count},
    )


def _find_files(folder: Path, examples: dict[str, int]) -> dict[str, tuple[Path, ...]]:
    """Sort the files of each set by their number: -10 comes after -9."""
    numbered: dict[str, dict[int, Path]] = {split: {} for split in examples}
    for path in sorted(folder.glob("*")):
        match = _FILE.fullmatch(path.name)
        if match is None or match["split"] not in numbered:
            raise RecordError(
                f"{path} is no file of a set of {STATISTICS} ({', '.join(examples)}): files are "
                f"named SET-NUMBER.tfr. Move it elsewhere."
            )
        of_split = numbered[match["split"]]
        if int(match["number"]) in of_split:
            raise RecordError(f"{path} and {of_split[int(match['number'])].name} have one number.")
        of_split[int(match["number"])] = path
    for split, found in numbered.items():
        missing = sorted(set(range(len(found))) - found.keys())
        if not found or missing:
            raise RecordError(
                f"{folder} lacks {split}-{missing[0] if missing else 0}.tfr: "
                f"{len(found):,} files of {split} are there. Fetch the others."
            )
    return {split: tuple(found[n] for n in sorted(found)) for split, found in numbered.items()}


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "none"
