"""Fixtures that every folder of tests may use."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from s3_server import S3Server

    from cisray.engine.cluster import Connection


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let processes that share the tests keep a file whole, and one have all that share a Ray.

    What a file's tests have made together is then made once. Without `-n` this changes nothing.
    """
    for item in items:
        shares_ray = "embedded_ray" in getattr(item, "fixturenames", ())
        group = "embedded_ray" if shares_ray else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish() -> None:
    """Spare the collector of garbage thousands of tests, and all that their modules imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden references and real data, named by CISRAY_SHARED."""
    named = os.environ.get("CISRAY_SHARED")
    if not named:
        pytest.skip(
            "CISRAY_SHARED is not set: it names the folder of golden references and real data"
        )
    return Path(named)


@pytest.fixture(scope="session")
def embedded_ray() -> Iterator["Connection"]:
    """One embedded Ray for all tests that need one, in a private folder with a short name."""
    from cisray.engine.cluster import connect

    folder = tempfile.mkdtemp(prefix="cr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        with connect("local", num_cpus=2) as connection:
            yield connection
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_process() -> Iterator["S3Server"]:
    """One S3 server on this machine for all tests that need one."""
    from s3_server import start

    process, server = start()
    yield server
    process.kill()
    process.wait()


@pytest.fixture
def s3(s3_process: "S3Server", monkeypatch: pytest.MonkeyPatch) -> "S3Server":
    """The server without faults, the variables that lead to it, and leases of a second."""
    from cisray.store import lease

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_process.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lease, "LEASE_S", 1.0)
    s3_process.heal()
    return s3_process


@pytest.fixture
def bucket(s3: "S3Server") -> str:
    """The URL of a prefix without objects."""
    from s3_server import BUCKET

    return f"s3://{BUCKET}/{uuid4().hex}"
