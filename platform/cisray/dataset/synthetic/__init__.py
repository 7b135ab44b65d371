"""A made-up genome with everything that a real one has, and its ground truth.

Knows a generative model (docs/synthetic.md) and how to write what it makes; needs numpy alone to
make it. `generate` gives it in memory, `write_synthetic` as files.
"""

from cisray.dataset.synthetic.generate import (
    SyntheticData,
    SyntheticSummary,
    generate,
    write_synthetic,
)
from cisray.dataset.synthetic.settings import ASSAYS, CELLS, ROLES, SyntheticSettings

__all__ = [
    "ASSAYS",
    "CELLS",
    "ROLES",
    "SyntheticData",
    "SyntheticSettings",
    "SyntheticSummary",
    "generate",
    "write_synthetic",
]
