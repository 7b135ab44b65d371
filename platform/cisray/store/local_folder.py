"""A run's folder on a local disk.

Knows POSIX file systems, by way of `files` and `lock`; knows nothing of what files hold. A file is
on its way below `_staging`, in a folder named after the beginning that its writer belongs to:
whoever takes that folder away shuts the writer out, and no name appears that it has not finished.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa

from cisray.errors import StorageError
from cisray.store import files
from cisray.store.driver_sign import DriverSign
from cisray.store.folder import StoredFile
from cisray.store.lock import RunLock, look

CHUNK_BYTES = 1 << 18
# Where writers' files are on their way, and the name of that folder when they are shut out.
_STAGING, _CLOSED = "_staging", "_closed"
_LOCK = "_lock"


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder on a disk, absolute."""

    root: Path

    @property
    def place(self) -> Path:
        """The path itself."""
        return self.root

    @property
    def parallel(self) -> int:
        """One: a disk answers at once."""
        return 1

    def tell(self, name: str) -> str:
        """Give the full path."""
        return str(self.root / name)

    def names(self) -> list[str] | None:
        """List the folder; None where there is none, NotADirectoryError for a file."""
        with files.writing_to(self.root):
            if not self.root.exists():
                return None
            if self.root.is_dir():
                return os.listdir(self.root)
        raise NotADirectoryError(f"{self.root} is a file")

    def below(self, prefix: str) -> dict[str, int]:
        """Walk the tree; a file that vanishes meanwhile is left out."""
        found = [self._name(path) for path in (self.root / prefix).rglob("*") if path.is_file()]
        return self.sizes_of(found)

    def foreign_below(self, prefix: str, ending: str) -> list[str]:
        """List symbolic links as well: what they lead to is not ours."""
        top = self.root / prefix
        if top.is_symlink():
            return [prefix]
        return [
            self._name(path)
            for path in top.rglob("*")
            if path.is_symlink() or not (path.is_dir() or path.name.endswith(ending))
        ]

    def sizes_of(self, names: Iterable[str]) -> dict[str, int]:
        """Ask the disk for each."""
        found = {}
        for name in names:
            path = self.root / name
            try:
                found[name] = path.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise StorageError(
                    f"cannot look at {path}: {error.strerror}. Mend that first."
                ) from error
        return found

    def read(self, name: str) -> bytes | None:
        """Read a file; a folder of that name is no file."""
        path = self.root / name
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}. Mend that first.") from error

    def open(self, name: str) -> BinaryIO:
        """Open the file as Arrow does, without its Python layer above every read."""
        opened: BinaryIO = pa.OSFile(str(self.root / name), "rb")
        return opened

    def chunks(self, name: str) -> Iterator[bytes]:
        """Read it piece by piece."""
        with (self.root / name).open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    def scan(self, names: list[str]) -> pl.LazyFrame:
        """Scan the files. Hive names are off: a `key=value` folder may lie above the run."""
        paths = [self.root / name for name in names]
        return pl.scan_parquet(paths, glob=False, hive_partitioning=False)

    def publish(
        self, name: str, data: bytes | memoryview, *, exclusive: bool, begun: str | None
    ) -> bool:
        """Stage, flush and link."""
        if begun is None:
            with files.writing_to(self._staging(None)):
                files.make_folder(self._staging(None))
        staging = self._staging(begun)
        return files.publish(data, self.root / name, staging=staging, exclusive=exclusive)

    def replace(self, name: str, old: bytes, data: bytes, *, begun: str) -> bool:
        """Compare and rename: a disk does not do both at once."""
        return self.read(name) == old and self.publish(name, data, exclusive=False, begun=begun)

    def publish_new(self, name: str, data: memoryview, *, begun: str | None) -> None:
        """Publish as any other file."""
        self.publish(name, data, exclusive=True, begun=begun)

    def publish_file(self, name: str, source: StoredFile, *, begun: str) -> None:
        """Stage a copy, flush and rename it."""
        files.publish_copy(source, self.root / name, staging=self._staging(begun))

    def remove(self, *names: str) -> None:
        """Delete files, and flush the folders they were in."""
        gone = {(self.root / name).parent for name in names if self._unlink(name)}
        with files.writing_to(self.root):
            for folder in gone:
                files.flush_folder(folder)

    def remove_tree(self, prefix: str) -> None:
        """Delete a folder, never following a symbolic link out of it."""
        files.remove_tree(self.root / prefix)

    def admit(self, begun: str) -> None:
        """Make the staging folder of a beginning."""
        with files.writing_to(self._staging(begun)):
            files.make_folder(self._staging(begun))

    def shut_out(self) -> None:
        """Rename the staging folder: what is on its way can no longer be linked."""
        staging, closed = self.root / _STAGING, self._staging(None)
        with files.writing_to(staging):
            if staging.exists():
                files.remove_tree(closed)
                os.rename(staging, closed)
                files.flush_folder(self.root)

    def sweep(self) -> None:
        """Remove the staging folder, under both of its names."""
        for name in (_STAGING, _CLOSED):
            files.remove_tree(self.root / name)

    def lock(self) -> RunLock:
        """Make the folder and lock a file in it."""
        with files.writing_to(self.root):
            files.make_folder(self.root)
        return RunLock(self.root / _LOCK)

    def driver(self) -> DriverSign:
        """Look at the file that a driver locks."""
        return look(self.root / _LOCK)

    def free_bytes(self) -> int:
        """Ask the disk."""
        return files.free_bytes(self.root)

    def _staging(self, begun: str | None) -> Path:
        return self.root / _CLOSED if begun is None else self.root / _STAGING / begun

    def _unlink(self, name: str) -> bool:
        return files.remove_if_there(self.root / name)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def stored(path: Path) -> StoredFile:
    """Take a file on a disk for one in a folder."""
    return StoredFile(LocalFolder(path.parent), path.name)
