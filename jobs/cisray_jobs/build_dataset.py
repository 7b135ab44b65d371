"""The job `cisray dataset build`: sequences, genomes and measured tracks into training examples.

Knows how the parts are put together; reading, arithmetic and writing are `cisray.dataset`'s. The
same configuration, run again, finishes what an earlier run left.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from cisray.dataset.build_plan import HeadContent, Layout
from cisray.dataset.coverage import BLACKLIST_BUFFER_BP, Stretches
from cisray.dataset.examples import Dataset
from cisray.dataset.sequences import Sequences, place_sequences, read_sequences
from cisray.dataset.targets import MaskedRegions, check_files, read_targets
from cisray.dataset.writer import DatasetWriter, lock
from cisray.engine.address import EMBEDDED, choose_address
from cisray.engine.executors import executor_for
from cisray.engine.progress import Display
from cisray.engine.task import PoolPolicy, ShardTask
from cisray.errors import ConfigError
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed
from cisray.genome.windows import WindowSpec
from cisray.tracks import TrackSet
from cisray_jobs.config import JobConfig, expanded
from cisray_jobs.dataset_task import BuildTask, HeadSource
from cisray_jobs.describe_dataset import Described, describe
from cisray_jobs.execute import EMBEDDED_CPUS, run_shards, shards_failed
from cisray_jobs.provenance import digest_of

# Targets of a shard are held at once.
SHARD_BYTES = 1 << 28
MOST_EXAMPLES = 256
_FLOAT16_BYTES = 2
_HEAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class WritesDataset(JobConfig):
    """What every job that writes a dataset is told."""

    out: Path
    margin_bp: Annotated[int, Field(ge=0)] = 3
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    allow_empty_tracks: bool = False
    restart: bool = False
    address: str | None = None

    @field_validator("workers", mode="before")
    @classmethod
    def _whole_or_auto(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    def write_all(
        self,
        heads: Mapping[str, HeadContent],
        layout: Layout,
        task: ShardTask,
        display: Display,
    ) -> None:
        """Begin or go on, do the shards that are left, and seal. Raises ShardsFailed."""
        held = lock(self.out)
        try:
            writer = DatasetWriter.begin(self.out, heads, layout, restart=self.restart)
            if writer is None:
                return
            pending = writer.pending()
            policy = self._policy(len(pending))
            with executor_for(policy, address=self.address) as executor:
                outcome = run_shards(executor, task, pending, display=display)
            if outcome.failed:
                raise shards_failed(outcome, self.out)
            writer.seal(allow_empty_tracks=self.allow_empty_tracks)
        finally:
            held.release()

    def _policy(self, shards: int) -> PoolPolicy:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        wanted = (cores or 1) if self.workers == "auto" else self.workers
        embedded = choose_address(self.address) == EMBEDDED
        return PoolPolicy(
            workers=min(wanted, shards), num_cpus=EMBEDDED_CPUS if embedded else 1.0, threads=1
        )


class BuildDataset(WritesDataset):
    """Which sequences, genomes and tracks; every mapping is by head."""

    sequences: dict[str, Path] = Field(default_factory=dict)
    split: Path | None = None
    tracks: dict[str, Path]
    fasta: dict[str, Path]
    bigwig_dir: Path | None = None
    blacklist: dict[str, Path] = Field(default_factory=dict)
    unmappable: dict[str, Path] = Field(default_factory=dict)
    unmappable_quantile: Annotated[float, Field(ge=0, le=1)] = 0.25
    input_bp: int = WindowSpec().input_bp
    bin_bp: int = WindowSpec().bin_bp
    target_bins: int = WindowSpec().target_bins
    examples_per_shard: Annotated[int, Field(ge=1)] | None = None
    allow_missing_chromosomes: bool = False

    def run(self, display: Display = Display.AUTO) -> Described:
        """Check every file, write what is missing, and describe the dataset.

        Raises InputErrors before anything is computed, and ShardsFailed.
        """
        spec = WindowSpec(self.input_bp, self.bin_bp, self.target_bins)
        prepared = {head: self._prepare(head, spec) for head in self._heads()}
        most = max(len(head.content.tracks) for head in prepared.values())
        per_shard = self.examples_per_shard or examples_that_fit(spec, most)
        layout = Layout(spec, self.margin_bp, per_shard)
        contents = {head: one.content for head, one in prepared.items()}
        task = BuildTask(self.out.absolute(), {head: one.source for head, one in prepared.items()})
        self.write_all(contents, layout, task, display)
        return describe(Dataset.open(self.out), examples=0)

    @field_validator("sequences", "tracks", "fasta", "blacklist", "unmappable")
    @classmethod
    def _named_files(cls, value: dict[str, Path]) -> dict[str, Path]:
        """Expand `~`, and let heads have names that can be folders."""
        for head in value:
            if not _HEAD.fullmatch(head):
                raise ValueError(f"{head!r} cannot be the name of a head: use letters and digits")
        return {head: expanded(path) for head, path in value.items()}

    def _heads(self) -> list[str]:
        """Name the heads; every one needs a table of tracks and a FASTA, and nothing else has."""
        heads = list(self.tracks)
        for option in ("fasta", "sequences", "blacklist", "unmappable"):
            given = getattr(self, option)
            strays = [head for head in given if head not in heads]
            if strays:
                raise ConfigError(
                    f"--{option} names the head {strays[0]!r}, and --tracks does not: it has "
                    f"{', '.join(heads) or 'none'}."
                )
        for head in heads:
            if head not in self.fasta:
                raise ConfigError(f"--fasta is missing for the head {head!r}: give {head}=FASTA.")
        return heads

    def _sequences_file(self, head: str) -> Path:
        if head in self.sequences:
            return self.sequences[head]
        if self.split is None:
            raise ConfigError(
                f"there are no sequences for the head {head!r}: give --split, the folder that "
                f"`cisray dataset split` wrote, or --sequences {head}=BED."
            )
        return self.split / f"{head}.sequences.bed"

    def _prepare(self, head: str, spec: WindowSpec) -> "_PreparedHead":
        genome = Genome.open(self.fasta[head])
        bed = self._sequences_file(head)
        rows = read_sequences(bed, spec.input_bp)
        sequences = place_sequences(rows, genome, spec, bed)
        tracks, measured = read_targets(self.tracks[head], head, self.bigwig_dir)
        chroms = list(dict.fromkeys(row.interval.chrom for row in sequences.kept))
        files = check_files(
            measured,
            genome,
            chroms,
            allow_empty=self.allow_empty_tracks,
            allow_missing=self.allow_missing_chromosomes,
        )
        source = HeadSource(
            fasta=self.fasta[head].absolute(),
            genome_sha256=genome.sha256,
            tracks=tuple(measured),
            masked=self._masked(head, genome),
        )
        rules = [
            {**told, "sum_stat": track.rule.sum_stat, "clip_soft": track.rule.clip_soft}
            for told, track in zip(files, measured, strict=True)
        ]
        settings: dict[str, JsonValue] = {**self._settings(head), "tracks": list(rules)}
        return _PreparedHead(_content(sequences, tracks, genome, settings), source)

    def _settings(self, head: str) -> dict[str, JsonValue]:
        """Tell what targets depend on besides tracks, for the manifest."""
        blacklist, unmappable = self.blacklist.get(head), self.unmappable.get(head)
        return {
            "made_from": "bigwig",
            "blacklist_sha256": digest_of(blacklist) if blacklist else None,
            "blacklist_buffer_bp": BLACKLIST_BUFFER_BP,
            "unmappable_sha256": digest_of(unmappable) if unmappable else None,
            "unmappable_quantile": self.unmappable_quantile,
        }

    def _masked(self, head: str, genome: Genome) -> MaskedRegions:
        blacklist, unmappable = self.blacklist.get(head), self.unmappable.get(head)
        return MaskedRegions(
            Stretches.of(read_bed(blacklist, genome)) if blacklist else None,
            Stretches.of(read_bed(unmappable, genome)) if unmappable else None,
            self.unmappable_quantile,
        )


@dataclass(frozen=True, slots=True)
class _PreparedHead:
    """A head whose files are known to be right."""

    content: HeadContent
    source: HeadSource


def _content(
    sequences: Sequences, tracks: TrackSet, genome: Genome, settings: Mapping[str, JsonValue]
) -> HeadContent:
    return HeadContent(sequences, tracks, {"sha256": genome.sha256}, settings)


def examples_that_fit(spec: WindowSpec, tracks: int) -> int:
    """Choose how many examples a file holds: those whose targets fit into 256 MiB, at most 256.

    >>> examples_that_fit(WindowSpec(), 5313), examples_that_fit(WindowSpec(), 10)
    (28, 256)
    """
    each = spec.target_bins * tracks * _FLOAT16_BYTES
    return max(1, min(MOST_EXAMPLES, SHARD_BYTES // each))
