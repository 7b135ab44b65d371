"""Basenji2 as Keras saves it: one HDF5 file with the layers as JSON and their weights.

Knows the `model.save` format of Keras 2 and the order of layers that Basenji writes; knows nothing
of other networks. The configuration is read from the layers themselves, not assumed: crop, widths,
dilations, dropout, and the constants of batch norm.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from pydantic import ValidationError

from cisray.errors import CheckpointError
from cisray.model.basenji2.config import Basenji2Config, read_params

KERAS_SUFFIXES = (".h5", ".hdf5")
PARAMS_FILE = "{stem}_params.json"
# Layers of Basenji's augmentation, which pass their input on when a model predicts.
_IDLE = {"StochasticShift", "StochasticReverseComplement", "SwitchReverse"}
_PUBLISHED_HEADS = {5313: "human", 1643: "mouse"}
_PLAIN_CONV = {"strides": [1], "padding": "same", "groups": 1, "activation": "linear"}
_PLAIN_NORM = {"center": True, "scale": True}
_HALVING = {"pool_size": [2], "strides": [2]}
_WEIGHT_NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of `model_config`: its class, its settings, and the layers that it reads."""

    kind: str
    name: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """GELU, convolution, batch norm, and what may follow: dropout, a sum or max pooling."""

    conv: Layer
    norm: Layer
    dropout: float = 0.0
    pooled: bool = False
    added: bool = False

    @property
    def kernel(self) -> int:
        """Bases or tokens that the convolution reads."""
        return int(self.conv.settings["kernel_size"][0])

    @property
    def dilation(self) -> int:
        """Tokens between those that the convolution reads."""
        return int(self.conv.settings["dilation_rate"][0])

    @property
    def width(self) -> int:
        """Channels that the block puts out."""
        return int(self.conv.settings["filters"])


@dataclass(frozen=True, slots=True)
class Network:
    """The layers of a Basenji2, told apart."""

    input_bp: int
    pooled: tuple[Block, ...]
    residual: tuple[tuple[Block, Block], ...]
    crop: int
    final: Block
    dense: Layer


def read_keras(
    path: Path, params: Path | None = None, *, heads: Iterable[str] = ()
) -> tuple[Basenji2Config, dict[str, torch.Tensor], dict[str, Any]]:
    """Read configuration, tensors and notes of where the head's name came from.

    Keras does not name the head. It is the one of `heads` if that is a single name (those of the
    tables of tracks), else that of Basenji's parameter file `params`, else known by the published
    number of tracks, else `human`. `params` must describe the same network. Raises CheckpointError
    for a file that is damaged, or holds another network than Basenji2.
    """
    try:
        with h5py.File(path, "r") as file:
            network = parse_layers(_layers(file, path), path)
            state = dict(_tensors(file["model_weights"], network, path))
    except (OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a Keras model: {error}. It must be an HDF5 file written by "
            f"model.save of Keras 2, with its layers and its weights."
        ) from error
    described = None if params is None else read_params(params)
    units = int(network.dense.settings["units"])
    head, reason = _head_name(units, tuple(heads), described)
    config = _configuration(network, head, path)
    if described is not None and params is not None:
        _check_same(config, described, path, params)
    named = {name.replace("HEAD", head): tensor for name, tensor in state.items()}
    return config, named, {"head": f"{head}: {reason}"}


def parse_layers(layers: Sequence[Layer], path: Path) -> Network:
    """Tell the parts of a Basenji2 apart in layers that follow one another.

    Raises CheckpointError, naming the layer, where the order or a setting is not Basenji2's.
    """
    chain = _Chain([layer for layer in layers if layer.kind not in _IDLE], path)
    _check_wiring(layers, chain)
    window = chain.take("InputLayer").settings["batch_input_shape"]
    pooled = []
    while (block := chain.block()).pooled:
        pooled.append(block)
    rest, crop = [block], 0
    while not chain.at("GELU", "Dense"):
        if chain.at("Cropping1D"):
            # What follows is the last block; without a crop it is known by the head after it.
            crop = chain.crop()
            rest.append(chain.block())
            break
        rest.append(chain.block())
    chain.take("GELU")
    dense = chain.take("Dense", activation="softplus", use_bias=True)
    chain.finish()
    *blocks, final = rest
    residual = tuple(zip(blocks[::2], blocks[1::2], strict=False))
    _check_parts(chain, pooled, blocks, residual)
    return Network(int(window[1]), tuple(pooled), residual, crop, final, dense)


