"""TFRecords: both encodings, and every way in which a file can be damaged, told by record."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfrecord_writer import (
    example_proto,
    float_list_proto,
    framed,
    onehot_bytes,
    payload,
    write_records,
)

from cisray.dataset.tfrecords import RecordShape, read_examples, read_records
from cisray.errors import RecordError

SHAPE = RecordShape(length=12, bins=3, tracks=2)
CODES = np.array([0, 1, 2, 3, 4, 3, 2, 1, 0, 0, 4, 3], np.uint8)
TARGET = np.arange(6, dtype=np.float16).reshape(3, 2) / 4


@pytest.mark.parametrize("onehot", [True, False])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_both_encodings_of_bases_and_both_of_targets(tmp_path: Path, onehot, kind) -> None:
    path = write_records(tmp_path / "a.tfr", [payload(CODES, TARGET.astype(kind), onehot=onehot)])
    (record,) = read_examples(path, SHAPE)
    assert record.codes_L.tolist() == CODES.tolist()
    assert record.target_NT.tolist() == TARGET.tolist()


def test_targets_as_a_list_of_floats(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfr", [float_list_proto(onehot_bytes(CODES), TARGET)])
    (record,) = read_examples(path, SHAPE)
    assert record.target_NT.tolist() == TARGET.tolist()
    half = TARGET.ravel()[:3].astype(np.float32)
    path = write_records(tmp_path / "b.tfr", [float_list_proto(onehot_bytes(CODES), half)])
    with pytest.raises(RecordError, match="its target has 12 bytes"):
        list(read_examples(path, SHAPE))


@given(payloads=st.lists(st.binary(max_size=300), max_size=6))
def test_any_payloads_come_back_in_order(tmp_path_factory, payloads: list[bytes]) -> None:
    path = write_records(tmp_path_factory.mktemp("r") / "a.tfr", payloads)
    assert list(read_records(path)) == payloads


def spoiled(path: Path, raw: bytes, *, cut: int | None = None) -> Path:
    stream = zlib.compress(raw)
    path.write_bytes(stream if cut is None else stream[:cut])
    return path


GOOD = payload(CODES, TARGET)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (3, "record 1: its length is damaged"),
        (9, "record 1: its length is damaged"),
        (40, "record 1: its content is damaged"),
        (-1, "record 1: its content is damaged"),
    ],
)
def test_a_flipped_bit_is_found_and_told_by_record(tmp_path: Path, at: int, message: str) -> None:
    second = bytearray(framed(GOOD))
    second[at] ^= 0x10
    path = spoiled(tmp_path / "a.tfr", framed(GOOD) + bytes(second))
    with pytest.raises(RecordError, match=f"a.tfr, {message}"):
        list(read_examples(path, SHAPE))


def test_a_file_cut_short_is_found_wherever_it_was_cut(tmp_path: Path) -> None:
    raw = framed(GOOD) * 3
    stream = zlib.compress(raw)
    for cut in range(len(stream)):
        path = spoiled(tmp_path / "a.tfr", raw, cut=cut)
        with pytest.raises(RecordError, match=r"a\.tfr"):
            list(read_examples(path, SHAPE))


@pytest.mark.parametrize("left", [1, 8, 11, 12, 30, len(framed(GOOD)) - 1])
def test_a_stream_that_ends_within_a_record_is_found(tmp_path: Path, left: int) -> None:
    path = spoiled(tmp_path / "a.tfr", framed(GOOD) + framed(GOOD)[:left])
    with pytest.raises(RecordError, match="record 1: the file ends in the middle"):
        list(read_examples(path, SHAPE))


def test_bytes_after_the_stream_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.tfr").write_bytes(zlib.compress(framed(GOOD)) + b"more")
    with pytest.raises(RecordError, match="bytes after the ZLIB stream"):
        list(read_records(tmp_path / "a.tfr"))


def test_an_uncompressed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tfr").write_bytes(framed(GOOD))
    with pytest.raises(RecordError, match="is no ZLIB stream"):
        list(read_records(tmp_path / "a.tfr"))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"sequence": onehot_bytes(CODES[:-1]), "target": TARGET.tobytes()}, "has 44 bytes; 12"),
        ({"sequence": onehot_bytes(CODES), "target": TARGET.tobytes()[:-2]}, "target has 10 byt"),
        (
            {"sequence": onehot_bytes(CODES)},
            "no feature 'target' of one bytes value or .* it has seq",
        ),
        ({"sequence": b"\x05" * 12, "target": TARGET.tobytes()}, "has the code 5"),
        ({"sequence": b"\x01" * 48, "target": TARGET.tobytes()}, "is not one-hot"),
        ({"sequence": b"\x02" + bytes(47), "target": TARGET.tobytes()}, "is not one-hot"),
    ],
)
def test_examples_of_another_shape_are_told_by_record(tmp_path: Path, features, message) -> None:
    path = write_records(tmp_path / "a.tfr", [GOOD, example_proto(features)])
    with pytest.raises(RecordError, match=f"a.tfr, record 1: .*{message}"):
        list(read_examples(path, SHAPE))


def test_what_is_no_example_is_told_by_record(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfr", [GOOD, b"\xff" * 20])
    with pytest.raises(RecordError, match="record 1: "):
        list(read_examples(path, SHAPE))


def test_a_length_that_no_record_has_is_refused_before_it_is_read(tmp_path: Path) -> None:
    from tensor_bundle_writer import masked_crc

    length = struct.pack("<Q", 1 << 40)
    path = spoiled(tmp_path / "a.tfr", length + struct.pack("<I", masked_crc(length)))
    with pytest.raises(RecordError, match="no record's"):
        list(read_records(path))
