"""A remote object as a file that Arrow reads here and there, without fetching the whole of it.

Knows offsets; knows nothing of stores. Requests are slow and bytes are not: each request takes at
least a window, and what was taken last is kept.
"""

import io
from collections.abc import Callable
from typing import Any

WINDOW_BYTES = 1 << 17


class RangedFile(io.RawIOBase):
    """A file of known size whose bytes come from `fetch(start, end)`, 0-based half-open."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        """Begin at offset 0; nothing is fetched yet."""
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._offset = 0
        self._window = b""
        self._window_start = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Give the offset of the next read."""
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset from the beginning, from here or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        self._offset = max(0, base + offset)
        return self._offset

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes, fewer only at the end; all that are left without a number."""
        left = max(0, self._size - self._offset)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._take(self._offset, self._offset + wanted)
        self._offset += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _take(self, start: int, end: int) -> bytes:
        if start == end:
            return b""
        if start < self._window_start or end > self._window_start + len(self._window):
            # Near the end lies the footer, which is read from behind.
            first = max(0, min(start, self._size - WINDOW_BYTES))
            last = min(self._size, max(end, start + WINDOW_BYTES))
            self._window, self._window_start = self._fetch(first, last), first
        return self._window[start - self._window_start : end - self._window_start]
