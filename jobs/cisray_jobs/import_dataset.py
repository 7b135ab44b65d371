"""The job `cisray dataset import`: published TFRecords into a dataset, without TensorFlow.

Knows how the parts are put together; reading and writing are `cisray.dataset`'s. Each file becomes
one shard. The same configuration, run again, finishes what an earlier run left.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue

from cisray.dataset.build_plan import HeadContent, Layout
from cisray.dataset.examples import Dataset
from cisray.dataset.published import (
    Fitting,
    Published,
    fitted_examples,
    fitted_sequences,
    fitted_spec,
)
from cisray.dataset.writer import ShardWriter
from cisray.engine.progress import Display
from cisray.errors import ConfigError, RunConflict
from cisray.genome.reference import Genome
from cisray.genome.windows import WindowSpec
from cisray.tracks import TrackSet
from cisray_jobs.describe_dataset import Described, describe
from cisray_jobs.provenance import digest_of
from cisray_jobs.write_dataset import HEAD_NAME, WritesDataset


@dataclass(frozen=True, slots=True)
class ImportTask:
    """A picklable description of the work; the build that has begun knows the shards."""

    out: Path
    published: Published
    spec: WindowSpec
    fasta: Path | None
    genome_sha256: str | None

    def open(self) -> Callable[[int], dict[str, object]]:
        """Open the genome and return the function that imports one file.

        Raises RunConflict if the genome, as this machine sees it, is not what was begun with.
        """
        writer = ShardWriter.attach(self.out)
        genome = Genome.open(self.fasta) if self.fasta else None
        if genome is not None and genome.sha256 != self.genome_sha256:
            raise RunConflict(
                f"{self.fasta} on {platform.node()} is not what the import began with. Put the "
                f"same file there, or use --restart."
            )
        published = self.published
        fitting = Fitting(published.statistics, self.spec, writer.margin_bp, genome)

        def write(number: int) -> dict[str, object]:
            shard = writer.shards[number]
            rows = [row.interval for row in published.rows if row.split == shard.split]
            path = published.files[shard.split][shard.first // published.per_file]
            examples = fitted_examples(path, rows[shard.first : shard.end], fitting)
            told = writer.write(number, examples)
            return {"rows": told.examples, "bytes": told.bytes}

        return write


class ImportDataset(WritesDataset):
    """Which folder, as which head, and what is made of its windows."""

    folder: Path
    head: Annotated[str, Field(pattern=HEAD_NAME)]
    fasta: Path | None = None
    extend_to: Annotated[int, Field(ge=1)] | None = None
    crop_to: Annotated[int, Field(ge=1)] | None = None
    target_bins: Annotated[int, Field(ge=1)] | None = None

    def run(self, display: Display = Display.AUTO) -> Described:
        """Check the folder, import what is missing, and describe the dataset.

        Raises RecordError for what is damaged or does not fit, and ShardsFailed.
        """
        published = Published.open(self.folder.absolute())
        tracks = TrackSet.read_table(
            self.folder / "targets.txt", self.head, published.statistics.tracks
        )
        spec = fitted_spec(published.statistics, self._input_bp(published), self.target_bins)
        genome = Genome.open(self.fasta) if self.fasta else None
        fitting = Fitting(published.statistics, spec, self.margin_bp, genome)
        sequences = fitted_sequences(published, fitting)
        sha256 = genome.sha256 if genome else None
        content = HeadContent(sequences, tracks, {"sha256": sha256}, self._settings(published))
        task = ImportTask(
            out=self.out.absolute(),
            published=published,
            spec=spec,
            fasta=self.fasta.absolute() if self.fasta else None,
            genome_sha256=sha256,
        )
        layout = Layout(spec, self.margin_bp, published.per_file)
        self.write_all({self.head: content}, layout, task, display)
        return describe(Dataset.open(self.out), examples=0)

    def _input_bp(self, published: Published) -> int | None:
        length = published.statistics.length
        if self.extend_to is not None and self.crop_to is not None:
            raise ConfigError("give --extend-to or --crop-to, not both.")
        if self.extend_to is not None and self.extend_to < length:
            raise ConfigError(
                f"--extend-to {self.extend_to:,} is less than the {length:,} bases of the records: "
                f"--crop-to takes their middle."
            )
        if self.crop_to is not None and self.crop_to > length:
            raise ConfigError(
                f"--crop-to {self.crop_to:,} is more than the {length:,} bases of the records: "
                f"--extend-to takes the others from --fasta."
            )
        return self.extend_to or self.crop_to

    def _settings(self, published: Published) -> dict[str, JsonValue]:
        """Tell where the examples come from, for the manifest: files by name and size."""
        statistics = published.statistics
        return {
            "made_from": "tfrecords",
            "statistics_sha256": digest_of(self.folder / "statistics.json"),
            "source_bp": statistics.length,
            "source_bins": statistics.bins,
            "compared_with_genome": self.fasta is not None,
            "files": {
                path.name: path.stat().st_size
                for paths in published.files.values()
                for path in paths
            },
        }
