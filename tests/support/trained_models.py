"""Small datasets and models to train on: sequences that tell their own targets.

Knows how such a dataset is written; knows nothing of training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cisray.dataset.build_plan import HeadContent, Layout
from cisray.dataset.sequences import Sequence as Place
from cisray.dataset.sequences import Sequences
from cisray.dataset.writer import DatasetWriter, Example
from cisray.genome.interval import Interval
from cisray.genome.windows import WindowSpec
from cisray.tracks import TrackSet
from cisray_schemas.training_examples import DROPPED_SEQUENCES

SPEC = WindowSpec(input_bp=256, bin_bp=8, target_bins=16)
MARGIN = 3
TRACKS = {"human": 3, "mouse": 2}
COUNTS = {"train": 6, "valid": 3}
ARCHITECTURE: dict[str, Any] = {
    "channels": 24,
    "num_transformer_layers": 1,
    "num_heads": 2,
    "key_size": 8,
    "num_downsamples": 3,
    "channels_divisible_by": 4,
}


class MadeUp:
    """Random bases, and of each bin how often its first letters come: a source in memory."""

    def __init__(self, seed: int, examples: int, tracks: int) -> None:
        width = SPEC.input_bp + 2 * MARGIN
        draws = np.random.default_rng(seed)
        self.stored_EL = draws.integers(0, 4, (examples, width)).astype(np.uint8)
        self.tracks = tracks

    def __len__(self) -> int:
        return len(self.stored_EL)

    def codes_L(self, index: int, shift_bp: int = 0) -> NDArray[np.uint8]:
        first = MARGIN + shift_bp
        return self.stored_EL[index, first : first + SPEC.input_bp]

    def target_NT(self, index: int) -> NDArray[np.float32]:
        crop = (SPEC.input_bp - SPEC.target_bp) // 2
        bins = self.codes_L(index)[crop : crop + SPEC.target_bp].reshape(-1, SPEC.bin_bp)
        counts = [(bins == track).sum(axis=1) for track in range(self.tracks)]
        return np.stack(counts, axis=1).astype(np.float32)


def named_tracks(head: str, assays: Sequence[str]) -> TrackSet:
    """Tracks of these assays, in this order; an empty word is none."""
    rows = TrackSet.unnamed(head, len(assays)).to_rows()
    return TrackSet.from_rows(head, {**rows, "assay": list(assays)})


def write_dataset(
    root: Path, *heads: str, assays: Mapping[str, Sequence[str]] | None = None
) -> Path:
    """Write a dataset of the heads, both unless named; each has its own bases.

    Tracks have no names, but for those of heads that `assays` has.
    """
    contents, sources = {}, {}
    for head in heads or TRACKS:
        splits = [split for split, count in COUNTS.items() for _ in range(count)]
        rows = tuple(
            Place(Interval("chr1", 1000 * i + 100, 1000 * i + 100 + SPEC.input_bp), split, i + 1)
            for i, split in enumerate(splits)
        )
        dropped = pa.Table.from_pylist([], schema=DROPPED_SEQUENCES.schema)
        tracks = named_tracks(head, (assays or {}).get(head, [""] * TRACKS[head]))
        contents[head] = HeadContent(Sequences(rows, dropped), tracks, {"sha256": "0"}, {})
        sources[head] = MadeUp(len(head), len(splits), TRACKS[head])
    writer = DatasetWriter.begin(root, contents, Layout(SPEC, MARGIN, 4))
    assert writer is not None
    for number in writer.pending():
        shard = writer.shards[number]
        places = contents[shard.head].sequences.of(shard.split)[shard.first : shard.end]
        source = sources[shard.head]
        examples = []
        for place in places:
            index = place.start // 1000
            target = source.target_NT(index).astype(np.float16)
            examples.append(Example(place, source.stored_EL[index], target))
        writer.write(number, examples)
    writer.seal()
    return root
