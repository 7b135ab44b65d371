"""From a checkpoint to a ready model, by the name of its architecture.

Knows which architectures there are; knows nothing of file formats (`checkpoints` does).
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from cisray.errors import CheckpointError
from cisray.model.basenji2 import initialise as basenji2_weights
from cisray.model.basenji2.config import Basenji2Config
from cisray.model.basenji2.network import Basenji2
from cisray.model.checkpoints.checkpoint import Checkpoint, check_state
from cisray.model.checkpoints.native import read_native
from cisray.model.configuration import ModelConfig
from cisray.model.enformer import initialise as enformer_weights
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.network import Enformer
from cisray.model.module import SequenceModule
from cisray.tracks import TrackSet


def load_model(path: str | Path, *, verify: bool = True) -> SequenceModule:
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


def model_from_checkpoint(checkpoint: Checkpoint) -> SequenceModule:
    """Build the module of a checkpoint around its tensors, without copying them.

    Raises CheckpointError if they are not those of its configuration.
    """
    check_state(checkpoint.state, expected_shapes(checkpoint.config))
    with torch.device("meta"):
        model = build_network(checkpoint.config, checkpoint.tracks)
    model.load_state_dict(dict(checkpoint.state), assign=True)
    model.digest = checkpoint.digest
    return model.eval().requires_grad_(requires_grad=False)


def build_network(
    config: ModelConfig, tracks: Mapping[str, TrackSet] | None = None
) -> SequenceModule:
    """Build the network of a configuration, whose weights mean nothing yet."""
    match config:
        case EnformerConfig():
            return Enformer(config, tracks)
        case Basenji2Config():
            return Basenji2(config, tracks)
    raise TypeError(f"no network is built from a {type(config).__name__}")


def new_network(
    config: ModelConfig,
    seed: int,
    *,
    tracks: Mapping[str, TrackSet] | None = None,
    randomise_all: bool = False,
) -> SequenceModule:
    """Build a network with random weights to train from scratch, by its architecture's rules.

    `randomise_all` also draws what starts at zero or one, so that no layer hides in a test.
    """
    model = build_network(config, tracks)
    match model:
        case Enformer():
            return enformer_weights.initialise(model, seed, randomise_all=randomise_all)
        case Basenji2():
            return basenji2_weights.initialise(model, seed, randomise_all=randomise_all)
    raise TypeError(f"no rules initialise a {type(model).__name__}")


def expected_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """List every tensor that a checkpoint of this configuration must hold, with its shape."""
    with torch.device("meta"):
        model = build_network(config)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
