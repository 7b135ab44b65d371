"""The job `cisray dataset info`: what a dataset holds, and what its targets look like.

Knows which examples are looked at; counting and drawing are `cisray.dataset`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cisray.dataset.examples import Dataset, ExampleSet
from cisray.dataset.figure import draw_targets
from cisray.dataset.statistics import TargetStatistics, TrackSummary
from cisray.store.files import make_folder, writing_to
from cisray.tracks import TrackSet

ALL = "all"


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One set: its size, and of so many of its examples what each track looks like."""

    examples: int
    files: int
    bytes: int
    looked_at: int
    tracks: dict[str, TrackSummary]


@dataclass(frozen=True, slots=True)
class HeadFacts:
    """One head: rows that came in, what became of them, and its sets."""

    tracks: int
    by_assay: dict[str, int]
    genome: dict[str, Any]
    settings: dict[str, Any]
    sequences: int
    examples: int
    dropped: dict[str, int]
    all_zero_tracks: tuple[int, ...]
    splits: dict[str, SplitFacts]


@dataclass(frozen=True, slots=True)
class Described:
    """A dataset; `figures` are the files that were drawn."""

    path: str
    input_bp: int
    bin_bp: int
    target_bins: int
    margin_bp: int
    heads: dict[str, HeadFacts]
    figures: tuple[str, ...]


def describe(dataset: Dataset, *, examples: int | None, figures: Path | None = None) -> Described:
    """Describe a dataset, looking at up to so many examples of each set, evenly spaced.

    None looks at all of them, 0 at none. With `figures` a PNG of each head and set is drawn into
    that folder. Raises DatasetError and StorageError.
    """
    drawn: list[Path] = []
    heads = {}
    for head in dataset.heads:
        entry, tracks = dataset.manifest.heads[head], dataset.tracks(head)
        splits = {}
        for split in dataset.splits(head):
            found = dataset.examples(head, split)
            statistics = _looked_at(found, tracks, examples)
            if figures is not None and statistics.bins:
                drawn.append(_draw(statistics, tracks, found, figures))
            splits[split] = _split_facts(dataset, found, tracks, statistics)
        heads[head] = HeadFacts(
            tracks=len(tracks),
            by_assay=tracks.by_assay(),
            genome=dict(entry.genome),
            settings={k: v for k, v in entry.settings.items() if k != "tracks"},
            sequences=entry.sequences,
            examples=entry.examples,
            dropped=dict(entry.dropped),
            all_zero_tracks=entry.all_zero,
            splits=splits,
        )
    spec = dataset.spec
    return Described(
        path=str(dataset.root),
        input_bp=spec.input_bp,
        bin_bp=spec.bin_bp,
        target_bins=spec.target_bins,
        margin_bp=dataset.margin_bp,
        heads=heads,
        figures=tuple(map(str, drawn)),
    )


def evenly(count: int, wanted: int | None) -> Iterator[int]:
    """Choose `wanted` of `count` numbers, evenly spaced from 0 on; all for None.

    >>> list(evenly(10, 4)), list(evenly(3, None)), list(evenly(3, 0))
    ([0, 2, 5, 7], [0, 1, 2], [])
    """
    chosen = count if wanted is None else min(wanted, count)
    return (index * count // chosen for index in range(chosen))


def _looked_at(found: ExampleSet, tracks: TrackSet, examples: int | None) -> TargetStatistics:
    statistics = TargetStatistics(tracks.table["clip"].to_pylist())
    for index in evenly(len(found), examples):
        # What is stored is float16: nothing is lost on the way back.
        statistics.add(found.target_NT(index).astype(np.float16))
    return statistics


def _split_facts(
    dataset: Dataset, found: ExampleSet, tracks: TrackSet, statistics: TargetStatistics
) -> SplitFacts:
    entry = dataset.manifest.heads[found.head].splits[found.split]
    summaries = statistics.tracks() if statistics.bins else []
    return SplitFacts(
        examples=len(found),
        files=len(entry.shards),
        bytes=sum(shard.bytes for shard in entry.shards),
        looked_at=statistics.bins // dataset.spec.target_bins,
        tracks=dict(zip(tracks.columns, summaries, strict=False)),
    )


def _draw(statistics: TargetStatistics, tracks: TrackSet, found: ExampleSet, folder: Path) -> Path:
    with writing_to(folder):
        make_folder(folder)
        path = folder / f"{found.head}-{found.split}.png"
        title = f"{found.head}, {found.split}: {statistics.bins:,} bins of {len(tracks):,} tracks"
        draw_targets(statistics, tracks, title, path)
    return path
