"""From a checkpoint to a ready model, by the name of its architecture.

Knows which architectures there are; knows nothing of file formats (`checkpoints` does).
"""

from pathlib import Path

import torch

from cisray.errors import CheckpointError
from cisray.model.checkpoints.checkpoint import Checkpoint, check_state
from cisray.model.checkpoints.native import read_native
from cisray.model.enformer.network import Enformer, expected_shapes


def load_model(path: str | Path, *, verify: bool = True) -> Enformer:
    """Open a model in cisray's own format, a `.safetensors` file or a folder with one.

    The model is in evaluation mode on the CPU; its weights are mapped from the file, so that
    processes on one machine share them. `verify` recomputes the digest of the weights (about a
    second per GB) and refuses a file that was damaged. A leading `~` is expanded. Raises
    CheckpointError, which names the converting command for files of other formats.
    """
    try:
        file = Path(path).expanduser()
    except RuntimeError:
        raise CheckpointError(f"There is no home folder for {path}; write the path out.") from None
    return model_from_checkpoint(read_model(file, verify=verify))


def read_model(path: Path, *, verify: bool = True) -> Checkpoint:
    """Read a model at rest and check that its tensors are those its network needs.

    As `load_model`, for those who need what a model says of itself and not its predictions.
    """
    checkpoint = read_native(path, verify=verify)
    check_state(checkpoint.state, expected_shapes(checkpoint.config), source=str(path))
    return checkpoint


def model_from_checkpoint(checkpoint: Checkpoint) -> Enformer:
    """Build the module of a checkpoint around its tensors, without copying them.

    Raises CheckpointError if they are not those of its configuration.
    """
    check_state(checkpoint.state, expected_shapes(checkpoint.config))
    with torch.device("meta"):
        model = Enformer(checkpoint.config, checkpoint.tracks)
    model.load_state_dict(dict(checkpoint.state), assign=True)
    model.digest = checkpoint.digest
    return model.eval().requires_grad_(requires_grad=False)
