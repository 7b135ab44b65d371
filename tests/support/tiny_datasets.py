"""Datasets of a few small examples whose every value is known, written without any genome."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from cisray.dataset.build_plan import HeadContent, Layout
from cisray.dataset.manifest import DatasetManifest
from cisray.dataset.sequences import Sequence, Sequences
from cisray.dataset.writer import DatasetWriter, Example
from cisray.genome.interval import Interval
from cisray.genome.windows import WindowSpec
from cisray.tracks import TrackSet
from cisray_schemas.training_examples import DROPPED_SEQUENCES

SPEC = WindowSpec(input_bp=64, bin_bp=8, target_bins=4)
MARGIN = 3
SIZES = {"human": {"train": 5, "valid": 2}, "mouse": {"train": 3}}
TRACKS = {"human": 3, "mouse": 2}


def content(head: str, **settings: object) -> HeadContent:
    """Sequences side by side from base 100 on, sets in turn as they come in a file."""
    splits = [split for split, count in SIZES[head].items() for _ in range(count)]
    rows = tuple(
        Sequence(Interval("chr1", 100 + 64 * i, 164 + 64 * i), split, i + 1)
        for i, split in enumerate(splits)
    )
    empty = pa.Table.from_pylist([], schema=DROPPED_SEQUENCES.schema)
    tracks = TrackSet.unnamed(head, TRACKS[head])
    return HeadContent(Sequences(rows, empty), tracks, {"sha256": "0"}, settings)


def example(
    head: str, interval: Interval, spec: WindowSpec = SPEC, margin: int = MARGIN
) -> Example:
    """Codes and targets that follow from the place: base p is p % 5, bin n of track t its own."""
    codes = (np.arange(interval.start - margin, interval.end + margin) % 5).astype(np.uint8)
    bins = np.arange(spec.target_bins)[:, None]
    target = interval.start + bins * 0.25 + 10 * np.arange(TRACKS[head])[None, :]
    return Example(interval, codes, target.astype(np.float16))


def layout(per_shard: int = 2) -> Layout:
    """Two examples to a file, so that sets have several files and uneven last ones."""
    return Layout(SPEC, MARGIN, per_shard)


def begin(root: Path, *heads: str, **options: object) -> DatasetWriter:
    """Begin the heads, both unless named."""
    wanted = {head: content(head) for head in heads or SIZES}
    writer = DatasetWriter.begin(root, wanted, layout(), **options)  # type: ignore[arg-type]
    assert writer is not None
    return writer


def examples_of(writer: DatasetWriter, number: int) -> list[Example]:
    """The examples of a shard."""
    shard = writer.shards[number]
    places = content(shard.head).sequences.of(shard.split)[shard.first : shard.end]
    return [example(shard.head, place) for place in places]


def write(root: Path, *heads: str) -> DatasetManifest:
    """Write a whole dataset."""
    writer = begin(root, *heads)
    for number in writer.pending():
        writer.write(number, examples_of(writer, number))
    return writer.seal()
