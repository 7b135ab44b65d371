"""Connecting to Ray: what an embedded Ray must not disturb, and how a missing cluster is told."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import descendants
from engine_surroundings import Surroundings
from listening import is_loopback, listening

from cisray.engine.cluster import Connection, connect
from cisray.engine.executors import executor_for
from cisray.engine.inline import InlineExecutor
from cisray.engine.pool import RayExecutor
from cisray.engine.task import PoolPolicy, Receipt
from cisray.errors import ConfigError, EngineError


@pytest.fixture
def ray_tmpdir() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="cr")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


def python(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a new process that finds our packages by sys.path alone, not PYTHONPATH."""
    paths = f"import sys; sys.path[1:1] = {[p for p in sys.path if p]!r}\n"
    without = ("PYTHONPATH", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_TMPDIR")
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "-c", paths + script, *arguments],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("module", ["inline", "executors", "progress"])
def test_ray_is_not_imported_without_workers(module: str) -> None:
    result = python(
        f"import cisray.engine.{module}\n"
        "from cisray.engine.task import PoolPolicy\n"
        "from cisray.engine.executors import executor_for\n"
        "with executor_for(PoolPolicy(workers=0)) as executor: executor.run\n"
        "assert 'ray' not in sys.modules"
    )
    assert (result.returncode, result.stderr) == (0, "")


EMBEDDED = """
import logging, os, signal
from pathlib import Path
from engine_tasks import Scripted
logging.basicConfig(level=logging.INFO)  # as a user's program may do: Ray's notices would show
logging.getLogger("cisray").setLevel(logging.WARNING)
from cisray.engine.cluster import connect
from cisray.engine.pool import RayExecutor
from cisray.engine.rayenv import constants, ray
from cisray.engine.task import PoolPolicy
def state():
    return (dict(os.environ), signal.getsignal(signal.SIGTERM), logging.getLogger("ray").level,
            constants.ENABLE_RAY_CLUSTER)
before = state()
for session in range(2):  # a second one in the same process needs a token of its own
    with connect(num_cpus=2) as connection:
        assert connection.is_embedded and connection.started_here and connection.cpus == 2
        assert RayExecutor(PoolPolicy(workers=1), connection).run(
            Scripted(sys.argv[1]), [3, 4]).done == 2
        try:
            if session == 1:
                raise RuntimeError("the with block fails")
        except RuntimeError:
            pass
    assert not ray.is_initialized()
    assert before == state()
"""


