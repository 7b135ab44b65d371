import struct
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensor_bundle_writer import (
    MAGIC,
    entry_proto,
    masked_crc,
    message,
    number,
    table,
    write_bundle,
)

from cisray.errors import CheckpointError
from cisray.model.checkpoints.leveldb_table import TableError, read_table
from cisray.model.checkpoints.tensor_bundle import TensorBundle
from cisray.wire import WireError, fields, read_varint

VALUES = {
    "module/_trunk/w": np.arange(60, dtype=np.float32).reshape(3, 4, 5) - 17,
    "module/_trunk/counter": np.array(2**40 + 3, dtype=np.int64),
    "module/_trunk/half": np.array([1.5, -2.25], dtype=np.float16),
    "module/_trunk/none": np.empty((0, 4), dtype=np.float32),
    **{f"module/_trunk/many/{i}": np.full(3, i, dtype=np.float64) for i in range(40)},
}


@pytest.mark.parametrize("snappy", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_tensor_comes_back(tmp_path: Path, shards: int, snappy: bool) -> None:
    prefix = write_bundle(tmp_path / "model-1", VALUES, shards=shards, snappy=snappy)
    bundle = TensorBundle.open(prefix)
    assert bundle.keys() == tuple(sorted(VALUES))
    assert bundle.shards == shards
    for key, values in VALUES.items():
        read = bundle.read(key)
        assert read.dtype == values.dtype
        assert bundle.shape(key) == read.shape == values.shape
        np.testing.assert_array_equal(read, values)
        assert read.flags.writeable


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    # 1.0 is 0x3f80 and -3.140625 is 0xc049 in bfloat16: the upper halves of the float32.
    raw = struct.pack("<2H", 0x3F80, 0xC049)
    entry = entry_proto(14, (2,), 0, (0, 4), masked_crc(raw))
    prefix = write_bundle(tmp_path / "m", {}, extra={"b": entry})
    prefix.with_name("m.data-00000-of-00001").write_bytes(raw)
    read = TensorBundle.open(prefix).read("b")
    assert read.dtype == np.float32
    assert read.tolist() == [1.0, -3.140625]


def folder_with_pointer(folder: Path, recorded: str) -> Path:
    write_bundle(folder / "model-1", VALUES)
    write_bundle(folder / "model-2", {})
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "{recorded}"\nall_model_checkpoint_paths: "model-2"\n'
    )
    return folder


