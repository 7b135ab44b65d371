"""Which job server is meant, and the token that it wants; does not import Ray.

A job server (Ray's dashboard, port 8265) runs whatever it is sent, as the user who started the
cluster. So a token goes only to the address that was asked for, and nothing goes without a token to
an http address that is not on this machine. A token is neither shown nor kept.
"""

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cisray.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8265"
# Ray's names, and where Ray keeps a token by default (docs.ray.io, "Ray token authentication").
AUTH_MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
TOKEN_FILE = "~/.ray/auth_token"

_OTHERS = 0o077  # permissions of group and others

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobServer:
    """An address that jobs may be sent to, and what lets us in."""

    url: str
    token: str | None = field(default=None, repr=False)


def job_server(
    address: str | None = None, environment: Mapping[str, str] = os.environ
) -> JobServer:
    """Settle where jobs are sent.

    `address` is the http or https URL of a dashboard; None is port 8265 of this machine, where
    `ray dashboard CLUSTER.yaml` and `kubectl port-forward` lead to as well.

    Raises:
        ConfigError: no such URL, or one with credentials in it; a token is demanded and there is
            none; or it is neither this machine nor https and there is none.
    """
    url = _checked(address or DEFAULT_URL)
    token = token_of(environment)
    parts = urlsplit(url)
    if token is None and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigError(
            f"{url} is another machine, and there is no token: whoever reaches a job server "
            f"without one can run anything on its cluster. Turn token authentication on there "
            f"({AUTH_MODE}=token) and give the token here by {TOKEN} or {TOKEN_PATH}; better "
            f"still, lead its port to this machine (ray dashboard CLUSTER.yaml, or ssh -L "
            f"8265:127.0.0.1:8265 HEAD) and leave the address out."
        )
    return JobServer(url, token)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.username is not None or parts.password is not None or parts.query:
        # What was given may hold a secret: it is not repeated.
        raise ConfigError(
            f"The address of a job server must not hold credentials or options: it is printed. "
            f"Give a token by {TOKEN} or {TOKEN_PATH}."
        )
    is_plain = parts.path in ("", "/") and not parts.fragment
    if parts.scheme not in ("http", "https") or not host or not is_plain or port == 0:
        raise ConfigError(
            f"{url!r} is not the address of a job server: write http://HOST:8265, that of the "
            f"cluster's dashboard. The port of ray:// and that of --address of a run are others."
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine by its name alone; no name is looked up.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "10.0.0.7", "0.0.0.0")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token_of(environment: Mapping[str, str]) -> str | None:
    """Find the token as Ray does: RAY_AUTH_TOKEN, a file: RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    None where RAY_AUTH_MODE is `disabled`, or where there is none and it is not `token`. Raises
    ConfigError for a token that is demanded and missing, or that no header can carry.
    """
    mode = environment.get(AUTH_MODE, "").lower()
    if mode == "disabled":
        return None
    given = environment.get(TOKEN)
    if given:
        return _usable(given, TOKEN)
    named = environment.get(TOKEN_PATH)
    path = Path(named or TOKEN_FILE).expanduser()
    if named or path.is_file():
        return _usable(_read(path), str(path))
    if mode == "token":
        raise ConfigError(
            f"{AUTH_MODE}=token asks for a token, and there is none: set {TOKEN}, or {TOKEN_PATH} "
            f"to a file that holds it, or make one with ray get-auth-token --generate."
        )
    return None


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the token in {path}: {error}.") from None
    if mode & _OTHERS:
        # As Ray itself writes it.
        log.warning("other users of this machine may read the token in %s: chmod 600 it", path)
    return text


def _usable(text: str, source: str) -> str:
    token = text.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigError(f"The token in {source} is empty, or holds blanks or control characters.")
    return token
