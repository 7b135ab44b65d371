"""Objects below one prefix of a store: the requests that runs make, and when they have succeeded.

Knows obstore, and nothing else does; knows nothing of runs. An object appears whole or not at all.
Writes insist on what they replace: nothing there, or the very version that was seen. An answer can
be lost on its way although the request was carried out, so that whoever is refused, or hears
nothing, looks whether the object there is their own.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)
from obstore.store import from_url

from cisray.errors import StorageError
from cisray.store.object_errors import explained, is_no_bucket

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, UpdateVersion
    from obstore.store import ClientConfig, RetryConfig

TRIES = 4
PAUSE_S = 0.2
RETRIES = 6
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
# Refusals that another try would meet again.
_FINAL = (
    PermissionDeniedError,
    UnauthenticatedError,
    NotSupportedError,
    InvalidPathError,
    UnknownConfigurationKeyError,
)
# A version that no object has: of S3 and Azure, and of Google's generations.
_NO_VERSION = ('"00000000000000000000000000000000"', "1")


@dataclass(frozen=True, slots=True)
class Version:
    """Which of the contents that an object has had, one by one.

    Every store has an `e_tag` for each; Google's wants the `number` back, which others may leave
    out of some answers.
    """

    e_tag: str | None
    number: str | None = field(compare=False)

    @property
    def mode(self) -> "PutMode":
        """The condition of a write: that this still is the content."""
        mode: UpdateVersion = {}
        if self.e_tag is not None:
            mode["e_tag"] = self.e_tag
        if self.number is not None:
            mode["version"] = self.number
        return mode


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was read."""

    data: bytes
    version: Version


class Objects:
    """The objects below a URL, by name. Every method raises StorageError with a way out."""

    def __init__(self, url: str, *, hurry_s: float | None = None) -> None:
        """Make a client, which asks nothing yet; in a hurry a request is given up after so long."""
        self.url = url
        retries: RetryConfig = {"max_retries": RETRIES, "retry_timeout": timedelta(minutes=2)}
        options: ClientConfig | None = None
        if hurry_s is not None:
            retries = {"max_retries": 1, "retry_timeout": timedelta(seconds=hurry_s)}
            # Options that are given hide those of the environment.
            allow_http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
            options = {"timeout": timedelta(seconds=hurry_s), "allow_http": allow_http}
        try:
            self._store = from_url(url, client_options=options, retry_config=retries)
        except (BaseError, ValueError) as error:
            raise explained(error, url) from None

    def read(self, name: str) -> Seen | None:
        """Read a small object; None where it is not there."""
        try:
            answer = obstore.get(self._store, name)
            return Seen(bytes(answer.bytes()), _version(answer.meta))
        except FileNotFoundError as error:
            if is_no_bucket(error):
                raise self._explained(error, name) from None
            return None
        except BaseError as error:
            raise self._explained(error, name) from None

    def look(self, name: str) -> "ObjectMeta | None":
        """Look up size and version; None where it is not there."""
        try:
            return obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise self._explained(error, name) from None

    def write(
        self, name: str, data: bytes | memoryview, *, instead_of: Version | None
    ) -> Version | None:
        """Write an object where there is none, or instead of the version that was seen.

        None means that something else is there, which stays as it is. Equal bytes count as our own.
        """
        data = memoryview(data).cast("B")
        mode: PutMode = "create" if instead_of is None else instead_of.mode
        for attempt in range(TRIES):
            time.sleep(PAUSE_S * (2**attempt - 1))
            try:
                answer = obstore.put(self._store, name, data, mode=mode, use_multipart=False)
                return Version(answer["e_tag"], answer["version"])
            except (BaseError, FileNotFoundError) as error:
                if isinstance(error, _FINAL) or is_no_bucket(error):
                    raise self._explained(error, name) from None
                failure = error
            seen = self.read(name)
            if seen is not None and seen.data == data:
                return seen.version
            if (seen and seen.version) != instead_of:
                return None
        raise self._explained(failure, name) from None

    def write_new(self, name: str, data: memoryview | Iterable[bytes]) -> None:
        """Write an object of any size, in parts, whatever is there."""
        if isinstance(data, memoryview):
            data = data.cast("B")
        try:
            obstore.put(
                self._store, name, data, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )
        except (BaseError, FileNotFoundError) as error:
            raise self._explained(error, name) from None

    def check_conditions(self, name: str) -> None:
        """Check on an object that is there that writes with a wrong condition are refused.

        A store that does not know of conditions would let two runs overwrite each other. Should it
        be such a store, the object is written as it is.
        """
        seen = self.read(name)
        if seen is None:
            raise StorageError(
                f"{self.url}/{name} was removed by someone else just now. Find out by whom, and "
                f"run the same command again."
            )
        for mode in ("create", Version(*_NO_VERSION).mode):
            try:
                obstore.put(self._store, name, seen.data, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                continue
            except BaseError as error:
                raise self._explained(error, name) from None
            raise StorageError(
                f"the store of {self.url} does not heed conditions of writes (If-None-Match, "
                f"If-Match), without which two runs could overwrite each other: use a newer "
                f"version of it, or another store."
            )

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        if not names:
            return
        try:
            obstore.delete(self._store, names)
        except FileNotFoundError:
            # Some stores stop at the first that is gone.
            for name in names if len(names) > 1 else ():
                self.delete([name])
        except BaseError as error:
            raise self._explained(error, names[0]) from None

    def below(self, prefix: str) -> dict[str, int]:
        """List all objects below a prefix, each with its size."""
        try:
            listed = obstore.list(self._store, prefix, chunk_size=1000)
            return {meta["path"]: meta["size"] for page in listed for meta in page}
        except (BaseError, FileNotFoundError) as error:
            raise self._explained(error, prefix) from None

    def top(self) -> list[str]:
        """List the first parts of all names."""
        try:
            listed = obstore.list_with_delimiter(self._store)
        except (BaseError, FileNotFoundError) as error:
            raise self._explained(error) from None
        names = [*listed["common_prefixes"], *(meta["path"] for meta in listed["objects"])]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in names)

    def part(self, name: str, start: int, end: int) -> bytes:
        """Read bytes `start` .. `end` (0-based half-open). Raises FileNotFoundError."""
        try:
            return bytes(obstore.get_range(self._store, name, start=start, end=end))
        except BaseError as error:
            raise self._explained(error, name) from None

    def chunks(self, name: str) -> Iterator[bytes]:
        """Read an object of any size from beginning to end. Raises FileNotFoundError."""
        try:
            yield from obstore.get(self._store, name).stream(min_chunk_size=PART_BYTES)
        except BaseError as error:
            raise self._explained(error, name) from None

    def _explained(self, error: Exception, name: str = "") -> StorageError:
        return explained(error, f"{self.url}/{name}" if name else self.url)


def _version(meta: "ObjectMeta") -> Version:
    return Version(meta["e_tag"], meta["version"])
