"""How fast examples come from a dataset, augmented and stacked, with nothing that uses them.

Knows how a dataset is written and read; knows no model. The dataset is made up, of the published
geometry, and read as `cisray train` reads it; the files may be in the page cache.

    python benchmarks/training_input.py [--examples 32] [--tracks 5313] [--readers 0,1,2]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from measuring import load_average, machine_facts, publish, table

from cisray.dataset.build_plan import HeadContent, Layout
from cisray.dataset.examples import Dataset
from cisray.dataset.sequences import Sequence, Sequences
from cisray.dataset.writer import DatasetWriter, Example
from cisray.genome.interval import Interval
from cisray.genome.windows import WindowSpec
from cisray.tracks import TrackSet
from cisray.training.augment import Augmentation, Drawing
from cisray.training.batches import Share, TrainingBatches
from cisray.training.examples import HeadData
from cisray.training.order import Alternation
from cisray_schemas.training_examples import DROPPED_SEQUENCES

HEAD, MARGIN, PER_SHARD = "human", 3, 16
PUBLISHED_EXAMPLES = 32


def write(root: Path, examples: int, tracks: int, spec: WindowSpec) -> None:
    """Write random bases and targets that are mostly small, as measured ones are."""
    rows = tuple(
        Sequence(Interval("chr1", 1000 + i, 1000 + i + spec.input_bp), "train", i + 1)
        for i in range(examples)
    )
    dropped = pa.Table.from_pylist([], schema=DROPPED_SEQUENCES.schema)
    content = HeadContent(
        Sequences(rows, dropped), TrackSet.unnamed(HEAD, tracks), {"sha256": "0"}, {}
    )
    writer = DatasetWriter.begin(root, {HEAD: content}, Layout(spec, MARGIN, PER_SHARD))
    assert writer is not None
    draws = np.random.default_rng(0)
    for number in writer.pending():
        shard = writer.shards[number]
        made = []
        for row in rows[shard.first : shard.end]:
            codes = draws.integers(0, 4, spec.input_bp + 2 * MARGIN).astype(np.uint8)
            target = draws.gamma(0.3, 1.0, (spec.target_bins, tracks)).astype(np.float16)
            made.append(Example(row.interval, codes, target))
        writer.write(number, made)
    writer.seal()


def examples_per_s(root: Path, readers: int, batches: int) -> float:
    """Read so many batches of one example each; the first is not timed."""
    data = {HEAD: HeadData(Dataset.open(root).examples(HEAD, "train"))}
    found = TrainingBatches(
        data, Alternation((HEAD,), 1), Drawing(0, Augmentation()), Share(0, 1, 1)
    ).read(0, batches + 1, readers)
    next(found)
    begun = time.perf_counter()
    assert sum(len(batch.codes_BL) for batch in found) == batches
    return batches / (time.perf_counter() - begun)


def main() -> None:
    """Write a dataset, read it, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=PUBLISHED_EXAMPLES)
    parser.add_argument("--tracks", type=int, default=5313, help="fewer: a trial")
    parser.add_argument("--readers", default="0,1,2", help="processes that read ahead")
    options = parser.parse_args()
    before = load_average()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="cisray-bench-") as folder:
        root = Path(folder) / "dataset"
        write(root, options.examples, options.tracks, WindowSpec())
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        rates = {
            readers: examples_per_s(root, readers, 2 * options.examples)
            for readers in map(int, options.readers.split(","))
        }
    rows = [("readers", "examples/s"), *((str(n), f"{rate:.1f}") for n, rate in rates.items())]
    text = (
        f"Examples of 196,608 bp and 896 x {options.tracks:,} targets, "
        f"{size / options.examples / 1e6:.2f} MB each on disk:\n\n{table(rows)}"
    )
    facts = {
        "benchmark": "training_input",
        "examples_per_s": rates,
        "bytes_per_example": size / options.examples,
        "machine": machine_facts(1),
        "load_average": [before, load_average()],
    }
    is_whole = options.tracks == 5313 and options.examples >= PUBLISHED_EXAMPLES
    publish("training_input", text, facts, keep=is_whole)


if __name__ == "__main__":
    main()
