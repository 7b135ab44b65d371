"""Connecting to Ray: the only `ray.init` of the project, embedded or to a cluster that runs.

Knows addresses, tokens and what must be put back afterwards; knows nothing of shards. An embedded
Ray belongs to this process: it listens on this machine alone, is closed by a token that only its
own processes hold, prints nothing, writes no token file, and the environment, the loggers and the
signal handler are left as they were found. A Ray that the caller has started is used and never shut
down.
"""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cisray.engine.address import EMBEDDED, choose_address
from cisray.engine.rayenv import (
    AuthenticationTokenLoader,
    Config,
    constants,
    driver,
    ray,
    services,
)
from cisray.errors import ConfigError, EngineError

OBJECT_STORE_BYTES = 100 * 2**20  # receipts only pass it; Ray's minimum is 75 MiB
PROBE_S = 10.0

_START_ERRORS = (
    ConnectionError,
    OSError,
    RuntimeError,
    TimeoutError,
    ValueError,
    ray.exceptions.RayError,
)
_CHANGED_BY_RAY = ("PYTHONBREAKPOINT",)  # would send a breakpoint() to Ray's debugger for good

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connection:
    """A Ray that is up. `is_embedded`: started by us for this process alone.

    `cpus` and `gpus` are what the cluster had when we connected; an autoscaler may add more.
    """

    is_embedded: bool
    started_here: bool
    cpus: float
    gpus: float


@contextmanager
def connect(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    object_store_bytes: int = OBJECT_STORE_BYTES,
) -> Iterator[Connection]:
    """Be connected to Ray for the length of a `with` block.

    `address` is "local" (an embedded Ray for this process), "auto" (the cluster that RAY_ADDRESS
    names or that runs on this machine), "host:port" or "ray://host:port"; None means "auto" if
    RAY_ADDRESS is set, as it is inside a Ray job, else "local". If Ray is initialised already it is
    used as it is. The other arguments are for the embedded Ray; None lets Ray count.

    Raises:
        ConfigError: the address is none of these.
        EngineError: nothing answers there within 10 s, or Ray refuses or fails to start.
    """
    if ray.is_initialized():
        yield _connection(is_embedded=False, started_here=False)
        return
    chosen = choose_address(address)
    with ExitStack() as session:
        if chosen == EMBEDDED:
            session.enter_context(_embedded_surroundings())
            _init(
                EMBEDDED,
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
            )
        else:
            target = _resolve(chosen)
            _probe(target)
            session.enter_context(_surroundings({}))
            _init(target)
        session.callback(ray.shutdown)
        yield _connection(is_embedded=chosen == EMBEDDED, started_here=True)


def _init(address: str, **options: object) -> None:
    """Call `ray.init` once, and put its failures into one paragraph."""
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
    except _START_ERRORS as error:
        ray.shutdown()
        raise EngineError(_failure_text(address, error)) from error


def _failure_text(address: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:600]
    if address == EMBEDDED:
        return (
            f"Ray did not start on this machine: {reason}. Its logs are under RAY_TMPDIR or "
            "/tmp/ray; a run with 0 workers does without Ray."
        )
    return (
        f"the Ray cluster at {address} answers, but refuses us: {reason}. Compare the Ray "
        "versions, and if it wants a token set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or "
        "RAY_AUTH_TOKEN_PATH)."
    )


def _connection(*, is_embedded: bool, started_here: bool) -> Connection:
    resources = ray.cluster_resources()
    return Connection(
        is_embedded=is_embedded,
        started_here=started_here,
        cpus=float(resources.get("CPU", 0.0)),
        gpus=float(resources.get("GPU", 0.0)),
    )


def _resolve(address: str) -> str:
    """Turn "auto" into the address it stands for; anything else is returned as it is."""
    if address != "auto":
        return address
    try:
        return str(services.get_ray_address_from_environment("auto", None))
    except ConnectionError as error:
        raise EngineError(
            "no Ray cluster was found: RAY_ADDRESS is not set and none runs on this machine. Give "
            "an address (host:port or ray://host:port), or use local for an embedded Ray."
        ) from error


def _probe(address: str) -> None:
    """Check that something listens at an address: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(
            f"{address!r} is not a Ray address: use local, auto, host:port or ray://host:port"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
    except OSError as error:
        raise EngineError(
            f"no Ray cluster answers at {address} ({error}). Check that it is up (ray status) and "
            "that the port is reachable from here, or use local for an embedded Ray."
        ) from error


@contextmanager
def _embedded_surroundings() -> Iterator[None]:
    """Set what an embedded Ray and its children read, and put everything back afterwards."""
    changes = {
        # Other users of the machine can reach Ray's ports; only holders of the token get in. With
        # the token in the environment Ray does not write ~/.ray/auth_token.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",  # what _on_loopback is for this process
        "PYTHONPATH": os.pathsep.join(_importable_folders()),
    }
    with ExitStack() as kept:
        kept.enter_context(_quiet_ray_logger())
        kept.callback(_reread_environment)
        kept.enter_context(_surroundings(changes))
        kept.enter_context(_on_loopback())
        _reread_environment()
        yield


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1 alone, as it does by itself on macOS and Windows.

    Elsewhere it takes the address of a network for this machine, whatever `ray.init` is told, and
    its ports are open to that network; some of them (metrics) ask for no token.
    """
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _surroundings(changes: Mapping[str, str]) -> Iterator[None]:
    """Change environment variables; afterwards put back these and what `ray.init` changes."""
    with _environment(changes), _kept_sigterm(), _ray_messages_in_the_log():
        yield


def _reread_environment() -> None:
    """Drop what Ray has cached of RAY_AUTH_*: it reads them once per process."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _importable_folders() -> list[str]:
    """List the folders from which this process imports, besides its Python installation.

    Workers start with a sys.path of their own; what the driver found through PYTHONPATH, an
    editable install or a test runner's settings they would miss.
    """
    installed = {Path(sys.prefix), Path(sys.base_prefix)}
    folders = [Path(entry) for entry in sys.path if entry and os.pathsep not in entry]
    return [
        str(folder)
        for folder in folders
        if folder.is_dir() and installed.isdisjoint((folder, *folder.parents))
    ]


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in (*changes, *_CHANGED_BY_RAY)}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet_ray_logger() -> Iterator[None]:
    """Keep Ray's notices ("Started a local Ray instance") off the terminal; errors pass."""
    logger = logging.getLogger("ray")
    level, handlers = logger.level, list(logger.handlers)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@contextmanager
def _ray_messages_in_the_log() -> Iterator[None]:
    """Send what Ray tells a driver about its cluster to the log.

    Ray prints the last lines of a lost node's log on standard output, whatever `log_to_driver`
    says; there they would end up in the middle of a command's JSON.
    """
    printed = driver.print_to_stdstream

    def log_instead(data: Mapping[str, object], ignore_prefix: bool) -> None:
        log.debug("%s: %s", data["pid"], data["lines"])

    driver.print_to_stdstream = log_instead
    try:
        yield
    finally:
        driver.print_to_stdstream = printed


@contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Restore the SIGTERM handler that `ray.init` replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler if handler is not None else signal.SIG_DFL)
