"""TFRecord files of training examples, as Basenji, Enformer and Borzoi publish them.

Knows the compressed stream, the framing with its checksums, and the two features of an example;
knows nothing of genomes, and needs no TensorFlow. Formats: tensorflow/core/lib/io/record_writer.h
and tensorflow/core/example/{example,feature}.proto.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cisray.errors import RecordError
from cisray.genome.encode import UNKNOWN
from cisray.wire import WireError, fields, unmask

_STEP = 1 << 20
_ANY_HEADER = 15 + 32  # zlib's window, and either header: of ZLIB or of gzip
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_LONGEST = 1 << 31
_BASES = 4


@dataclass(frozen=True, slots=True)
class RecordShape:
    """What an example of a dataset must hold: L bases, N bins, T tracks."""

    length: int
    bins: int
    tracks: int


@dataclass(frozen=True, slots=True)
class Record:
    """One example: codes of its bases (4 for N) and its targets, however they are stored."""

    codes_L: NDArray[np.uint8]
    target_NT: NDArray[np.float32]


def read_examples(path: Path, shape: RecordShape) -> Iterator[Record]:
    """Read the examples of a file, in order, each with its checksums verified.

    Raises RecordError, with the file and the record's number from 0, for a file that cannot be
    opened, is damaged or cut short, and for examples of another shape.
    """
    for number, payload in enumerate(read_records(path)):
        try:
            features = _features(payload)
            codes_L = _sequence(features, shape)
            yield Record(codes_L, _target(features, shape))
        except (WireError, ValueError) as error:
            raise RecordError(f"{path}, record {number}: {error}.") from error


def read_records(path: Path) -> Iterator[bytes]:
    """Read the payloads of a compressed TFRecord file. Raises RecordError."""
    stream = _Inflated(path)
    number = 0
    while header := stream.take(_LENGTH.size + _CRC.size, number, may_end=True):
        (size,) = _LENGTH.unpack_from(header)
        _check_crc(header[: _LENGTH.size], header[_LENGTH.size :], path, number, "length")
        if size > _LONGEST:
            raise RecordError(
                f"{path}, record {number}: a length of {size:,} bytes is no record's."
            )
        payload = stream.take(size, number)
        _check_crc(payload, stream.take(_CRC.size, number), path, number, "content")
        yield payload
        number += 1


def _check_crc(data: bytes, stored: bytes, path: Path, number: int, what: str) -> None:
    found, expected = google_crc32c.value(data), unmask(_CRC.unpack(stored)[0])
    if found != expected:
        raise RecordError(
            f"{path}, record {number}: its {what} is damaged: the CRC-32C is {found:#010x}, "
            f"{expected:#010x} was stored. Fetch the file again."
        )


class _Inflated:
    """The bytes of a compressed file, as many at a time as are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ready = bytearray()
        self._pieces = self._inflate()

    def take(self, size: int, number: int, *, may_end: bool = False) -> bytes:
        """Give the next bytes, none where the file `may_end`. Raises RecordError."""
        while len(self._ready) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._ready += piece
        if len(self._ready) < size and not (may_end and not self._ready):
            raise RecordError(
                f"{self._path}, record {number}: the file ends in the middle of it. It was cut "
                f"short: fetch it again."
            )
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def _inflate(self) -> Iterator[bytes]:
        unpack = zlib.decompressobj(_ANY_HEADER)
        try:
            with self._path.open("rb") as stored:
                while chunk := stored.read(_STEP):
                    yield unpack.decompress(chunk)
                    if unpack.unused_data:
                        raise RecordError(f"{self._path}: there are bytes after the ZLIB stream.")
        except OSError as error:
            raise RecordError(f"cannot read {self._path}: {error.strerror}.") from error
        except zlib.error as error:
            raise RecordError(
                f"{self._path} is no ZLIB stream, or is damaged: {error}. Fetch it again."
            ) from error
        if not unpack.eof:
            raise RecordError(
                f"{self._path}: the ZLIB stream has no end: the file was cut short. Fetch it again."
            )


class _Feature(NamedTuple):
    """The content of a feature: one value of bytes, or floats of four bytes side by side."""

    raw: bytes
    is_floats: bool


def _features(payload: bytes) -> dict[str, _Feature]:
    """Unpack Example { features { feature: map of name to Feature } }.

    A Feature is a bytes_list { value }, of which one value is wanted, or a float_list { value }
    in packed form; others are left out.
    """
    found: dict[str, _Feature] = {}
    for features in _messages(payload, 1):
        for entry in _messages(features, 1):
            name = b"".join(_messages(entry, 1)).decode()
            for feature in _messages(entry, 2):
                values = [v for listed in _messages(feature, 1) for v in _messages(listed, 1)]
                floats = [v for listed in _messages(feature, 2) for v in _messages(listed, 1)]
                if len(values) == 1:
                    found[name] = _Feature(values[0], is_floats=False)
                elif floats:
                    found[name] = _Feature(b"".join(floats), is_floats=True)
    return found


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    """Give the length-delimited fields of one number."""
    for field, value in fields(message):
        if field == number:
            if isinstance(value, int):
                raise ValueError(f"field {number} is a number, not bytes")
            yield value


def _feature(features: dict[str, _Feature], name: str) -> _Feature:
    if name not in features:
        raise ValueError(
            f"it has no feature {name!r} of one bytes value or of packed floats; it has "
            f"{', '.join(features) or 'none'}"
        )
    return features[name]


def _sequence(features: dict[str, _Feature], shape: RecordShape) -> NDArray[np.uint8]:
    """Give codes of either encoding, told apart by length: four bytes a base, or its code."""
    raw = np.frombuffer(_feature(features, "sequence").raw, dtype=np.uint8)
    if raw.size == shape.length:
        if raw.max(initial=0) > UNKNOWN:
            raise ValueError(f"its sequence has the code {raw.max()}; codes are 0 to {UNKNOWN}")
        return raw
    if raw.size != _BASES * shape.length:
        raise ValueError(
            f"its sequence has {raw.size:,} bytes; {shape.length:,} bases take {shape.length:,} as "
            f"codes or {_BASES * shape.length:,} as one-hot rows"
        )
    rows_LA = raw.reshape(shape.length, _BASES)
    ones_L = rows_LA.sum(axis=1, dtype=np.int64)
    if rows_LA.max(initial=0) > 1 or ones_L.max(initial=0) > 1:
        raise ValueError("its sequence is not one-hot: a base has more than a single 1")
    codes: NDArray[np.uint8] = np.where(ones_L == 1, rows_LA.argmax(axis=1), UNKNOWN).astype(
        np.uint8
    )
    return codes


def _target(features: dict[str, _Feature], shape: RecordShape) -> NDArray[np.float32]:
    """Give targets that are stored as bytes of float16 or float32, or as a list of floats."""
    raw, is_floats = _feature(features, "target")
    values = shape.bins * shape.tracks
    if len(raw) == 2 * values and not is_floats:
        half = np.frombuffer(raw, dtype="<f2").astype(np.float32)
        return half.reshape(shape.bins, shape.tracks)
    if len(raw) == 4 * values:
        single = np.frombuffer(raw, dtype="<f4").astype(np.float32)
        return single.reshape(shape.bins, shape.tracks)
    raise ValueError(
        f"its target has {len(raw):,} bytes; {shape.bins:,} bins of {shape.tracks:,} tracks take "
        f"{2 * values:,} as float16 or {4 * values:,} as float32. Are statistics.json and "
        f"targets.txt of this dataset?"
    )
