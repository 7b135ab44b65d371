"""What a run asks of the place it lies in, whatever kind of place that is.

Knows names below a run, as POSIX text (`data/tracks/...`); knows nothing of disks, of networks or
of what files hold. `local_folder` is such a place on a disk, and `locate` chooses.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeVar

import polars as pl

from cisray.store.driver_sign import DriverSign
from cisray.store.place import RunPlace

Item = TypeVar("Item")
Result = TypeVar("Result")


class DriverLock(Protocol):
    """The right to begin, restart and seal a run, which one process has at a time."""

    def check(self) -> None:
        """Be sure that it still is this process's. Raises RunConflict where it was taken over."""

    def release(self) -> None:
        """Let the next driver in; releasing twice is no error."""


class Folder(Protocol):
    """A place for one run. A name in it holds the whole of its bytes or does not exist.

    Every method raises StorageError, with a way out, when the place itself fails. `begun` is the
    beginning of the run that a writer belongs to; None is the driver, once writers are shut out.
    """

    @property
    def place(self) -> RunPlace:
        """What people call it, and what `locate` finds it by."""

    @property
    def parallel(self) -> int:
        """How many requests at once are quicker than one after the other."""

    def tell(self, name: str) -> str:
        """Name a file as people would."""

    def names(self) -> list[str] | None:
        """List what lies directly in it; None where it does not exist.

        Raises NotADirectoryError for a file in its place.
        """

    def below(self, prefix: str) -> dict[str, int]:
        """List all files below a prefix, each with its size in bytes."""

    def foreign_below(self, prefix: str, ending: str) -> list[str]:
        """List what below a prefix is no plain file whose name ends so."""

    def sizes_of(self, names: Iterable[str]) -> dict[str, int]:
        """Look up the sizes of files in bytes; those that are not there are left out."""

    def read(self, name: str) -> bytes | None:
        """Read a small file; None where it is not there."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading here and there. Raises FileNotFoundError, and OSError later."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Read a file of any size from beginning to end, as `open` does."""

    def scan(self, names: list[str]) -> pl.LazyFrame:
        """Scan Parquet files of one schema, in their order, with Polars."""

    def publish(
        self, name: str, data: bytes | memoryview, *, exclusive: bool, begun: str | None
    ) -> bool:
        """Write a file, whole or not at all, and wait until it is safe.

        With `exclusive` a file that is there stays as it is and the answer is False, unless it is
        of this very call; otherwise it is replaced.
        """

    def replace(self, name: str, old: bytes, data: bytes, *, begun: str) -> bool:
        """Write a file as `publish` does, if it still holds what it was seen to; tell whether."""

    def publish_new(self, name: str, data: memoryview, *, begun: str | None) -> None:
        """Write a file as `publish` does under a name that nobody else would choose."""

    def publish_file(self, name: str, source: "StoredFile", *, begun: str) -> None:
        """Copy a file of any size to `name` as `publish` does, replacing what is there."""

    def remove(self, *names: str) -> None:
        """Delete files; those that are gone already are no error."""

    def remove_tree(self, prefix: str) -> None:
        """Delete all files below a prefix."""

    def admit(self, begun: str) -> None:
        """Let the writers of a beginning publish."""

    def shut_out(self) -> None:
        """Keep every writer from publishing."""

    def sweep(self) -> None:
        """Remove what writers that are shut out left on its way."""

    def lock(self) -> DriverLock:
        """Become the driver, making the folder if need be.

        Raises RunConflict, naming the owner, while another process is.
        """

    def driver(self) -> DriverSign:
        """See who the driver is, without disturbing it."""

    def free_bytes(self) -> int | None:
        """Count the bytes that can still be written; None where that has no bound to tell."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in some folder."""

    folder: Folder
    name: str

    def open(self) -> BinaryIO:
        """Open it for reading. Raises FileNotFoundError, OSError and StorageError."""
        return self.folder.open(self.name)

    def chunks(self) -> Iterator[bytes]:
        """Read it from beginning to end."""
        return self.folder.chunks(self.name)

    def scan(self) -> pl.LazyFrame:
        """Scan it with Polars, for Parquet."""
        return self.folder.scan([self.name])

    def size(self) -> int | None:
        """Look up its size in bytes; None where it is not there."""
        return self.folder.sizes_of([self.name]).get(self.name)

    def __str__(self) -> str:
        """Name it as people would."""
        return self.folder.tell(self.name)


def each(folder: Folder, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Do the same for each item, as many at once as suits the folder, in their order.

    Raises what the first item to fail raises.
    """
    if folder.parallel == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(folder.parallel) as pool:
        yield from pool.map(work, items)