def saved_model(folder: Path) -> Path:
    write_bundle(folder / "variables" / "variables", VALUES)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: write_bundle(folder / "model-1.ckpt", VALUES),
        lambda folder: write_bundle(folder / "model-1", VALUES).with_name("model-1.index"),
        lambda folder: write_bundle(folder / "m", VALUES).with_name("m.data-00000-of-00001"),
        lambda folder: write_bundle(folder / "model-1", VALUES).parent,
        lambda folder: folder_with_pointer(folder, "model-1"),
        lambda folder: folder_with_pointer(folder, "/where/it/was/trained/model-1"),
        saved_model,
        lambda folder: saved_model(folder) / "saved_model.pb",
    ],
)
def test_a_checkpoint_is_found_however_it_is_named(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    bundle = TensorBundle.open(make(tmp_path))
    np.testing.assert_array_equal(bundle.read("module/_trunk/w"), VALUES["module/_trunk/w"])


def test_paths_that_mean_no_single_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no TensorFlow checkpoint at"):
        TensorBundle.open(tmp_path)
    write_bundle(tmp_path / "a", VALUES)
    write_bundle(tmp_path / "b", VALUES)
    with pytest.raises(CheckpointError, match=r"holds the indices a\.index, b\.index"):
        TensorBundle.open(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "c"\n')
    with pytest.raises(
        CheckpointError, match=r"names the checkpoint c, but .*c.index does not exist"
    ):
        TensorBundle.open(tmp_path)
    (tmp_path / "checkpoint").write_text("nonsense")
    with pytest.raises(CheckpointError, match="no line model_checkpoint_path"):
        TensorBundle.open(tmp_path)


def test_damage_in_the_data_is_named_by_tensor(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "m", VALUES, shards=2)
    bundle = TensorBundle.open(prefix)
    entry = bundle.entries["module/_trunk/w"]
    shard = bundle.shard_file(entry.shard)
    content = bytearray(shard.read_bytes())
    content[entry.offset + 5] ^= 0x10
    shard.write_bytes(content)
    raw = bytes(content[entry.offset : entry.offset + entry.size])
    found, stored = (
        google_crc32c.value(raw),
        google_crc32c.value(VALUES["module/_trunk/w"].tobytes()),
    )
    said = rf"tensor module/_trunk/w .*{shard.name} have the CRC-32C {found:#010x}, {stored:#010x}"
    with pytest.raises(CheckpointError, match=said):
        bundle.read("module/_trunk/w")
    assert bundle.read("module/_trunk/w", verify=False).shape == (3, 4, 5)
    shard.write_bytes(content[: entry.offset + entry.size - 1])
    end = entry.offset + entry.size
    with pytest.raises(CheckpointError, match=f"truncated: it has {end - 1} bytes, .*byte {end}"):
        bundle.read("module/_trunk/w")
    shard.unlink()
    with pytest.raises(
        CheckpointError, match=f"{shard.name}, which holds the tensor .*cannot be read"
    ):
        bundle.read("module/_trunk/w")
    with pytest.raises(CheckpointError, match=r"has no tensor module/_trunk/v. Did you mean"):
        bundle.read("module/_trunk/v")


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), snappy=st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_of_an_index_changes_what_is_read(
    place: float, bit: int, snappy: bool
) -> None:
    entries = [(f"key/{i:03d}".encode(), bytes([i]) * i) for i in range(30)]
    whole = table(entries, snappy=snappy)
    broken = bytearray(whole)
    broken[int(place * len(whole))] ^= 1 << bit
    # Only the footer carries no checksum: a bit flipped in its padding, or one that makes it point
    # at the empty metaindex (a table without a header, refused later), is all that may pass.
    try:
        read = read_table(bytes(broken))
    except TableError:
        return
    assert int(place * len(whole)) >= len(whole) - 48
    assert list(read.items()) in (entries, [])


@given(st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_no_truncated_index_is_read(place: float) -> None:
    whole = table([(f"key/{i:03d}".encode(), bytes([i]) * i) for i in range(30)])
    with pytest.raises(TableError):
        read_table(whole[: int(place * len(whole))])


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=300), max_size=60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_sorted_entries_come_back(content: dict[bytes, bytes], snappy: bool) -> None:
    entries = sorted(content.items())
    assert list(read_table(table(entries, snappy=snappy)).items()) == entries


def test_entries_and_blocks_must_stay_inside() -> None:
    # Shared 2, fresh 1, value 0: but there is no key before it to share two bytes with.
    orphan = bytes([2, 1, 0]) + b"x" + struct.pack("<2I", 0, 1)
    # The same key whole, whose value of 9 bytes is not there.
    short = bytes([0, 1, 9]) + b"x" + struct.pack("<2I", 0, 1)
    for block in (orphan, short):
        checked = block + b"\0"
        stored = checked + struct.pack("<I", masked_crc(checked))
        handle = bytes([0, len(block)])
        footer = (handle + handle).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
        with pytest.raises(TableError, match="an entry leaves its block"):
            read_table(stored + footer)
        beyond = (bytes([0, len(stored)]) * 2).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
        with pytest.raises(TableError, match="leaves the file"):
            read_table(stored + beyond)


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    prefix = write_bundle(tmp_path / "m", VALUES)
    index = prefix.with_name("m.index")
    good = index.read_bytes()
    cases = {
        "fewer than the footer of 48": good[:20],
        "a table ends in 0xdb4775248b80fb57": good[:-1] + b"\0",
        "has the CRC-32C": good[:10] + bytes([good[10] ^ 1]) + good[11:],
        "has no header": table([(b"x", b"")]),
        "big-endian": table([(b"", number(1, 1) + number(2, 1))]),
        "counts no data shards": table([(b"", b"")]),
        "is cut off": table([(b"", number(1, 1)), (b"x", message(2, b"abc")[:-1])]),
        "wire type 3": table([(b"", number(1, 1)), (b"x", bytes([1 << 3 | 3]))]),
    }
    for said, content in cases.items():
        index.write_bytes(content)
        with pytest.raises(CheckpointError, match=said):
            TensorBundle.open(prefix)


def test_tensors_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    extra = {
        "text": entry_proto(7, (), 0, (0, 3), 0),
        "slices": entry_proto(1, (1,), 0, (0, 4), 0) + message(7, b""),
        "wrong": entry_proto(1, (3,), 0, (0, 8), 0),
    }
    bundle = TensorBundle.open(write_bundle(tmp_path / "m", VALUES, extra=extra))
    with pytest.raises(CheckpointError, match=r"tensor text .* is of TensorFlow's type 7"):
        bundle.read("text")
    with pytest.raises(CheckpointError, match=r"tensor slices .* is partitioned"):
        bundle.read("slices")
    with pytest.raises(CheckpointError, match=r"shape \[3\], which takes 12 bytes, .* gives it 8"):
        bundle.read("wrong")


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_wire_numbers_come_back(value: int, fixed: int) -> None:
    encoded = number(5, value) + bytes([6 << 3 | 5]) + struct.pack("<I", fixed)
    assert list(fields(encoded)) == [(5, value), (6, fixed)]
    with pytest.raises(WireError, match="cut off"):
        list(fields(encoded[:-1]))
    with pytest.raises(WireError, match="longer than 10"):
        read_varint(b"\xff" * 11, 0)
