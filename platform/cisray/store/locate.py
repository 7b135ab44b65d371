"""From what people call a run's place to its folder: the one place that tells kinds of place apart.

Knows paths; knows nothing of what a folder holds.
"""

from pathlib import Path

from cisray.store.folder import Folder
from cisray.store.layout import run_root
from cisray.store.local_folder import LocalFolder


def locate(place: str | Path) -> Folder:
    """Give the folder at a path."""
    return LocalFolder(run_root(place))
