"""What people call a run's place: a path, or the URL of a prefix in an object store.

Knows the two ways of writing; knows nothing of disks or stores. A URL is text: a `Path` would drop
one of its slashes, and is refused where that has happened. Credentials have no place in a URL,
which is logged and kept with the run: they come from the environment alone.
"""

import re
from pathlib import Path

from cisray.errors import ConfigError

RunPlace = Path | str
SCHEMES = ("s3", "gs", "az")
_FORMS = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_COLLAPSED = re.compile(r"(?:s3|gs|az):/(?!/)")
_SEGMENT = r"(?!\.\.?(?:/|$))[A-Za-z0-9._=+-]+"
_URL = re.compile(rf"(?:s3|gs|az)://[a-z0-9][a-z0-9._-]*(?:/{_SEGMENT})+")


def run_root(path: str | Path) -> Path:
    """Give a run's folder as an absolute path, `~` resolved.

    pyarrow reads a leading `~` as the home folder and Python does not: one path, one meaning.
    """
    return Path(path).expanduser().absolute()


def checked_place(place: str | Path) -> RunPlace:
    """Tell paths and URLs apart: a path as a `Path`, a URL as text without a slash at its end.

    Raises ConfigError for a URL that cannot be a run's.

    >>> checked_place("s3://bucket/runs/chr21/"), checked_place("runs/chr21")
    ('s3://bucket/runs/chr21', PosixPath('runs/chr21'))
    """
    text = str(place)
    if _COLLAPSED.match(text):
        raise ConfigError(
            f"{text} has one slash where a URL has two: write it as {_FORMS}, and in Python as "
            f"text, since a Path drops one."
        )
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Path(place)
    rest = text[scheme.end() :]
    # The text itself may hold a password: what is said of it must not.
    if set("@?#") & set(rest):
        raise ConfigError(
            f"the URL of a run, {scheme[0]}..., must not hold credentials or options (@, ? or #): "
            f"it is logged and kept with the run. Credentials are taken from the environment; "
            f"write {_FORMS}."
        )
    url = text.rstrip("/")
    if scheme[1] not in SCHEMES or not _URL.fullmatch(url):
        raise ConfigError(
            f"{text} is not the URL of a run: write {_FORMS}, the prefix of letters, digits and "
            f"._=+- between single slashes."
        )
    return url
