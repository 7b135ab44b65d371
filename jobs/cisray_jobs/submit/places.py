"""Which paths the machines of a cluster see, and how a place is written for them.

Knows paths and URLs. A path means a file here; on a cluster it means one only where all machines
have the same file system mounted in the same place, and nobody but the user knows where that is.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cisray.errors import ConfigError, PathNotShared
from cisray.store.place import checked_place
from cisray_jobs.config import expanded

VARIABLE = "CISRAY_CLUSTER_PATHS"


@dataclass(frozen=True, slots=True)
class SharedPaths:
    """The folders that every machine of a cluster has; `all_here`: there is only this machine."""

    folders: tuple[Path, ...]
    all_here: bool = False

    def resolve(self, option: str, place: str) -> str:
        """Write a place so that it means the same to every machine: a URL, or an absolute path.

        Raises PathNotShared for a path that is not below one of the folders.
        """
        named = checked_place(place)
        if isinstance(named, str):
            return named
        path = absolute(named)
        if not self.all_here and not any(path.is_relative_to(one) for one in self.folders):
            seen = ", ".join(map(str, self.folders)) or "none"
            raise PathNotShared(
                f"{option} {place} is {path} on this machine, and the cluster's machines may not "
                f"have it. Folders that they share with this one, at the same path: {seen}. Move "
                f"it into such a folder and name that by --shared (or {VARIABLE}, several with "
                f"{os.pathsep!r} between); a run can also lie in an object store, s3://BUCKET/PREFIX."
            )
        return str(path)


def shared_folders(
    asked: Iterable[str], environment: Mapping[str, str] = os.environ
) -> tuple[Path, ...]:
    """Read the shared folders from options and from CISRAY_CLUSTER_PATHS.

    Raises ConfigError for one that is not absolute.
    """
    named = [*asked, *filter(None, environment.get(VARIABLE, "").split(os.pathsep))]
    for folder in named:
        if not Path(folder).is_absolute():
            raise ConfigError(
                f"The shared folder {folder!r} must be absolute: it is a path on every machine of "
                f"the cluster."
            )
    return tuple(absolute(Path(folder)) for folder in named)


def absolute(path: Path) -> Path:
    """Make a path absolute, `~` and `..` resolved; other symbolic links stay as they are written.

    A link may lead elsewhere on another machine: what counts there is the name.
    """
    whole = expanded(path).absolute()
    return Path(os.path.realpath(whole)) if ".." in whole.parts else whole
