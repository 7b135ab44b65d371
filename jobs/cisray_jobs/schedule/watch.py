"""Whether a watched input has changed since a fire succeeded with it: a file, or files of a folder.

Knows files and digests; knows nothing of ledgers. A file is taken when nobody has written to it for
a minute: half a file of variants would be scored, and nobody would notice. Its bytes decide, and
are not read while size, time of modification and inode are those of the last success.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from cisray.errors import ConfigError, WatchError
from cisray_jobs.schedule.definition import Seen, State

SETTLED_S = 60
_CHUNK = 1 << 22
URL_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Found:
    """A fire's input: the file for the command, what it is, and whether other new ones wait."""

    path: str
    seen: Seen
    more: bool = False


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing is new."""

    why: str


@dataclass(frozen=True, slots=True)
class NotYet:
    """Something may be new, and is still being written; look again at `until`."""

    until: int
    why: str


Look = Found | Unchanged | NotYet
History = Sequence[tuple[State, Seen]]
Alive = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Situation:
    """When one looks, and at what was taken before, the latest first.

    `forced`: a file is taken unchanged as well. `alive` is called while bytes are read, again and
    again; what it raises ends the reading.
    """

    now: int
    history: History
    forced: bool
    alive: Alive

    def success_with(self, key: str) -> Seen | None:
        """Find what an input was when a fire last succeeded with it."""
        for state, seen in self.history:
            if state is State.SUCCEEDED and seen.key == key:
                return seen
        return None


def is_url(watch: str) -> bool:
    """Tell whether a URL is watched."""
    return watch.startswith(URL_SCHEMES)


def is_pattern(watch: str) -> bool:
    """Tell whether files that match a pattern are watched."""
    return not is_url(watch) and has_magic(watch)


def check_watch(watch: str, folder: Path) -> None:
    """Raise ConfigError for what cannot be watched: a URL with a password, a file that is not."""
    if is_url(watch):
        if "@" in watch.split("/")[2]:
            raise ConfigError(
                "--watch has a URL with a user or password, which the ledger would keep in clear "
                "text. Give a URL without."
            )
    elif "://" in watch:
        raise ConfigError(f"--watch {watch!r}: only http and https can be watched, and files.")
    elif not is_pattern(watch) and not (folder / watch).is_file():
        raise ConfigError(
            f"--watch {watch!r}: there is no such file in {folder}. A file must be there when the "
            f"schedule is added; of a folder write a pattern, as 'incoming/*.vcf.gz'."
        )


def look_at_file(path: Path, situation: Situation) -> Look:
    """Look whether a file has changed. Raises WatchError when it cannot be read."""
    before = situation.success_with(str(path))
    stamp, modified = _stamp(path)
    if not situation.forced and before is not None and before.stamp == stamp:
        return Unchanged(f"{path} has not changed")
    if (until := modified + SETTLED_S) > situation.now:
        return _being_written(path, until, situation)
    seen = _read(path, situation)
    if not situation.forced and before is not None and before.digest == seen.digest:
        return Unchanged(f"{path} has the same bytes as before")
    return Found(str(path), seen)


def look_in_folder(pattern: str, situation: Situation) -> Look:
    """Look for a file that no fire has succeeded with, or that has changed since.

    The one that was tried least is taken, the oldest of these; so no bad file keeps the others
    waiting. Raises WatchError when a file cannot be read.
    """
    tried = [seen for _, seen in situation.history]
    files = []
    for name in glob(pattern, recursive=True):
        path = Path(name)
        if path.is_file():
            _require_text(name)
            stamp, modified = _stamp(path)
            before = situation.success_with(name)
            if before is None or before.stamp != stamp:
                attempts = sum(seen.key == name and seen.stamp == stamp for seen in tried)
                files.append((attempts, modified, name))
    files.sort()
    settled = [file for file in files if file[1] + SETTLED_S <= situation.now]
    for at, (_, _, name) in enumerate(settled):
        seen = _read(Path(name), situation)
        before = situation.success_with(name)
        if before is None or before.digest != seen.digest:
            untried = any(attempts == 0 for attempts, _, _ in settled[at + 1 :])
            return Found(name, seen, more=untried)
    if files and len(files) > len(settled):
        _, modified, name = min(set(files) - set(settled), key=lambda file: file[1])
        return _being_written(Path(name), modified + SETTLED_S, situation)
    return Unchanged(f"nothing is new among {pattern}")


def _require_text(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise WatchError(
            f"{name!r} is watched, and its name is no UTF-8, which the ledger keeps. Rename it."
        ) from None


def _being_written(path: Path, until: int, situation: Situation) -> Look:
    """Wait for a file to settle; one whose time lies ahead of the clock says nothing of that."""
    if until > situation.now + SETTLED_S:
        raise WatchError(
            f"{path} was modified in the future, by this machine's clock. Set the clock, or touch "
            f"the file."
        )
    return NotYet(until, f"{path} was written to less than {SETTLED_S} s ago")


def _stamp(path: Path) -> tuple[str, int]:
    """Tell what changes with a file, without reading it, and when it did so, rounded up."""
    try:
        told = path.stat()
    except OSError as error:
        raise WatchError(f"{path} cannot be read: {error.strerror}. It is watched.") from error
    stamp = f"{told.st_size} bytes, {told.st_mtime_ns} ns, inode {told.st_ino}"
    return stamp, -(-told.st_mtime_ns // 1_000_000_000)


def _read(path: Path, situation: Situation) -> Seen:
    """Digest a file. The stamp is of before: a change meanwhile is seen as one the next time."""
    stamp, _ = _stamp(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                situation.alive()
    except OSError as error:
        raise WatchError(f"{path} cannot be read: {error.strerror}. It is watched.") from error
    return Seen(key=str(path), digest=digest.hexdigest(), stamp=stamp)
