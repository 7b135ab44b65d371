"""The numbered lines of a text file, plain, gzip or BGZF, and whether the file is whole.

Knows compression and line ends; knows nothing of what the lines say. Memory is one block and one
line, whatever the size of the file. Checksums and the BGZF end marker are verified, so that a file
cut short is an error and not fewer lines.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cisray.errors import VariantsError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # UTF-8's, which Windows puts before text
# What pysam raises for files that it cannot read: NotImplementedError is one of them.
PYSAM_ERRORS = (OSError, ValueError, NotImplementedError)

_GZIP_MAGIC = b"\x1f\x8b"
_BGZF_FIELD = b"\x06\x00BC\x02\x00"  # at byte 10, in htslib's and everybody's BGZF
# The empty block that ends a BGZF file (SAM specification, section 4.1.2).
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_BLOCK = 1 << 18
_LONGEST_LINE = 1 << 28


def first_bytes(path: Path, count: int) -> bytes:
    """Give the first bytes of the text, fewer where it has fewer.

    Raises `VariantsError` for what is missing, no regular file, unreadable, damaged, or a BGZF file
    without its end marker.
    """
    try:
        if not path.exists():
            raise VariantsError(f"there is no file of variants {path}: check the path.")
        if not path.is_file():
            raise VariantsError(
                f"{path} is a folder, a pipe or a device, which cannot be read twice: store the "
                "variants in a file."
            )
        with path.open("rb") as stored:
            _check_end(path, stored)
            return _text_of(stored).read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, 1, error) from error


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give each line's 1-based number and its bytes, without the line end (LF or CR LF).

    A byte order mark before the first line is left out. Raises `VariantsError` with the line at
    which the file is damaged or cut short, or which is longer than 256 MiB.
    """
    number = 0
    parts: list[bytes] = []  # of the line that is not at its end yet
    for block in _blocks(path):
        head, newline, tail = block.partition(b"\n")
        parts.append(head)
        if not newline:
            _check_length(path, number + 1, parts)
            continue
        lines = (b"".join(parts) + newline + tail).split(b"\n")
        parts = [lines.pop()]
        for line in lines:
            number += 1
            yield number, line.removesuffix(b"\r")
    last = b"".join(parts)
    if last:
        yield number + 1, last.removesuffix(b"\r")


def _check_length(path: Path, number: int, parts: list[bytes]) -> None:
    if sum(map(len, parts)) > _LONGEST_LINE:
        raise VariantsError(
            f"{path}:{number}: this line is longer than {_LONGEST_LINE:,} bytes: the file is no "
            "text with line ends."
        )


def _blocks(path: Path) -> Iterator[bytes]:
    lines_before = 0
    try:
        with path.open("rb") as stored:
            text = _text_of(stored)
            block = text.read(_BLOCK).removeprefix(BYTE_ORDER_MARK)
            while block:
                lines_before += block.count(b"\n")
                yield block
                block = text.read(_BLOCK)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, lines_before + 1, error) from error


def _text_of(stored: BinaryIO) -> BinaryIO:
    magic = stored.read(len(_GZIP_MAGIC))
    stored.seek(0)
    return gzip.GzipFile(fileobj=stored) if magic == _GZIP_MAGIC else stored  # type: ignore[return-value]  # GzipFile reads as BinaryIO does


def _check_end(path: Path, stored: BinaryIO) -> None:
    header = stored.read(16)
    if header.startswith(_GZIP_MAGIC) and header[10:16] == _BGZF_FIELD:
        stored.seek(max(-len(_BGZF_END), -os.fstat(stored.fileno()).st_size), os.SEEK_END)
        if stored.read() != _BGZF_END:
            raise VariantsError(
                f"{path} lacks the empty block that ends a BGZF file: it was cut short, by an "
                "interrupted copy or download, say. Fetch it again, or compress it anew with bgzip."
            )
    stored.seek(0)


def _unreadable(path: Path, line: int, error: Exception) -> VariantsError:
    return VariantsError(
        f"{path}:{line}: the file cannot be read from about this line on: {error}. It is damaged "
        "or cut short: fetch it again, or compress it anew."
    )
