"""From what people call a run's place to its folder: nothing else tells kinds of place apart.

Knows paths and URLs; knows nothing of what a folder holds.
"""

from importlib import import_module
from pathlib import Path

from cisray.errors import MissingExtra
from cisray.store.folder import Folder
from cisray.store.local_folder import LocalFolder
from cisray.store.place import checked_place, run_root

_OBJECT_FOLDER = "cisray.store.object_folder"


def locate(place: str | Path) -> Folder:
    """Give the folder at a path, or at the URL of a prefix in an object store.

    Touches nothing. Raises ConfigError for a URL that cannot be a run's, and MissingExtra where
    what object stores need is not installed.
    """
    named = checked_place(place)
    return _object_folder(named) if isinstance(named, str) else LocalFolder(run_root(named))


def _object_folder(url: str) -> Folder:
    """Import what object stores need, which nothing else does."""
    try:
        module = import_module(_OBJECT_FOLDER)
    except ImportError:
        raise MissingExtra(
            f"{url} is in an object store, which needs the package obstore: pip install "
            f"'cisray[cloud]'."
        ) from None
    folder: Folder = module.ObjectFolder(url)
    return folder
