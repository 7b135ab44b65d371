"""Bytes onto a local disk so that a name either holds the whole of them or does not exist.

Knows POSIX file systems; knows nothing of runs or Parquet. A file is written under another name
in a staging folder of the same file system, flushed to the disk, and then linked or renamed to its
own name: a reader, or a process that starts after a crash, never sees a part of it.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from cisray.errors import StorageError
from cisray.store.folder import StoredFile

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP}


def publish(data: bytes | memoryview, final: Path, *, staging: Path, exclusive: bool) -> bool:
    """Write `data` under `final`, whole or not at all, and wait until the disk has it.

    With `exclusive` an existing file stays as it is and the answer is False; otherwise it is
    replaced. `staging` must exist, on the same file system: whoever takes that folder away
    thereby stops all publishing.

    Raises StorageError when the disk is full or the target cannot be written.
    """
    view = memoryview(data)
    return _publish(lambda stream: stream.write(view), view.nbytes, final, staging, exclusive)


def publish_copy(source: StoredFile, final: Path, *, staging: Path) -> None:
    """Copy a file of any size to `final` as `publish` does, replacing what is there.

    Raises StorageError when the source cannot be read, as well as `publish` does.
    """
    size = source.size()
    if size is None:
        raise StorageError(f"cannot read {source}: there is no such file. Mend that first.")
    _publish(lambda copy: copy.writelines(source.chunks()), size, final, staging, False)


def publish_written(write: Callable[[BinaryIO], object], final: Path, *, staging: Path) -> None:
    """Let `write` fill a file, and give it the name `final` when it is whole and on the disk.

    What is there is replaced. Raises what `write` raises, OSErrors as StorageError.
    """
    _publish(write, 0, final, staging, False)


def digest_copy(source: StoredFile, copy: Path) -> str:
    """Copy a file of any size to a new name on the disk, flushed; give its SHA-256, hexadecimal.

    Raises OSError, and what the source raises.
    """
    digest = hashlib.sha256()

    def write(stream: BinaryIO) -> None:
        for chunk in source.chunks():
            digest.update(chunk)
            stream.write(chunk)

    _write_flushed(write, copy)
    return digest.hexdigest()


def _publish(
    write: Callable[[BinaryIO], object], size: int, final: Path, staging: Path, exclusive: bool
) -> bool:
    temporary = staging / uuid4().hex
    with _storage_errors(final, size):
        make_folder(final.parent)
        try:
            _write_flushed(write, temporary)
            if exclusive:
                try:
                    os.link(temporary, final)
                except FileExistsError:
                    return False
            else:
                os.replace(temporary, final)
            flush_folder(final.parent)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
    return True


def free_bytes(path: Path) -> int:
    """Count the bytes that this user can still write where `path` is, or would be made."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def make_folder(path: Path) -> None:
    """Create a folder and its parents, each of them flushed to the disk with its name."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)


def flush_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_if_there(path: Path) -> bool:
    """Delete a file and tell whether it was there; one that is gone already is no error.

    Raises StorageError when it cannot be deleted.
    """
    with _storage_errors(path, 0), suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
        return True
    return False


def remove_tree(path: Path) -> None:
    """Delete a folder with what is in it, never following a symbolic link out of it.

    Raises StorageError when a part of it cannot be deleted.
    """
    # Something in it may vanish meanwhile, by the hand of its own writer: the rest must go too.
    with _storage_errors(path, 0):
        while path.exists():
            with suppress(FileNotFoundError):
                shutil.rmtree(path)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn an OSError from a write at `path` into a StorageError that tells the way out."""
    with _storage_errors(path, 0):
        yield


def _write_flushed(write: Callable[[BinaryIO], object], path: Path) -> None:
    with path.open("xb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _storage_errors(path: Path, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(_explain(error, path, needed)) from error


def _explain(error: OSError, path: Path, needed: int) -> str:
    what = f"cannot write {path}: {error.strerror}"
    if error.errno in _FULL:
        return (
            f"{what}. The file needs {needed:,} bytes and {free_bytes(path):,} are free there "
            f"(a quota or a file-size limit can be lower). Make room and run the same command "
            f"again: it goes on where it stopped."
        )
    if error.errno in _FORBIDDEN:
        return (
            f"{what}. Make the folder writable for this user, or choose another --out, and run "
            f"the same command again."
        )
    if error.errno in _NO_LINKS:
        return (
            f"{what}. The file system may have no hard links (exFAT and some network mounts have "
            f"none), which finished files need to appear whole; choose an --out on another one."
        )
    return f"{what}. Mend the cause and run the same command again: it goes on where it stopped."
