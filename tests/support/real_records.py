"""Real Basenji records as a published folder.

Their places are not known: each is given a chromosome of its own, of its own bases.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tfrecord_writer import write_folder

from cisray.dataset.tfrecords import Record, RecordShape, read_examples

SHAPE = RecordShape(262_144, 2_048, 10)
FILE = "data/basenji_tfrecords/cage10-train-00000-of-00100.tfrecord"
FRAME = 16  # bytes around a record: its length, and two checksums


def publish(shared: Path, folder: Path, count: int) -> tuple[dict[str, Any], Sequence[Record]]:
    """Write the first records and their FASTA; return options of an import, and the records."""
    published = folder / "published"
    numbers = {
        "num_targets": SHAPE.tracks,
        "seq_length": SHAPE.length,
        "pool_width": 128,
        "crop_bp": 0,
        "target_length": SHAPE.bins,
    }
    rows = [(f"r{number}", 0, SHAPE.length, "train") for number in range(count)]
    write_folder(published, rows, {}, **numbers)
    (published / "tfrecords").mkdir()
    (published / "tfrecords/train-0.tfr").write_bytes(zlib.compress(_first(shared / FILE, count)))
    records = list(read_examples(shared / FILE, SHAPE))[:count]
    letters = np.frombuffer(b"ACGTN", np.uint8)
    fasta = folder / "records.fa"
    with fasta.open("wb") as handle:
        for number, record in enumerate(records):
            handle.write(b">r%d\n%b\n" % (number, letters[record.codes_L].tobytes()))
    options = {"folder": published, "head": "human", "fasta": fasta, "workers": 0}
    return options, records


def _first(path: Path, count: int) -> bytes:
    """Cut the decompressed file after so many records."""
    raw, at = zlib.decompress(path.read_bytes()), 0
    for _ in range(count):
        at += FRAME + struct.unpack_from("<Q", raw, at)[0]
    return raw[:at]