@pytest.mark.long
@pytest.mark.ray
def test_an_embedded_ray_leaves_everything_as_it_was(ray_tmpdir: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    # A cluster that has died leaves its address behind.
    for folder in (ray_tmpdir, ray_tmpdir / "ray"):
        folder.mkdir(exist_ok=True)
        (folder / "ray_current_cluster").write_text("192.0.2.77:6379")
    result = python(EMBEDDED, str(tmp_path), HOME=str(home), RAY_TMPDIR=str(ray_tmpdir))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


INTRUDER = """
import os, subprocess
from cisray.engine.cluster import connect
from cisray.engine.rayenv import ray
with connect("local", num_cpus=1):
    address = ray.get_runtime_context().gcs_address
    clean = {n: v for n, v in os.environ.items() if not n.startswith("RAY_AUTH")}
    code = f"import ray._raylet as r; print(len(r.GcsClient({address!r}).get_all_node_info()))"
    tries = [clean | {"RAY_AUTH_MODE": "disabled"},
             clean | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, dict(os.environ)]
    running = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for env in tries]
    for each in running:
        print("in" if each.wait() == 0 else "out")
"""


@pytest.mark.slow
@pytest.mark.ray
def test_an_embedded_ray_admits_only_holders_of_its_token(ray_tmpdir: Path) -> None:
    result = python(INTRUDER, RAY_TMPDIR=str(ray_tmpdir))
    # without a token, with a wrong one, with the right one
    assert result.stdout.split() == ["out", "out", "in"], result.stderr


@pytest.mark.ray
def test_an_embedded_ray_listens_on_this_machine_alone(
    embedded_ray: Connection, tmp_path: Path
) -> None:
    """Daemons, workers and the driver itself: no address of a network."""
    found: set[tuple[str, int]] = set()

    def look(shard: int, receipt: Receipt) -> None:
        found.update(listening([os.getpid(), *descendants(os.getpid())]))

    policy = PoolPolicy(workers=1)
    RayExecutor(policy, embedded_ray).run(Surroundings(), [5], on_done=look)
    assert len(found) >= 6  # gcs, raylet (2), driver, worker, runtime environments
    assert {address for address, _ in found if not is_loopback(address)} == set()


def test_where_a_process_listens_is_seen() -> None:
    with (
        socket.socket() as here,
        socket.socket() as everywhere,
        socket.socket(socket.AF_INET6) as six,
    ):
        for one, address in ((here, "127.0.0.1"), (everywhere, "0.0.0.0"), (six, "::")):
            one.bind((address, 0))
            one.listen()
        found = listening([os.getpid()])
        expected = {
            ("127.0.0.1", here.getsockname()[1]),
            ("0.0.0.0", everywhere.getsockname()[1]),
            ("::", six.getsockname()[1]),
        }
        assert expected <= found
    assert not found & listening([os.getpid()]) & expected
    told = [is_loopback(a) for a in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::")]
    assert told == [True, True, True, False, False]


@pytest.mark.ray
def test_workers_see_the_standard_library_and_their_threads(embedded_ray: Connection) -> None:
    seen: list[Receipt] = []
    policy = PoolPolicy(workers=1, threads=1)
    RayExecutor(policy, embedded_ray).run(
        Surroundings(), [5], on_done=lambda shard, receipt: seen.append(receipt)
    )
    assert seen[0]["system"] == "Linux"
    assert Path(str(seen[0]["platform_file"])).parent == Path(sysconfig.get_path("stdlib"))
    assert (seen[0]["omp"], seen[0]["torch_threads"]) == ("1", 1)


@pytest.mark.ray
def test_a_ray_of_the_caller_is_used_and_left_running(embedded_ray: Connection) -> None:
    with connect("local") as inner:
        assert not inner.started_here
        assert inner.cpus == embedded_ray.cpus
    with connect() as again:
        assert again.cpus == 2


@pytest.mark.ray
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (PoolPolicy(workers=5), "5 workers of 0.5 CPUs each need 2.5 CPUs, and this .* offers 2"),
        (PoolPolicy(workers=1, num_gpus=1), "1 workers of 1 GPUs each need 1 GPUs"),
        (PoolPolicy(workers=0), "at least 1 worker"),
    ],
)
def test_an_embedded_ray_that_cannot_hold_the_workers(
    embedded_ray: Connection, policy: PoolPolicy, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RayExecutor(policy, embedded_ray)


def refusals(*addresses: str | None, **environment: str) -> list[str]:
    """Connect in a process of its own, where no Ray is up; return the errors, class first."""
    script = (
        "from cisray.engine.cluster import connect\n"
        "from cisray.errors import CisrayError\n"
        f"for address in {addresses!r}:\n"
        "    try:\n"
        "        connect(address).__enter__()\n"
        "    except CisrayError as error:\n"
        "        print(type(error).__name__, error)"
    )
    result = python(script, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_cluster_that_does_not_answer_is_named_soon() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses connections
        addresses = [f"{scheme}127.0.0.1:{taken.getsockname()[1]}" for scheme in ("", "ray://")]
        started = time.monotonic()
        told = refusals(*addresses)
        assert time.monotonic() - started < 30
    for address, error in zip(addresses, told, strict=True):
        assert error.startswith(f"EngineError no Ray cluster answers at {address} ")


def test_ray_address_is_used_when_no_address_is_given() -> None:
    (told,) = refusals(None, RAY_ADDRESS="127.0.0.1:1")
    assert told.startswith("EngineError no Ray cluster answers at 127.0.0.1:1")


def test_what_is_no_address() -> None:
    addresses = ("head", "head:port", "head:0", "head:99999", ":6379")
    for address, error in zip(addresses, refusals(*addresses), strict=True):
        assert error.startswith(f"ConfigError {address!r} is not a Ray address")


def test_zero_workers_run_in_this_process() -> None:
    with executor_for(PoolPolicy(workers=0, max_attempts=2), address="192.0.2.1:1") as executor:
        assert executor == InlineExecutor(2)
    with (
        pytest.raises(ConfigError, match="a time limit per shard needs a worker process"),
        executor_for(PoolPolicy(workers=0, shard_timeout_s=5)),
    ):
        pass


@pytest.mark.parametrize(
    ("field", "value"), [("workers", -1), ("max_attempts", 0), ("threads", 0), ("num_gpus", -0.5)]
)
def test_policies_that_cannot_work(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} is {value}"):
        PoolPolicy(**{"workers": 1, field: value})  # type: ignore[arg-type]  # one field at a time


def test_engine_errors_are_failures_of_the_work() -> None:
    assert (EngineError.exit_code, ConfigError.exit_code) == (1, 2)