class _Chain:
    """A cursor over layers that says, when one does not fit, which and where."""

    def __init__(self, layers: Sequence[Layer], path: Path) -> None:
        self._layers = layers
        self._place = 0
        self._path = path

    def at(self, *kinds: str) -> bool:
        """Tell whether the next layers are of these kinds."""
        ahead = self._layers[self._place : self._place + len(kinds)]
        return [layer.kind for layer in ahead] == list(kinds)

    def crop(self) -> int:
        """Step over a crop, which must take as much on either side."""
        cropping = self.take("Cropping1D").settings["cropping"]
        if len(cropping) != 2 or cropping[0] != cropping[1]:
            raise self.refusal(f"crops {cropping}, not the same on both sides")
        return int(cropping[0])

    def take(self, kind: str, **wanted: Any) -> Layer:
        """Step over a layer of a kind with the settings that are wanted."""
        if not self.at(kind):
            rest = self._layers[self._place : self._place + 1]
            found = f"{rest[0].kind} {rest[0].name}" if rest else "its end"
            raise self.refusal(f"has {found} where a {kind} is due")
        layer = self._layers[self._place]
        self._place += 1
        for name, value in wanted.items():
            if layer.settings.get(name) != value:
                raise self.refusal(
                    f"has {name} {layer.settings.get(name)!r} in {layer.name}, not {value!r}"
                )
        return layer

    def block(self) -> Block:
        """Step over GELU, convolution, batch norm and what follows them."""
        self.take("GELU")
        conv = self.take("Conv1D", **_PLAIN_CONV)
        norm = self.take("BatchNormalization", **_PLAIN_NORM)
        dropout = self.take("Dropout").settings["rate"] if self.at("Dropout") else 0.0
        added = self.at("Add") and bool(self.take("Add"))
        pooled = self.at("MaxPooling1D") and bool(self.take("MaxPooling1D", **_HALVING))
        return Block(conv, norm, float(dropout), pooled, added)

    def finish(self) -> None:
        """Make sure that no layer is left."""
        if self._place < len(self._layers):
            raise self.refusal(f"goes on with {self._layers[self._place].name} after its head")

    def refusal(self, found: str) -> CheckpointError:
        """Phrase what is wrong with the file."""
        return CheckpointError(
            f"{self._path} holds no Basenji2 that cisray knows: it {found}. The layers must be "
            f"those of Basenji's params: conv_block, conv_tower, dilated_residual, Cropping1D or "
            f"none, conv_block, a dense head."
        )


def _layers(file: h5py.File, path: Path) -> list[Layer]:
    told = file.attrs.get("model_config")
    try:
        content = json.loads(told if told is not None else "{}")
        return [
            Layer(
                layer["class_name"].rpartition(">")[2],
                layer["name"],
                layer["config"],
                tuple(source[0] for node in layer["inbound_nodes"] for source in node),
            )
            for layer in content["config"]["layers"]
        ]
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not describe its layers as Keras 2 does ({type(error).__name__}: "
            f"{error}). A file with weights alone does not say which network they belong to: save "
            f"the whole model with model.save."
        ) from error


def _check_wiring(layers: Sequence[Layer], chain: _Chain) -> None:
    """Make sure that each layer reads the one before it, and each sum the start of its block."""
    start = {layer.name: place for place, layer in enumerate(layers)}
    block_start = 0
    for place, (before, layer) in enumerate(pairwise(layers), start=1):
        wanted = {before.name}
        if layer.kind == "Add":
            wanted.add(layers[block_start].name)
        if set(layer.inputs) != wanted and layer.kind not in _IDLE:
            raise chain.refusal(
                f"wires {layer.name} to {', '.join(layer.inputs)}, not to "
                f"{', '.join(sorted(wanted, key=start.__getitem__))}"
            )
        if layer.kind in ("Add", "MaxPooling1D"):
            block_start = place


def _check_parts(
    chain: _Chain,
    pooled: Sequence[Block],
    blocks: Sequence[Block],
    residual: Sequence[tuple[Block, Block]],
) -> None:
    if len(pooled) < 2:
        raise chain.refusal("has no tower of convolutions with max pooling")
    if len({block.kernel for block in pooled[1:]}) > 1:
        raise chain.refusal("has kernels of several widths in its tower")
    if any(block.dropout for block in pooled):
        raise chain.refusal("has dropout before its residual blocks")
    if not residual or len(blocks) != 2 * len(residual):
        raise chain.refusal(f"has {len(blocks)} blocks between tower and last block, not pairs")
    for narrow, widen in residual:
        if narrow.added or narrow.dropout or not widen.added or widen.kernel != 1:
            raise chain.refusal(f"has no dilated residual block at {narrow.conv.name}")
    if len({(n.kernel, n.width, w.width, w.dropout) for n, w in residual}) != 1:
        raise chain.refusal("has residual blocks that differ in more than their dilation")


