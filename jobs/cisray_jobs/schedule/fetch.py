"""Whether a URL has changed since a fire succeeded with it, and its content as a file.

Knows HTTP; knows nothing of ledgers. The server is asked on condition: by its ETag, or else by
Last-Modified. One that has neither, or does not heed them, sends everything; the digest decides.
"""

import hashlib
import os
from contextlib import closing
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

from cisray.errors import WatchError
from cisray.store.files import flush_folder, make_folder, writing_to
from cisray_jobs.schedule.definition import Seen
from cisray_jobs.schedule.watch import Found, Look, Situation, Unchanged

_TIMEOUT_S = 60
_CHUNK = 1 << 20
_NOT_MODIFIED = 304
_SHORT = 16


def look_at_url(url: str, keep: Path, situation: Situation) -> Look:
    """Ask whether a URL has changed, and if so, keep its content below `keep`, by its digest.

    Raises WatchError when the server does not give it, or not all of it.
    """
    before = None if situation.forced else situation.success_with(url)
    try:
        response = _ask(url, before)
        if response is None:
            return Unchanged(f"{url} has not changed, its server says")
        with closing(response):
            stamp = _stamp(response)
            if before is not None and stamp and stamp == before.stamp:
                return Unchanged(f"{url} has not changed: {stamp}")
            path, digest = _kept(response, url, keep, situation)
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        told = getattr(error, "reason", None) or error
        raise WatchError(f"{url} cannot be fetched: {told}. It is watched.") from error
    if before is not None and digest == before.digest:
        return Unchanged(f"{url} has the same bytes as before")
    return Found(str(path), Seen(key=url, digest=digest, stamp=stamp))


def _ask(url: str, before: Seen | None) -> HTTPResponse | None:
    """Request the content, unless it is as it was before: then give None."""
    request = Request(url, headers={"Accept-Encoding": "identity"})
    if before is not None and before.stamp:
        kind, _, value = before.stamp.partition(": ")
        request.add_header("If-None-Match" if kind == "ETag" else "If-Modified-Since", value)
    try:
        response: HTTPResponse = urlopen(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if error.code == _NOT_MODIFIED:
            return None
        raise
    return response


def _stamp(response: HTTPResponse) -> str:
    for name in ("ETag", "Last-Modified"):
        if value := response.headers.get(name):
            return f"{name}: {value}"
    return ""


def _kept(response: HTTPResponse, url: str, keep: Path, situation: Situation) -> tuple[Path, str]:
    """Write the content to a file named by its digest and by the URL; give its path and digest."""
    with writing_to(keep):
        make_folder(keep)
        arriving = keep / f".{uuid4().hex}"
        try:
            with arriving.open("xb") as stream:
                digest = _copied(response, url, stream, situation)
            name = unquote(Path(urlsplit(url).path).name).replace("/", "_") or "input"
            path = keep / digest[:_SHORT] / name
            make_folder(path.parent)
            arriving.replace(path)
            flush_folder(path.parent)
        finally:
            arriving.unlink(missing_ok=True)
    return path, digest


def _copied(response: HTTPResponse, url: str, stream: BinaryIO, situation: Situation) -> str:
    digest, count = hashlib.sha256(), 0
    owed = response.length
    while chunk := response.read(_CHUNK):
        digest.update(chunk)
        count += stream.write(chunk)
        situation.alive()
    # Asked for in pieces, http.client does not say that the connection ended early.
    if owed is not None and count != owed:
        raise WatchError(f"{url} ended after {count:,} of {owed:,} bytes. It is watched.")
    stream.flush()
    os.fsync(stream.fileno())
    return digest.hexdigest()
