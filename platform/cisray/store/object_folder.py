"""A run's folder in an object store: the prefix of a bucket.

Knows how a run's protocol is kept without renames and file locks; `objects` knows the requests.
Whatever the driver does, it first makes sure that the lease is still its own, after having looked
at what it will replace: it never replaces what the next driver wrote. A writer of shards is let in
by an object named after the beginning that it belongs to.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import polars as pl

from cisray.errors import StorageError
from cisray.store import lease
from cisray.store.driver_sign import DriverSign
from cisray.store.folder import StoredFile, each
from cisray.store.objects import PART_BYTES, Objects, Version
from cisray.store.ranged_file import RangedFile

_STAGING = "_staging"
PARALLEL = 16
# More sizes than this are listed, a thousand a request, not asked for one by one.
MOST_LOOKS = 64
# Larger files are uploaded in parts, which stores do on no condition.
MOST_WHOLE_BYTES = PART_BYTES


class ObjectFolder:
    """A prefix, named by its URL. Clients ask nothing before a method does."""

    def __init__(self, url: str) -> None:
        """Take the URL of a prefix; see `place.checked_place`."""
        self._objects = Objects(url)
        self._lease: lease.Lease | None = None

    @property
    def place(self) -> str:
        """The URL."""
        return self._objects.url

    @property
    def parallel(self) -> int:
        """Many: a request takes long, however little it is for."""
        return PARALLEL

    def tell(self, name: str) -> str:
        """Give the full URL."""
        return f"{self.place}/{name}"

    def names(self) -> list[str] | None:
        """List the first parts of names; None where there is no object."""
        return self._objects.top() or None

    def below(self, prefix: str) -> dict[str, int]:
        """List the objects."""
        return self._objects.below(prefix)

    def foreign_below(self, prefix: str, ending: str) -> list[str]:
        """List objects of another name."""
        return [name for name in self.below(prefix) if not name.endswith(ending)]

    def sizes_of(self, names: Iterable[str]) -> dict[str, int]:
        """Ask for each, or list the folder that they share if they are many."""
        wanted = list(names)
        if len(wanted) > MOST_LOOKS:
            listed: dict[str, int] = {}
            for top in {name.partition("/")[0] for name in wanted}:
                listed |= self.below(top)
            return {name: listed[name] for name in wanted if name in listed}
        looked = (
            each(self, self._objects.look, wanted)
            if len(wanted) > 1
            else map(self._objects.look, wanted)
        )
        return {
            name: meta["size"]
            for name, meta in zip(wanted, looked, strict=True)
            if meta is not None
        }

    def read(self, name: str) -> bytes | None:
        """Get the object."""
        seen = self._objects.read(name)
        return None if seen is None else seen.data

    def open(self, name: str) -> BinaryIO:
        """Open it for reading ranges."""
        meta = self._objects.look(name)
        if meta is None:
            raise FileNotFoundError(f"there is no {self.tell(name)}")
        file = RangedFile(lambda start, end: self._objects.part(name, start, end), meta["size"])
        return cast("BinaryIO", file)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Get it in pieces."""
        return self._objects.chunks(name)

    def scan(self, names: list[str]) -> pl.LazyFrame:
        """Scan with Polars, which takes credentials from the same environment by itself."""
        urls = [self.tell(name) for name in names]
        return pl.scan_parquet(urls, glob=False, hive_partitioning=False, credential_provider=None)

    def publish(
        self, name: str, data: bytes | memoryview, *, exclusive: bool, begun: str | None
    ) -> bool:
        """Write on the condition that the object is still absent, or as it was seen."""
        while True:
            before = None if exclusive else self._version(name)
            self._check_writer(begun)
            if self._objects.write(name, data, instead_of=before) is not None:
                return True
            if exclusive:
                return False
            # Someone else replaced it meanwhile: another writer, or the lease tells.

    def replace(self, name: str, old: bytes, data: bytes, *, begun: str) -> bool:
        """Write on the condition that the object is the one that holds the old bytes."""
        seen = self._objects.read(name)
        self._check_writer(begun)
        return (
            seen is not None
            and seen.data == old
            and self._objects.write(name, data, instead_of=seen.version) is not None
        )

    def publish_new(self, name: str, data: memoryview, *, begun: str | None) -> None:
        """Upload it in parts if it is large; its name is its condition."""
        self._check_writer(begun)
        self._objects.write_new(name, data)

    def publish_file(self, name: str, source: StoredFile, *, begun: str) -> None:
        """Upload it in parts if it is large."""
        size = source.size()
        if size is None:
            raise StorageError(f"cannot read {source}: there is no such file. Mend that first.")
        if size <= MOST_WHOLE_BYTES:
            self.publish(name, b"".join(source.chunks()), exclusive=False, begun=begun)
        else:
            self._check_writer(begun)
            self._objects.write_new(name, source.chunks())

    def remove(self, *names: str) -> None:
        """Delete objects."""
        self._check_lease()
        self._objects.delete(names)

    def remove_tree(self, prefix: str) -> None:
        """Delete what is listed: what comes later stays."""
        self.remove(*self.below(prefix))

    def admit(self, begun: str) -> None:
        """Write the object that lets writers of a beginning in."""
        self.publish(f"{_STAGING}/{begun}", b"", exclusive=True, begun=None)

    def shut_out(self) -> None:
        """Delete the objects that let writers in.

        A writer that has looked for it just before may finish the request that it is at.
        """
        self.remove_tree(_STAGING)

    def sweep(self) -> None:
        """Delete the objects that let writers in: nothing else is on its way below a name."""
        self.remove_tree(_STAGING)

    def lock(self) -> lease.Lease:
        """Take the lease, and check that the store keeps to conditions and lets us delete."""
        # A renewal that takes longer than it may is of no use.
        quick = Objects(self.place, hurry_s=max(1.0, lease.LEASE_S / 4))
        held = lease.Lease.take(quick, lease_s=lease.LEASE_S)
        try:
            quick.check_conditions(lease.NAME)
            quick.delete([f"{_STAGING}/nothing"])
        except BaseException:
            held.release()
            raise
        self._lease = held
        return held

    def driver(self) -> DriverSign:
        """Look at the lease."""
        return lease.look(self._objects)

    def free_bytes(self) -> None:
        """Tell no bound."""

    def _version(self, name: str) -> Version | None:
        meta = self._objects.look(name)
        return None if meta is None else Version(meta["e_tag"], meta["version"])

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _check_writer(self, begun: str | None) -> None:
        self._check_lease()
        if begun is not None and self._objects.look(f"{_STAGING}/{begun}") is None:
            raise StorageError(
                f"{self.place} takes no more shards of this run: it was sealed, or begun anew with "
                f"--restart, since this process opened it. Nothing of this shard is kept."
            )
