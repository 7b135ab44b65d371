"""What a worker does for `cisray dataset build`: open once, then write shard after shard.

Knows genomes, measured tracks and datasets; knows nothing of Ray or of the other workers.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cisray.dataset.sequences import read_sequences
from cisray.dataset.targets import Coverage, MaskedRegions, MeasuredTrack
from cisray.dataset.writer import Example, ShardWriter
from cisray.errors import RunConflict
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.stopwatch import lap


@dataclass(frozen=True, slots=True)
class HeadSource:
    """Where a worker finds what one head is made from."""

    fasta: Path
    genome_sha256: str
    tracks: tuple[MeasuredTrack, ...]
    masked: MaskedRegions


@dataclass(frozen=True, slots=True)
class BuildTask:
    """A picklable description of the work; the build that has begun knows the shards."""

    out: Path
    heads: Mapping[str, HeadSource]

    def open(self) -> Callable[[int], dict[str, object]]:
        """Open the genomes and return the function that writes one shard.

        Raises RunConflict if a genome, as this machine sees it, is not what the build began with.
        """
        writer = ShardWriter.attach(self.out)
        coverage = {head: self._coverage(writer, source) for head, source in self.heads.items()}
        places = {head: _places(self.out / head / "sequences.bed") for head in self.heads}

        def write(number: int) -> dict[str, object]:
            shard = writer.shards[number]
            inputs = places[shard.head][shard.split][shard.first : shard.end]
            examples = made_examples(coverage[shard.head], inputs, writer.margin_bp)
            with lap("write"):  # what is read on the way counts as input
                told = writer.write(number, examples)
            return {"rows": told.examples, "bytes": told.bytes}

        return write

    def _coverage(self, writer: ShardWriter, source: HeadSource) -> Coverage:
        genome = Genome.open(source.fasta)
        if genome.sha256 != source.genome_sha256:
            raise RunConflict(
                f"{source.fasta} on {platform.node()} is not what the build began with: its digest "
                f"is {genome.sha256}, the build has {source.genome_sha256}. Put the same file "
                f"there, or use --restart."
            )
        return Coverage(source.tracks, genome, writer.spec, source.masked)


def made_examples(coverage: Coverage, inputs: list[Interval], margin_bp: int) -> Iterator[Example]:
    """Make the examples of input windows; bases off the chromosome are unknown."""
    with lap("input"):
        targets_BNT = coverage.targets_BNT(inputs)
    for interval, target_NT in zip(inputs, targets_BNT, strict=True):
        wide = Interval(interval.chrom, interval.start - margin_bp, interval.end + margin_bp)
        with lap("input"):
            codes_S = coverage.genome.fetch_padded(wide)
        yield Example(interval, codes_S, target_NT)


def _places(bed: Path) -> dict[str, list[Interval]]:
    """Read the kept sequences of a head by set, as the build wrote them."""
    places: dict[str, list[Interval]] = {}
    for row in read_sequences(bed):
        places.setdefault(row.split, []).append(row.interval)
    return places
