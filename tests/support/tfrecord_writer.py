"""Fabricates TFRecord files of training examples and folders of them, whole or with faults.

Writes the format from its description; shares no code with the reader.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tensor_bundle_writer import masked_crc, message


def feature(name: str, content: bytes) -> bytes:
    """An entry of the map of features."""
    return message(1, message(1, name.encode()) + message(2, content))


def bytes_value(value: bytes) -> bytes:
    """A feature of one bytes value."""
    return message(1, message(1, value))


def example_proto(features: Mapping[str, bytes]) -> bytes:
    """A tf.train.Example with one bytes value for each feature."""
    return message(1, b"".join(feature(name, bytes_value(v)) for name, v in features.items()))


def float_list_proto(sequence: bytes, target: np.ndarray) -> bytes:
    """An example whose target is a packed list of floats, as in Basenji's first data."""
    floats = message(2, message(1, target.astype("<f4").tobytes()))
    return message(1, feature("sequence", bytes_value(sequence)) + feature("target", floats))


def framed(payload: bytes) -> bytes:
    """A record: length, its masked CRC-32C, the payload, and its."""
    length = struct.pack("<Q", len(payload))
    checks = (struct.pack("<I", masked_crc(part)) for part in (length, payload))
    return length + next(checks) + payload + next(checks)


def write_records(path: Path, payloads: Iterable[bytes]) -> Path:
    """A file of records in one ZLIB stream."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zlib.compress(b"".join(framed(payload) for payload in payloads)))
    return path


def onehot_bytes(codes: np.ndarray) -> bytes:
    """Rows of four bytes, all zero for code 4, as in the data of 2020."""
    return np.vstack([np.eye(4), np.zeros((1, 4))])[codes].astype(np.uint8).tobytes()


def payload(codes: np.ndarray, target: np.ndarray, *, onehot: bool = True) -> bytes:
    """An example of either encoding; the target's dtype is stored as it is."""
    sequence = onehot_bytes(codes) if onehot else codes.astype(np.uint8).tobytes()
    return example_proto({"sequence": sequence, "target": target.tobytes()})


def write_folder(
    root: Path,
    rows: Sequence[tuple[str, int, int, str]],
    files: Mapping[str, Sequence[bytes]],
    **numbers: int,
) -> Path:
    """A published folder: `files` are payloads by name, `numbers` those of statistics.json."""
    root.mkdir(parents=True, exist_ok=True)
    for name, payloads in files.items():
        write_records(root / "tfrecords" / name, payloads)
    splits = [row[3] for row in rows]
    counts = {f"{split}_seqs": splits.count(split) for split in dict.fromkeys(splits)}
    (root / "statistics.json").write_text(json.dumps({**counts, **numbers}))
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (root / "sequences.bed").write_text(lines)
    table = ["index\tidentifier\tclip\tscale\tsum_stat\tdescription"]
    tracks = range(numbers["num_targets"])
    table += [f"{track}\tC{track}\t100\t1\tsum\tCAGE:track {track}" for track in tracks]
    (root / "targets.txt").write_text("\n".join(table) + "\n")
    return root
