"""Copies of files on this machine's own disk, found by the digest of their content.

Knows local disks and locks of the kernel; knows nothing of what the files are: who asks for a copy
brings its digest, and a check that takes it again. Below the folder that was asked for, each user
has one that nobody else may enter:

    cisray-UID/KIND-DIGEST/          a copy: copy.json, and the files by their own names in files/
               KIND-DIGEST.lock      held by whoever makes, checks, opens or removes it
               KIND-DIGEST.checked   for whom it was read in full last, and what it looked like then
               .KIND-DIGEST.making   a copy on its way; if nobody holds the lock, of a dead process

A copy appears by one rename, when it is whole, checked and on the disk.
"""

import fcntl
import json
import logging
import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cisray.errors import CisrayError, ConfigError, StorageError
from cisray.store.files import flush_folder, free_bytes, make_folder, remove_tree

SPARE_BYTES = 1_000_000_000  # left free on the disk: its other users need some too

_FORMAT = "cisray.node_copy/1"
_RECORD, _FILES = "copy.json", "files"
_OWNER_ONLY = 0o700
_READ_ONLY = 0o400

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Original:
    """What is to be copied: `files`, the first of which has the digest.

    `check` reads a copy of that first file in full, and raises a CisrayError if it is not what the
    digest says. `kind` keeps apart digests that are taken in different ways.
    """

    kind: str
    digest: str
    files: tuple[Path, ...]
    check: Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class NodeCopy:
    """A copy that is there: where it came from, and when it was last read in full (UTC)."""

    kind: str
    digest: str
    bytes: int
    source: str
    checked: str
    path: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """The copies that were removed, and those that were in use and are kept."""

    removed: tuple[NodeCopy, ...]
    kept: tuple[NodeCopy, ...]


@dataclass(frozen=True, slots=True)
class NodeCache:
    """This user's copies below a folder of this machine."""

    folder: Path

    @classmethod
    def below(cls, asked: Path, *, make: bool = True) -> Self:
        """Find this user's folder below the one that was asked for, and `make` it if need be.

        Raises ConfigError for a path that is not absolute, StorageError where the folder cannot be
        made, is another user's, or lets others in.
        """
        if not asked.is_absolute():
            raise ConfigError(
                f"The folder for copies on each machine is {str(asked)!r}; it must be an absolute "
                "path, since the processes of a cluster start in folders of their own."
            )
        own = asked / f"cisray-{os.getuid()}"
        with _keeping(own):
            if make:
                make_folder(asked)
                own.mkdir(mode=_OWNER_ONLY, exist_ok=True)
            if own.is_symlink() or own.exists():
                _refuse_shared(own)
        return cls(own)

    @contextmanager
    def copy_of(self, original: Original, session: str) -> Iterator[Path]:
        """Give the path of a copy, made first if there is none; it stays there within the block.

        Of several processes that ask at once one makes it and the others wait. A copy is read in
        full when it is made, and again for each new `session`; one that has changed is made anew.

        Raises StorageError if there is no room or the disk fails, and what `original.check` raises
        of a fresh copy: then the original is not what was asked for.
        """
        slot = _Slot(self.folder, f"{original.kind}-{original.digest}")
        with slot.locked():
            remove_tree(slot.making)
            if not slot.is_sound(original.check, session):
                remove_tree(slot.entry)
                slot.make(original)
                slot.note_checked(session)
            yield slot.main_file()

    def copies(self) -> list[NodeCopy]:
        """List what is there; what is on its way is not."""
        found = (slot.described() for slot in self._slots())
        return [copy for copy in found if copy is not None]

    def clear(self) -> Cleared:
        """Remove all but what is being made, checked or opened.

        A process that has opened a copy keeps what it has: the disk is free when it ends.
        """
        removed: list[NodeCopy | None] = []
        kept: list[NodeCopy | None] = []
        for slot in self._slots():
            copy = slot.described()
            try:
                with slot.locked(wait=False):
                    slot.remove()
            except BlockingIOError:
                kept.append(copy)
            else:
                removed.append(copy)
        return Cleared(tuple(filter(None, removed)), tuple(filter(None, kept)))

    def _slots(self) -> list["_Slot"]:
        names = {path.name.lstrip(".").partition(".")[0] for path in self.folder.glob("*")}
        return [_Slot(self.folder, name) for name in sorted(names)]


