"""Fixtures that every folder of tests may use."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cisray.engine.cluster import Connection


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
