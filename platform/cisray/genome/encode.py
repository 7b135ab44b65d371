"""Bases as numbers: codes, one-hot rows, and the other strand.

Knows the order of the alphabet, A C G T, and that everything else is code 4 and an all-zero row;
knows nothing of files. Whether a byte may stand in a FASTA at all is `reference`'s question.
"""

import numpy as np
from numpy.typing import NDArray

ALPHABET = "ACGT"
UNKNOWN = 4  # N and every other letter

_CODE_OF_BYTE = np.full(256, UNKNOWN, dtype=np.uint8)
for _code, _letter in enumerate(ALPHABET):
    _CODE_OF_BYTE[ord(_letter)] = _CODE_OF_BYTE[ord(_letter.lower())] = _code
_BYTE_OF_CODE = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, UNKNOWN], dtype=np.uint8)
_ROWS = np.vstack([np.eye(4, dtype=np.float32), np.zeros((1, 4), dtype=np.float32)])


def _checked(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if codes.dtype != np.uint8:
        raise TypeError(f"base codes are uint8, got {codes.dtype}")
    if codes.size and codes.max() > UNKNOWN:
        raise ValueError(f"base codes are 0 to {UNKNOWN}, got {codes.max()}")
    return codes


def encode(text: str | bytes) -> NDArray[np.uint8]:
    """Turn letters of either case into codes_L: A 0, C 1, G 2, T 3, anything else 4.

    >>> encode("ACgtNR").tolist()
    [0, 1, 2, 3, 4, 4]
    """
    # "replace" gives one byte for each character, so that no letter can lengthen the sequence.
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    return _CODE_OF_BYTE[np.frombuffer(raw, dtype=np.uint8)]


def decode(codes_L: NDArray[np.uint8]) -> str:
    """Turn codes back into upper-case letters, 4 into N; raise `ValueError` for codes above 4.

    >>> decode(encode("acgtR"))
    'ACGTN'
    """
    return _BYTE_OF_CODE[_checked(codes_L)].tobytes().decode("ascii")


def onehot(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn codes (..., L) into float32 one-hot rows (..., L, A); code 4 is an all-zero row.

    Raises `ValueError` for codes above 4.

    >>> onehot(encode("GN")).tolist()
    [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    rows: NDArray[np.float32] = _ROWS[_checked(codes)]
    return rows


def reverse_complement(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Read the other strand of codes (..., L), along the last axis; raise `ValueError` above 4.

    >>> decode(reverse_complement(encode("AACGN")))
    'NCGTT'
    """
    return np.ascontiguousarray(_COMPLEMENT[_checked(codes)][..., ::-1])
