"""Fabricates TensorFlow checkpoints (tensor bundles), whole or with one thing wrong, for tests.

Writes the format from its description, with its own varints, CRC masking and prefix compression;
shares no code with the reader.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cramjam
import google_crc32c
import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}
MAGIC = 0xDB4775248B80FB57


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def entry_proto(
    dtype: int, shape: tuple[int, ...], shard: int, span: tuple[int, int], crc: int
) -> bytes:
    dims = b"".join(message(2, number(1, size)) for size in shape)
    head = number(1, dtype) + message(2, dims)
    if shard:
        head += number(3, shard)
    return (
        head + number(4, span[0]) + number(5, span[1]) + varint(6 << 3 | 5) + struct.pack("<I", crc)
    )


def block(entries: list[tuple[bytes, bytes]], restart_every: int = 4) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + b"".join(struct.pack("<I", r) for r in [*restarts, len(restarts)])


def table(entries: list[tuple[bytes, bytes]], *, snappy: bool = False, per_block: int = 7) -> bytes:
    out, handles = bytearray(), []

    def put(content: bytes) -> bytes:
        kind = b"\x01" if snappy else b"\x00"
        stored = bytes(cramjam.snappy.compress_raw(content)) if snappy else content
        handle = varint(len(out)) + varint(len(stored))
        out.extend(stored + kind + struct.pack("<I", masked_crc(stored + kind)))
        return handle

    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        handles.append((part[-1][0], put(block(part))))
    meta = put(block([]))
    footer = meta + put(block(handles, restart_every=1))
    return bytes(out) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def write_bundle(
    prefix: Path,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    *,
    shards: int = 1,
    snappy: bool = False,
    header: bytes | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write `prefix`.index and its shards, tensors dealt out to the shards in turn."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    data = [bytearray() for _ in range(shards)]
    entries = {b"": header if header is not None else number(1, shards) + message(3, number(1, 1))}
    for turn, (key, values) in enumerate(sorted(tensors.items())):
        raw = np.ascontiguousarray(values).tobytes()
        shard = turn % shards
        span = (len(data[shard]), len(raw))
        data[shard] += raw
        kind = DTYPES[values.dtype.name]
        entries[key.encode()] = entry_proto(kind, values.shape, shard, span, masked_crc(raw))
    for key, value in (extra or {}).items():
        entries[key.encode()] = value
    index = prefix.with_name(prefix.name + ".index")
    index.write_bytes(table(sorted(entries.items()), snappy=snappy))
    for shard, content in enumerate(data):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    return prefix
