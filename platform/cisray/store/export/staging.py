"""Files that appear under their names whole, all of them, or not at all.

Knows folders and names; knows nothing of what is written. Writers that take a path, as those of
libraries do, write into a hidden folder beside the target; what is in it is flushed and renamed
when all of it is there.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cisray.errors import ConfigError, StorageError
from cisray.store.files import flush_folder, make_folder, writing_to


def refuse_existing(finals: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse to replace what is there. Raises ConfigError for the first of `finals` that exists."""
    for final in finals:
        if final.is_dir():
            raise ConfigError(f"{final} is a folder: give a file name that is free.")
        if final.exists() and not overwrite:
            raise ConfigError(f"{final} exists already: use --overwrite, or another --out.")


@contextmanager
def staged(finals: Sequence[Path], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a folder to write files into, under the last parts of `finals`; move them at the end.

    All finals lie in one folder. After an error, or an interrupt, nothing is left. Raises
    ConfigError where one exists and `overwrite` is not set, StorageError when the disk refuses.
    """
    refuse_existing(finals, overwrite=overwrite)
    (home,) = {final.parent for final in finals}
    with writing_to(home):
        make_folder(home)
        folder = Path(tempfile.mkdtemp(dir=home, prefix=".cisray-export-"))
    try:
        yield folder
        refuse_existing(finals, overwrite=overwrite)
        for final in finals:
            _flush(folder / final.name)
        for final in finals:
            os.replace(folder / final.name, final)
        flush_folder(home)
    except OSError as error:
        raise _unfinished(home, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """Give a folder to write into; move it to `final`, where nothing may be, at the end.

    After an error, or an interrupt, nothing is left. Raises ConfigError where `final` is there,
    StorageError when the disk refuses.
    """
    home = final.parent
    _refuse_there(final)
    with writing_to(home):
        make_folder(home)
        hidden = Path(tempfile.mkdtemp(dir=home, prefix=".cisray-export-"))
    # The hidden folder is for its owner alone; what is moved out of it is as other folders.
    folder = hidden / final.name
    try:
        folder.mkdir()
        yield folder
        _refuse_there(final)
        for path in folder.rglob("*"):
            flush_folder(path) if path.is_dir() else _flush(path)
        os.rename(folder, final)
        flush_folder(home)
    except OSError as error:
        raise _unfinished(home, error) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _unfinished(home: Path, error: OSError) -> StorageError:
    # Libraries give a text and often no number.
    reason = " ".join((error.strerror or str(error)).split())
    return StorageError(
        f"cannot finish the export into {home}: {reason}. Mend the cause, often a full disk, and "
        f"run the same command again."
    )


def _refuse_there(final: Path) -> None:
    if final.exists():
        raise ConfigError(f"{final} exists already: name a folder that does not.")


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
