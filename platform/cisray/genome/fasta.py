"""The bytes of a FASTA file at any offset, whether it is plain or BGZF-compressed.

Knows what a whole file looks like from outside (BGZF blocks and their end marker) and refuses a
damaged one before anything is computed from it; knows nothing of sequences or of the .fai index.
Reads are positioned (`pread`), so threads may share one open file.
"""

import hashlib
import os
import stat
import struct
import zlib
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import BinaryIO, Protocol

from cisray.errors import FastaError, StorageError

_GZIP_MAGIC = b"\x1f\x8b"
_BGZF_MAGIC = b"\x1f\x8b\x08\x04"
_BGZF_FIELD = b"\x06\x00BC\x02\x00"  # the only extra field, as htslib demands too
_BGZF_HEADER = 18
_MAX_BLOCK = 1 << 16
_DIGEST_STEP = 1 << 20


class FastaFile(Protocol):
    """An open FASTA file: `size` bytes of text, wherever they are stored."""

    path: Path
    size: int
    compressed: bool

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly `size` bytes of text from `offset`; raise `FastaError` on damage."""
        ...

    def sha256(self) -> str:
        """Digest the file as stored, compressed or not."""
        ...

    def close(self) -> None:
        """Give the file handle back; reading afterwards raises `ValueError`."""
        ...


class _Stored:
    """The file as it lies on disk."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self._handle = handle
        self.stored_size = os.fstat(handle.fileno()).st_size

    def stored_at(self, offset: int, size: int) -> bytes:
        # The handle is asked for its number each time: a closed one raises, while a remembered
        # number could by now belong to another file.
        try:
            data = os.pread(self._handle.fileno(), size, offset)
        except OSError as error:
            raise StorageError(f"cannot read {self.path} at byte {offset:,}: {error}.") from error
        if len(data) != size:
            raise FastaError(
                f"{self.path} ends at byte {offset + len(data):,}, in the middle of what is read: "
                "the file is truncated or was changed while in use. Restore it and run again."
            )
        return data

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for offset in range(0, self.stored_size, _DIGEST_STEP):
            digest.update(self.stored_at(offset, min(_DIGEST_STEP, self.stored_size - offset)))
        return digest.hexdigest()

    def close(self) -> None:
        self._handle.close()


class PlainFasta(_Stored):
    """An uncompressed FASTA file."""

    compressed = False

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        super().__init__(path, handle)
        self.size = self.stored_size

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly `size` bytes from `offset`."""
        return self.stored_at(offset, size)


class BgzfFasta(_Stored):
    """A BGZF-compressed FASTA file; its blocks are found by walking their headers at opening.

    The walk replaces the .gzi index: it costs one small read for each 64 kB of text, cannot be
    stale, and finds a truncated file. Raises `FastaError`.
    """

    compressed = True

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        super().__init__(path, handle)
        self._stored_starts = [0]  # of each block, then the end of the file
        self._text_starts = [0]
        text_bytes = 0
        while self._stored_starts[-1] < self.stored_size:
            stored_end, text_bytes = self._block_after(self._stored_starts[-1])
            self._stored_starts.append(stored_end)
            self._text_starts.append(self._text_starts[-1] + text_bytes)
        self.size = self._text_starts[-1]
        if text_bytes != 0:
            raise FastaError(
                f"{path} lacks the empty block that ends a BGZF file: it was cut short, by an "
                "interrupted copy or download, say. Fetch it again, or compress it anew with bgzip."
            )

    def _block_after(self, start: int) -> tuple[int, int]:
        header = self.stored_at(start, min(_BGZF_HEADER, self.stored_size - start))
        if header[:4] != _BGZF_MAGIC or header[10:16] != _BGZF_FIELD or len(header) < _BGZF_HEADER:
            raise self._damaged(start, "no BGZF block starts there")
        (last_byte,) = struct.unpack_from("<H", header, 16)
        stored_end = start + last_byte + 1
        if stored_end > self.stored_size:
            raise self._damaged(start, "the file ends within this block")
        (text_bytes,) = struct.unpack("<I", self.stored_at(stored_end - 4, 4))
        if text_bytes > _MAX_BLOCK:
            raise self._damaged(start, f"it claims {text_bytes:,} bytes of text")
        return stored_end, text_bytes

    def _damaged(self, start: int, what: str) -> FastaError:
        return FastaError(
            f"{self.path} is damaged at its byte {start:,}: {what}. Fetch the file again, or "
            "decompress it with gunzip and compress it anew with bgzip."
        )

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly `size` bytes of text from `offset`, checking each block's checksum."""
        if offset < 0 or offset + size > self.size:
            raise FastaError(
                f"{self.path} holds {self.size:,} bytes of text, but bytes {offset:,} to "
                f"{offset + size:,} were asked for: its index belongs to another file."
            )
        first = bisect_right(self._text_starts, offset, hi=len(self._text_starts) - 1) - 1
        last = max(bisect_left(self._text_starts, offset + size), first + 1)
        base = self._stored_starts[first]
        stored = self.stored_at(base, self._stored_starts[last] - base)
        text = b"".join(self._inflate(stored, base, block) for block in range(first, last))
        begin = offset - self._text_starts[first]
        return text[begin : begin + size]

    def _inflate(self, stored: bytes, base: int, block: int) -> bytes:
        start, end = self._stored_starts[block], self._stored_starts[block + 1]
        try:
            text = zlib.decompress(stored[start - base : end - base], wbits=31)
        except zlib.error as error:
            raise self._damaged(start, str(error)) from error
        if len(text) != self._text_starts[block + 1] - self._text_starts[block]:
            raise self._damaged(start, f"it unpacks to {len(text):,} bytes")
        return text


def open_fasta(path: Path) -> FastaFile:
    """Open a plain or BGZF FASTA file, told apart by its first bytes.

    Raises `FastaError` for what is missing, a folder, empty, unreadable, compressed otherwise,
    truncated, or does not begin with `>`.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise FastaError(f"there is no FASTA file {path}: check the path.") from error
    except OSError as error:
        raise FastaError(f"cannot look at the FASTA file {path}: {error.strerror}.") from error
    if stat.S_ISDIR(found.st_mode):
        raise FastaError(f"{path} is a folder, not a FASTA file: name the file within it.")
    if not stat.S_ISREG(found.st_mode):
        raise FastaError(
            f"{path} is a pipe or a device, without random access: store the FASTA in a file."
        )
    try:
        handle = path.open("rb")
    except OSError as error:
        raise FastaError(f"cannot open the FASTA file {path}: {error.strerror}.") from error
    try:
        fasta = _wrap(path, handle)
        _check_beginning(fasta)
    except BaseException:
        handle.close()
        raise
    return fasta


def _wrap(path: Path, handle: BinaryIO) -> FastaFile:
    magic = handle.read(len(_BGZF_MAGIC))
    if magic == _BGZF_MAGIC:
        return BgzfFasta(path, handle)
    if magic[:2] == _GZIP_MAGIC:
        raise FastaError(
            f"{path} is compressed with gzip, which allows no random access: decompress it with "
            "gunzip and compress it with bgzip (part of htslib), or use it uncompressed."
        )
    return PlainFasta(path, handle)


def _check_beginning(fasta: FastaFile) -> None:
    if fasta.size == 0:
        raise FastaError(f"{fasta.path} is empty: a FASTA file holds at least one sequence.")
    first = fasta.read_at(0, 1)
    if first != b">":
        raise FastaError(
            f"{fasta.path} is not a FASTA file: it begins with the byte {first!r} where the '>' of "
            "a sequence name belongs."
        )