@dataclass(frozen=True, slots=True)
class _Slot:
    """The place of one copy: its files, whether they are there or not."""

    folder: Path
    name: str

    @property
    def entry(self) -> Path:
        return self.folder / self.name

    @property
    def making(self) -> Path:
        return self.folder / f".{self.name}.making"

    @property
    def checked(self) -> Path:
        return self.folder / f"{self.name}.checked"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.name}.lock"

    @contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """Hold the lock. Raises BlockingIOError where another process does and we do not wait."""
        held = self._take(wait=wait)
        # One that was removed while we waited for it locks nothing: whoever comes makes another.
        while not _is_file(held, self.lock):
            os.close(held)
            held = self._take(wait=wait)
        try:
            yield
        finally:
            os.close(held)

    def _take(self, *, wait: bool) -> int:
        with _keeping(self.lock):
            held = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BaseException:
            os.close(held)
            raise
        return held

    def main_file(self) -> Path:
        """Locate the file that has the digest: a copy is called as the first original was."""
        return self.entry / _FILES / str(self._record()["files"][0])

    def is_sound(self, check: Callable[[Path], None], session: str) -> bool:
        """Tell whether a copy is there and as it was; read it in full once for each session."""
        if not self._record():
            return False
        if _read_json(self.checked) == {"session": session, "stamp": self._stamp()}:
            return True
        try:
            check(self.main_file())
        except (CisrayError, OSError) as error:
            log.warning("the copy %s is damaged and is made anew: %s", self.entry, error)
            return False
        self.note_checked(session)
        return True

    def note_checked(self, session: str) -> None:
        """Remember for whom the copy was read in full, and what it looks like."""
        with _keeping(self.checked):
            self.checked.write_text(json.dumps({"session": session, "stamp": self._stamp()}))

    def make(self, original: Original) -> None:
        """Copy, check and publish; leave nothing if any of that fails."""
        main = original.files[0]
        with _keeping(main):
            needed = sum(path.stat().st_size for path in original.files)
        self._check_room(main, needed)
        log.info("copying %s to %s (%d bytes)", main, self.folder, needed)
        record = {
            "format": _FORMAT,
            "kind": original.kind,
            "digest": original.digest,
            "source": str(main),
            "bytes": needed,
            "files": [path.name for path in original.files],
        }
        try:
            with _keeping(self.making):
                for folder in (self.making, self.making / _FILES):
                    folder.mkdir(mode=_OWNER_ONLY)
                for path in original.files:
                    _copy_flushed(path, self.making / _FILES / path.name)
            original.check(self.making / _FILES / main.name)
            with _keeping(self.entry):
                (self.making / _RECORD).write_text(json.dumps(record))
                flush_folder(self.making / _FILES)
                flush_folder(self.making)
                self.making.rename(self.entry)
                flush_folder(self.folder)
        finally:
            remove_tree(self.making)

    def remove(self) -> None:
        """Remove all of it, the lock last, which must be held."""
        remove_tree(self.making)
        remove_tree(self.entry)
        self.checked.unlink(missing_ok=True)
        self.lock.unlink()

    def described(self) -> NodeCopy | None:
        """Say what is there; None without a whole copy."""
        told = self._record()
        if not told:
            return None
        try:
            seen = self.checked if self.checked.exists() else self.entry
            when = datetime.fromtimestamp(seen.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None  # somebody else clears
        return NodeCopy(
            kind=told["kind"],
            digest=told["digest"],
            bytes=told["bytes"],
            source=told["source"],
            checked=when.isoformat(timespec="seconds"),
            path=str(self.entry),
        )

    def _record(self) -> dict[str, Any]:
        told = _read_json(self.entry / _RECORD)
        return told if isinstance(told, dict) and told.get("format") == _FORMAT else {}

    def _stamp(self) -> list[list[object]]:
        """Tell by what files that were written to since would give themselves away."""
        paths = [self.entry / _FILES / name for name in self._record()["files"]]
        found = [path.stat() if path.exists() else None for path in paths]
        return [[f.st_size, f.st_ctime_ns, f.st_ino] if f else [] for f in found]

    def _check_room(self, main: Path, needed: int) -> None:
        free = free_bytes(self.folder)
        if needed + SPARE_BYTES > free:
            raise StorageError(
                f"a copy of {main} needs {needed:,} bytes, {SPARE_BYTES:,} are to stay free, and "
                f"{self.folder} on {platform.node()} has {free:,} free. Make room there (cisray "
                "cache clear), name another --node-cache, or leave it out."
            )


@contextmanager
def _keeping(path: Path) -> Iterator[None]:
    """Turn an OSError at a copy, or at what is copied, into a StorageError with the way out."""
    try:
        yield
    except OSError as error:
        # From None: a full disk of one machine, found in the chain, would end the whole run.
        raise StorageError(
            f"no copy can be kept on {platform.node()}: {error.strerror or error} "
            f"({error.filename or path}). Mend that, name another --node-cache, or leave it out."
        ) from None


def _refuse_shared(own: Path) -> None:
    found = own.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not is_ours or found.st_mode & 0o077:
        raise StorageError(
            f"{own} is no folder of this user alone ({stat.filemode(found.st_mode)}, owner "
            f"{found.st_uid}): others could change what is read from it. Remove it, or name "
            "another folder for copies."
        )


def _copy_flushed(source: Path, copy: Path) -> None:
    shutil.copyfile(source, copy)
    copy.chmod(_READ_ONLY)
    descriptor = os.open(copy, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read_json(path: Path) -> object:
    """Read a small record; None where there is none, or one that a dying process cut short."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
