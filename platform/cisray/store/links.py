"""Where the runs lie that a run links to: what it keeps of their places, and where to look.

Knows manifests and places; knows nothing of rows. Which runs they are, by their digests, is part of
a run's identity; where they lay when it was begun is not.
"""

import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import JsonValue

from cisray.errors import CisrayError, RunNotFound, StorageError
from cisray.store.manifest import KeyedConfig, RunManifest
from cisray.store.place import RunPlace

_KEY = "since"  # in the provenance of a manifest
_SCHEME = "://"


@dataclass(frozen=True, slots=True)
class Origin:
    """A run that holds scores which other runs link to."""

    digest: str
    place: RunPlace


class OpenedRun(Protocol):
    """A run, as far as it matters where it lies, which one it is, and where others may be."""

    @property
    def path(self) -> RunPlace:
        """Where the run lies."""

    @property
    def manifest(self) -> RunManifest:
        """What it is made from."""

    @property
    def since(self) -> Sequence[RunPlace]:
        """Places that were given for runs that it links to."""


Opened = TypeVar("Opened", bound=OpenedRun)


def find_origin(run: Opened, run_id: str, open_run: Callable[[RunPlace], Opened]) -> Opened:
    """Open one of the runs that a run links to, by its id.

    It is looked for in the places that were given, then where it lay when the run was begun:
    relative to that, and absolute. Raises RunNotFound where it is in none of them, StorageError
    where another run is there.
    """
    digest = KeyedConfig.of(run.manifest).since[run_id]
    met: list[str] = []
    failure: type[CisrayError] = RunNotFound
    for place in dict.fromkeys([*run.since, *recorded_places(run.manifest, run_id, run.path)]):
        try:
            found = open_run(place)
        except (RunNotFound, StorageError) as error:
            met.append(str(error))
            continue
        if found.manifest.digest == digest:
            return found
        failure = StorageError
        met.append(f"{found.path} holds another run, {found.manifest.run_id}.")
    raise failure(
        f"the run in {run.path} links to scores of the run {run_id} (digest {digest[:12]}), which "
        f"is not found. {' '.join(met)} Put it back there, say where it is (--since PLACE, or "
        f"open_run({str(run.path)!r}, since=[PLACE])), or read without its rows by "
        f"scan(linked=False)."
    )


def told_places(origins: Mapping[str, Origin], root: RunPlace) -> dict[str, JsonValue]:
    """Tell for the provenance of the run at `root` where each run lies, by its id.

    A run that is moved with those that it links to finds them by their relative places.
    """
    return {
        _KEY: {
            run_id: {"path": str(origin.place), "relative": _relative(origin.place, root)}
            for run_id, origin in origins.items()
        }
    }


def recorded_places(manifest: RunManifest, run_id: str, root: RunPlace) -> list[RunPlace]:
    """List where a run that is linked to may lie, the place relative to `root` first."""
    told = manifest.provenance.get(_KEY)
    place = told.get(run_id) if isinstance(told, dict) else None
    if not isinstance(place, dict):
        return []
    path, relative = place.get("path"), place.get("relative")
    found: list[RunPlace] = []
    if isinstance(relative, str):
        found.append(_joined(root, relative))
    if isinstance(path, str):
        found.append(_as_place(path))
    return list(dict.fromkeys(found))


def is_same_place(one: RunPlace, other: RunPlace) -> bool:
    """Tell whether two places, as folders call them, are one, through symbolic links as well."""
    if isinstance(one, Path) and isinstance(other, Path):
        return one.resolve() == other.resolve()
    return one == other


def _relative(place: RunPlace, root: RunPlace) -> str | None:
    """Give the way from `root` to a place, or None where there is none."""
    if isinstance(place, Path) and isinstance(root, Path):
        return Path(os.path.relpath(place, root)).as_posix()
    if isinstance(place, str) and isinstance(root, str) and _store(place) == _store(root):
        return posixpath.relpath(_name(place), _name(root))
    return None


def _joined(root: RunPlace, relative: str) -> RunPlace:
    if isinstance(root, Path):
        return Path(os.path.normpath(root / relative))
    return _store(root) + posixpath.normpath(posixpath.join(_name(root), relative))


def _as_place(text: str) -> RunPlace:
    return text if _SCHEME in text else Path(text)


def _store(url: str) -> str:
    """Give scheme and bucket of a URL, `s3://bucket`."""
    scheme, _, rest = url.partition(_SCHEME)
    return scheme + _SCHEME + rest.partition("/")[0]


def _name(url: str) -> str:
    """Give what follows the bucket, with its slash."""
    return url.removeprefix(_store(url))
