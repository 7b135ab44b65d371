"""A model at rest: configuration, tensors, tracks and where they came from.

Knows how to identify such a model (its digest) and how to compare its tensors with what a network
expects. Knows no file format and builds no network.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from cisray.errors import CheckpointError, TrackError
from cisray.model.architectures import architecture_of
from cisray.model.configuration import ModelConfig
from cisray.tracks import TrackSet

_NAMED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model at rest, checked: every head of `config` has its tracks, one per output.

    `state` maps the names of the network's state dict to CPU tensors, which may be memory-mapped
    from the file. `provenance` says where the weights came from; it does not enter `digest`,
    which identifies the model (see `model_digest`). Raises TrackError if heads and tracks differ.
    """

    config: ModelConfig
    state: Mapping[str, torch.Tensor]
    tracks: Mapping[str, TrackSet]
    provenance: Mapping[str, Any]
    digest: str

    def __post_init__(self) -> None:
        if set(self.tracks) != set(self.config.heads):
            raise TrackError(
                f"The model has the heads {sorted(self.config.heads)}, but tracks were given for "
                f"{sorted(self.tracks)}."
            )
        for head, size in self.config.heads.items():
            tracks = self.tracks[head]
            if tracks.head != head or tracks.indices.tolist() != list(range(size)):
                raise TrackError(
                    f"Head {head} has {size} outputs, but its tracks are {len(tracks)} of head "
                    f"{tracks.head}; a model needs all tracks of each head, from 0 to {size - 1}."
                )

    @property
    def architecture(self) -> str:
        """Name the architecture of the network, as model files do."""
        return architecture_of(self.config)

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        state: Mapping[str, torch.Tensor],
        *,
        tracks: Mapping[str, TrackSet] | None = None,
        provenance: Mapping[str, Any],
    ) -> Self:
        """Make a checkpoint and compute its digest; heads without tracks get unnamed ones."""
        given = dict(tracks or {})
        unnamed = {
            head: TrackSet.unnamed(head, size)
            for head, size in config.heads.items()
            if head not in given
        }
        every = {**unnamed, **given}
        digest = model_digest(config, state, every)
        return cls(config, dict(state), every, dict(provenance), digest)


def model_digest(
    config: ModelConfig, state: Mapping[str, torch.Tensor], tracks: Mapping[str, TrackSet]
) -> str:
    """Compute the sha256 that identifies a model: architecture, configuration, tracks, tensors.

    Tensors enter in the order of their names, each as name, dtype, shape and little-endian bytes,
    so the digest depends neither on the file they lie in nor on their provenance. Reads every
    byte once, about a second per gigabyte.
    """
    head = {
        "architecture": architecture_of(config),
        "config": config.model_dump(mode="json"),
        "tracks": {name: tracks[name].sha256 for name in tracks},
    }
    total = hashlib.sha256(_canonical(head))
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        kind = str(tensor.dtype).removeprefix("torch.")
        total.update(_canonical([name, kind, list(tensor.shape)]))
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def check_state(
    state: Mapping[str, torch.Tensor],
    expected: Mapping[str, Sequence[int]],
    *,
    source: str = "the checkpoint",
) -> None:
    """Compare tensors with the shapes that a network expects, and name every difference.

    Raises one CheckpointError that lists all missing, surplus and misshapen tensors, the latter
    with both shapes; after 20 of a kind it counts the rest.
    """
    check_shapes({name: tensor.shape for name, tensor in state.items()}, expected, source=source)


def check_shapes(
    found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]], *, source: str
) -> None:
    """Compare shapes by name, as `check_state` does, whatever holds the tensors."""
    misshapen = [
        name for name in expected if name in found and tuple(found[name]) != tuple(expected[name])
    ]
    complaints = [
        _complaint("missing", sorted(set(expected) - set(found)), lambda name: name),
        _complaint("surplus", sorted(set(found) - set(expected)), lambda name: name),
        _complaint(
            "misshapen",
            sorted(misshapen),
            lambda name: f"{name} is {list(found[name])}, must be {list(expected[name])}",
        ),
    ]
    told = "; ".join(complaint for complaint in complaints if complaint)
    if told:
        raise CheckpointError(
            f"The tensors of {source} do not fit a network of this configuration: {told}. "
            f"Check that it is such a model and that the configuration belongs to these weights."
        )


def _complaint(kind: str, names: Sequence[str], tell: Callable[[str], str]) -> str:
    if not names:
        return ""
    shown = ", ".join(tell(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {kind} ({shown}{more})"


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
