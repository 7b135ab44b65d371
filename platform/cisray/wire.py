"""Bytes as TensorFlow writes them: the wire format of protocol buffers, and masked checksums.

Knows varints, the wire types and the masking of CRC-32C; knows nothing of any message or file.
"""

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


class WireError(ValueError):
    """The bytes are not a protocol buffer message."""


def unmask(masked: int) -> int:
    """Undo the masking of a stored CRC-32C: subtract a constant, rotate left by 15 bits.

    LevelDB and TensorFlow mask those that they store.

    >>> unmask(0xA282EAD8)
    0
    """
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a base-128 varint; return its value (unsigned, 64 bits) and the place after it.

    Raises WireError if the bytes end first or it is longer than 10 bytes.

    >>> read_varint(bytes([0xAC, 0x02]), 0)
    (300, 2)
    """
    value = 0
    for count in range(_LONGEST_VARINT):
        if at + count >= len(data):
            raise WireError(f"a varint at byte {at} is cut off")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & (2**64 - 1), at + count + 1
    raise WireError(f"a varint at byte {at} is longer than {_LONGEST_VARINT} bytes")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield field number and value of each field: an integer, or bytes if length-delimited.

    Fixed-width fields come as unsigned little-endian integers. Raises WireError.

    >>> list(fields(bytes([0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69])))
    [(1, 150), (2, b'hi')]
    """
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = read_varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = read_varint(message, at)
        elif wire in _FIXED_SIZES:
            size = _FIXED_SIZES[wire]
        else:
            raise WireError(f"field {number} has the wire type {wire}, which is not in use")
        chunk = message[at : at + size]
        if len(chunk) < size:
            raise WireError(f"field {number} is cut off")
        at += size
        yield number, chunk if wire == _BYTES else int.from_bytes(chunk, "little")
