"""Weights in files: cisray's own format, and readers of the formats that Enformer is published in.

Every reader ends in the same value, a `Checkpoint`; none of them builds a network.
"""

from cisray.model.checkpoints.checkpoint import Checkpoint, check_state, model_digest
from cisray.model.checkpoints.convert import ConvertOptions, open_foreign
from cisray.model.checkpoints.native import read_native, save_native

__all__ = [
    "Checkpoint",
    "ConvertOptions",
    "check_state",
    "model_digest",
    "open_foreign",
    "read_native",
    "save_native",
]