def _configuration(network: Network, head: str, path: Path) -> Basenji2Config:
    stem, *tower = network.pooled
    narrow, widen = network.residual[0]
    blocks = [*network.pooled, *(b for pair in network.residual for b in pair), network.final]
    return _validated(
        path,
        stem_channels=stem.width,
        stem_kernel=stem.kernel,
        tower_channels=tuple(block.width for block in tower),
        tower_kernel=tower[0].kernel,
        residual_channels=narrow.width,
        residual_kernel=narrow.kernel,
        dilations=tuple(block.dilation for block, _ in network.residual),
        residual_dropout=widen.dropout,
        final_channels=network.final.width,
        final_dropout=network.final.dropout,
        conv_bias=_shared(path, "use_bias", [block.conv for block in blocks]),
        norm_momentum=_shared(path, "momentum", [block.norm for block in blocks]),
        norm_eps=_shared(path, "epsilon", [block.norm for block in blocks]),
        input_bp=network.input_bp,
        target_bins=(network.input_bp >> len(network.pooled)) - 2 * network.crop,
        heads={head: int(network.dense.settings["units"])},
    )


def _validated(path: Path, **fields: Any) -> Basenji2Config:
    try:
        return Basenji2Config.model_validate(fields)
    except ValidationError as error:
        told = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise CheckpointError(f"{path} holds no Basenji2 that can be built: {told}.") from error


def _shared(path: Path, setting: str, layers: Sequence[Layer]) -> Any:
    values = {layer.settings[setting] for layer in layers}
    if len(values) > 1:
        raise CheckpointError(
            f"{path} has several values of {setting}, {sorted(values)}; cisray's Basenji2 has one "
            f"for all its layers."
        )
    return values.pop()


def _head_name(
    units: int, given: tuple[str, ...], described: Basenji2Config | None
) -> tuple[str, str]:
    if len(given) == 1:
        return given[0], "the head of the table of tracks"
    if described is not None:
        fitting = [name for name, size in described.heads.items() if size == units]
        if len(fitting) == 1:
            return fitting[0], "Basenji's parameters"
    if units in _PUBLISHED_HEADS:
        return _PUBLISHED_HEADS[units], f"its {units} tracks are those of the published model"
    return "human", "assumed, for the file does not name its head"


def _check_same(config: Basenji2Config, told: Basenji2Config, path: Path, params: Path) -> None:
    ours, theirs = config.model_dump(exclude={"heads"}), told.model_dump(exclude={"heads"})
    units = set(config.heads.values())
    differing = [
        f"{name} is {ours[name]} in the weights and {theirs[name]} in the parameters"
        for name in ours
        if ours[name] != theirs[name]
    ]
    if not units <= set(told.heads.values()):
        differing.append(f"the weights have {units.pop()} tracks, the parameters {told.heads}")
    if differing:
        raise CheckpointError(
            f"{path} and {params} beside it are not of one model: {'; '.join(differing)}. Put the "
            f"parameters of this model there, or move the file away."
        )


def _tensors(
    weights: h5py.Group, network: Network, path: Path
) -> Iterator[tuple[str, torch.Tensor]]:
    """Give every tensor by cisray's name, with HEAD for the name of the head."""
    for place, block in _named_blocks(network):
        yield from _arrays(weights, block.conv, f"{place}.conv", path, _conv_kernel)
        yield from _arrays(weights, block.norm, f"{place}.norm", path, np.asarray)
        # torch counts the steps of batch norm, Keras does not.
        yield f"{place}.norm.num_batches_tracked", torch.zeros((), dtype=torch.int64)
    yield from _arrays(weights, network.dense, "_heads.HEAD.0", path, np.transpose)


def _named_blocks(network: Network) -> Iterator[tuple[str, Block]]:
    yield "stem", network.pooled[0]
    for layer, block in enumerate(network.pooled[1:]):
        yield f"tower.{layer}", block
    for layer, (narrow, widen) in enumerate(network.residual):
        yield f"residual.{layer}.narrow", narrow
        yield f"residual.{layer}.widen", widen
    yield "final", network.final


def _conv_kernel(kernel: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn [kernel, in, out] into torch's [out, in, kernel]."""
    return kernel.transpose(2, 1, 0) if kernel.ndim == 3 else kernel


def _arrays(
    weights: h5py.Group,
    layer: Layer,
    place: str,
    path: Path,
    turn: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]],
) -> Iterator[tuple[str, torch.Tensor]]:
    group = weights[layer.name]
    for name in group.attrs["weight_names"]:
        text = name.decode() if isinstance(name, bytes) else str(name)
        kind = text.rpartition("/")[2].partition(":")[0]
        if kind not in _WEIGHT_NAMES:
            raise CheckpointError(f"{path} has weights {text!r} that no layer of Basenji2 has.")
        array = np.ascontiguousarray(turn(group[text][()]))
        yield f"{place}.{_WEIGHT_NAMES[kind]}", torch.from_numpy(array)
