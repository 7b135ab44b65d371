"""A tiny model with every layer random, and base codes with unknown bases among them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray_jobs.models import init_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Enformer:
    """4,096 bp in, 16 bins out; heads human with 8 tracks and mouse with 4."""
    path = Path(tmp_path_factory.mktemp("model")) / "tiny.safetensors"
    init_model(path, "tiny", seed=5, randomise_all=True)
    return load_model(path)


@pytest.fixture(scope="session")
def codes_BL() -> NDArray[np.uint8]:
    """Five windows; the last has no known base in its first half."""
    codes = np.random.default_rng(2).integers(0, 5, (5, 4096)).astype(np.uint8)
    codes[4, :2048] = 4
    return codes


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
