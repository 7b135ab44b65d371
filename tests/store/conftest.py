"""The runs that the store's contract is held to: bins along the genome, and variants."""

from types import ModuleType

import pytest
import store_runs
import store_variants

WORLDS = {"bins": store_runs, "variants": store_variants}


@pytest.fixture(params=WORLDS)
def world(request) -> ModuleType:
    return WORLDS[request.param]
