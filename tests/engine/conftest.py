"""One embedded Ray for all tests of the engine, in a private folder with a short name."""

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from cisray.engine.cluster import Connection, connect


@pytest.fixture(scope="session")
def embedded_ray() -> Iterator[Connection]:
    folder = tempfile.mkdtemp(prefix="cr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        with connect("local", num_cpus=2) as connection:
            yield connection
    shutil.rmtree(folder, ignore_errors=True)
