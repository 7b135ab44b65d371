"""The sorted table of LevelDB, in which TensorFlow writes the index of a checkpoint.

Knows footers, blocks, prefix compression, Snappy and masked CRC-32C. Knows nothing of what the
keys and values mean. Format: doc/table_format.md of LevelDB.
"""

from collections.abc import Iterator

import cramjam
import google_crc32c

from cisray.wire import WireError, read_varint, unmask

MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # one byte of compression type, four of checksum
_RAW, _SNAPPY = 0, 1


class TableError(ValueError):
    """The bytes are not an undamaged LevelDB table; the message says where they break."""


def read_table(data: bytes) -> dict[bytes, bytes]:
    """Read a whole table, verifying every block's checksum; entries in the order of their keys.

    Raises TableError if the bytes are cut off, damaged or not a table.
    """
    try:
        metaindex_at, index_at = _handles(data)
        _block(data, *metaindex_at)  # TensorFlow leaves it empty; it is verified all the same
        entries: dict[bytes, bytes] = {}
        for _, handle in _entries(_block(data, *index_at)):
            entries.update(_entries(_block(data, *_handle(handle, 0)[0])))
    except WireError as error:
        raise TableError(str(error)) from error
    return entries


def _handles(data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Read the footer: where the metaindex block and the index block lie."""
    if len(data) < _FOOTER_BYTES:
        raise TableError(f"{len(data)} bytes are fewer than the footer of {_FOOTER_BYTES}")
    footer = data[-_FOOTER_BYTES:]
    magic = int.from_bytes(footer[-8:], "little")
    if magic != MAGIC:
        raise TableError(f"the last 8 bytes are {magic:#x}, a table ends in {MAGIC:#x}")
    metaindex, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    return metaindex, index


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Read the handle of a block: offset and size in bytes, and the place after it."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise TableError(f"a block at byte {offset} of {size} bytes leaves the file")
    kind = data[end]
    stored = unmask(int.from_bytes(data[end + 1 : end + _TRAILER_BYTES], "little"))
    found = google_crc32c.value(data[offset : end + 1])
    if found != stored:
        raise TableError(
            f"the block at byte {offset} has the CRC-32C {found:#010x}, {stored:#010x} was stored"
        )
    if kind == _RAW:
        return data[offset:end]
    if kind != _SNAPPY:
        raise TableError(f"the block at byte {offset} has the unknown compression type {kind}")
    try:
        return bytes(cramjam.snappy.decompress_raw(data[offset:end]))
    except cramjam.DecompressionError as error:
        raise TableError(f"the block at byte {offset} is not Snappy: {error}") from error


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block; each key shares a prefix with the one before it."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if len(block) < 4 or end < 0:
        raise TableError(f"a block of {len(block)} bytes cannot hold {restarts} restart points")
    at, key = 0, b""
    while at < end:
        shared, at = read_varint(block, at)
        fresh, at = read_varint(block, at)
        length, at = read_varint(block, at)
        if shared > len(key) or at + fresh + length > end:
            raise TableError("an entry leaves its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length
