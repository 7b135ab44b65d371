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
        # Libraries give a text and often no number.
        reason = " ".join((error.strerror or str(error)).split())
        raise StorageError(
            f"cannot finish the export into {home}: {reason}. Mend the cause, often a full disk, "
            f"and run the same command again."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
