"""Files that are given with a name of their own, as NAME=PATH; knows nothing of what they hold."""

from collections.abc import Sequence
from pathlib import Path

from cisray.errors import ConfigError
from cisray_jobs.config import expanded


def named_paths(option: str, entries: Sequence[str]) -> dict[str, Path]:
    """Take entries NAME=PATH apart, in their order.

    >>> named_paths("--run", ["enformer=runs/mpra"])
    {'enformer': PosixPath('runs/mpra')}

    Raises ConfigError for an entry without a name or a path, and for a name that is given twice.
    """
    found: dict[str, Path] = {}
    for entry in entries:
        name, separator, path = (part.strip() for part in entry.partition("="))
        if not (name and separator and path):
            raise ConfigError(f"{option} {entry!r} must be NAME=PATH, as in enformer=runs/mpra.")
        if name in found:
            raise ConfigError(f"{option} names {name} twice.")
        found[name] = expanded(Path(path))
    return found
