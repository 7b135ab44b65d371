"""What a training run is at a step: weights, moments and the step's number, in a folder.

Knows torch.distributed.checkpoint; knows nothing of who keeps the folder. The order of examples,
their augmentation, the learning rate and the random state of dropout are functions of the settings
and of the step's number, so that these three are everything. A folder that several workers wrote
can be read by any other number of them, whole or in pieces (DDP, FSDP2), or by one process alone.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import api
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from cisray.errors import CheckpointError
from cisray.training.parallel import bare, has_group
from cisray.training.step import Training

FORMAT = "cisray.training/1"
FACTS, TENSORS = "training.json", "tensors"


def tensors_of(training: Training) -> dict[str, torch.Tensor]:
    """List weights, statistics and moments by name: the tensors themselves, not copies."""
    model = bare(training.model)
    named = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        moments = training.optimiser.state.get(parameter, {})
        named |= {f"adam.{kind}.{name}": tensor for kind, tensor in moments.items()}
    return named


def copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors to the CPU, so that training can go on while they are written."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def write_state(
    folder: Path, tensors: Mapping[str, torch.Tensor], step: int, facts: Mapping[str, Any]
) -> None:
    """Write the state after `step` steps; with a process group every worker writes its part."""
    with _quietly():
        save(dict(tensors), checkpoint_id=folder / TENSORS, no_dist=not has_group())
    told = {"format": FORMAT, "step": step, **facts}
    (folder / FACTS).write_text(json.dumps(told, indent=2) + "\n")


def read_facts(folder: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself. Raises CheckpointError if that is unreadable."""
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as a training checkpoint: {error}.") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not of the format {FORMAT}; another cisray wrote it.")
    return facts


def read_state(folder: Path, training: Training) -> int:
    """Put a saved state into a training run, in place, and return how many steps it had done.

    Raises CheckpointError if tensors are missing or have other shapes.
    """
    facts = read_facts(folder)
    read_tensors(folder, tensors_of(training))
    training.optimiser.steps = int(facts["step"])
    return int(facts["step"])


def read_tensors(folder: Path, into: dict[str, torch.Tensor]) -> None:
    """Fill tensors in place by their names. Raises CheckpointError for one that is not there."""
    try:
        with _quietly():
            load(into, checkpoint_id=folder / TENSORS, no_dist=not has_group())
    except (api.CheckpointException, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:600]
        raise CheckpointError(
            f"The training checkpoint {folder} cannot be read: {reason}. Delete that folder, and "
            "the run goes on from the one before."
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out torch's remark that there is one process: it was told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
