"""Fixtures that every folder of tests may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden references and real data, named by CISRAY_SHARED."""
    named = os.environ.get("CISRAY_SHARED")
    if not named:
        pytest.skip(
            "CISRAY_SHARED is not set: it names the folder of golden references and real data"
        )
    return Path(named)
