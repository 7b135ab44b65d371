"""DeepMind's Enformer checkpoints: which TensorFlow tensor becomes which of ours, and how.

Knows the object paths of the Sonnet model (deepmind-research/enformer, commit f5de0ed) and infers
the configuration from the shapes. Knows nothing of how a tensor bundle is stored.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError

from cisray.errors import CheckpointError
from cisray.model.checkpoints.checkpoint import check_shapes
from cisray.model.checkpoints.tensor_bundle import TensorBundle
from cisray.model.enformer.config import STEM_KERNEL, TOWER_KERNEL, EnformerConfig

Op = Literal["copy", "flatten", "linear", "conv", "pool"]
Shape = tuple[int, ...]

_VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"
_ROOTS = re.compile(r"_(?:trunk|heads)/")
_LAYER = re.compile(r"_trunk/_layers/2/_layers/(\d+)/")
_TOWER = re.compile(r"_trunk/_layers/1/_layers/(\d+)/")
_HEAD = re.compile(r"_heads/([^/]+)/_layers/0/w")
# What a checkpoint may hold besides the model: bookkeeping, the undebiased averages of batch
# normalisation with their second counter, and optimiser state. Anything else is refused.
_IGNORABLE = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|save_counter/.*|optimizer/.*|.*/\.OPTIMIZER_SLOT/.*"
    r"|.*/moving_(?:mean|variance)/_hidden|.*/moving_variance/_counter"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One tensor: its TensorFlow path from `_trunk` or `_heads` on, our name, and the operation.

    Operations: copy; flatten [1,1,D] -> [D]; linear [i,o] -> [o,i]; conv [k,i,o] -> [o,i,k];
    pool [i,o] -> [o,i,1,1].
    """

    tf: str
    tf_shape: Shape
    torch: str
    op: Op

    @property
    def torch_shape(self) -> Shape:
        """Shape of our tensor."""
        return tuple(_apply(np.broadcast_to(np.float32(0), self.tf_shape), self.op).shape)


def rules(config: EnformerConfig) -> Iterator[Rule]:
    """Yield the rule of every tensor of an Enformer, in the order of the network.

    Source: the attribute paths of enformer.py and attention_module.py, commit f5de0ed; for the
    published configuration proven equal to a mapping that was verified by loading both models.
    """
    widths = (config.stem_channels, *config.tower_channels)
    stem = "_trunk/_layers/0/_layers"
    yield from _conv(f"{stem}/0", "stem.0", (STEM_KERNEL, 4, widths[0]))
    yield from _pointwise_and_pool(stem, "stem", widths[0], config)
    for i, (narrow, wide) in enumerate(pairwise(widths)):
        tower, ours = f"_trunk/_layers/1/_layers/{i}/_layers", f"conv_tower.{i}"
        yield from _batch_norm(f"{tower}/0/_layers/0", f"{ours}.0.0", narrow)
        yield from _conv(f"{tower}/0/_layers/2", f"{ours}.0.2", (TOWER_KERNEL, narrow, wide))
        yield from _pointwise_and_pool(tower, ours, wide, config)
    for layer in range(config.num_transformer_layers):
        path = f"_trunk/_layers/2/_layers/{layer}/_layers"
        yield from _attention(f"{path}/0/_module/_layers", f"transformer.{layer}.0.fn", config)
        yield from _mlp(f"{path}/1/_module/_layers", f"transformer.{layer}.1.fn", config.channels)
    final, width = "_trunk/_layers/4/_layers/0/_layers", config.channels
    yield from _batch_norm(f"{final}/0", "final_pointwise.1.0", width)
    yield from _conv(f"{final}/2", "final_pointwise.1.2", (1, width, 2 * width))
    for head, size in config.heads.items():
        yield from _linear(f"_heads/{head}/_layers/0", f"_heads.{head}.0", (2 * width, size))


def read_deepmind(
    bundle: TensorBundle, *, input_bp: int = 196_608, target_bins: int = 896
) -> tuple[EnformerConfig, dict[str, torch.Tensor]]:
    """Read an Enformer from a TensorFlow checkpoint: its configuration and our state dict.

    The configuration follows from the shapes, except the window: `input_bp` bases in,
    `target_bins` bins out. Batch normalisation takes `average`, as the Sonnet model does when it
    predicts; `moving_mean/_counter` becomes `num_batches_tracked`. Raises CheckpointError if a
    tensor is missing, unknown, misshapen or damaged, and if the model was never trained: Sonnet
    starts its moving variance at 0, with which every prediction is meaningless.
    """
    keys = _model_keys(bundle)
    shapes = {path: bundle.shape(key) for path, key in keys.items()}
    config = infer_config(shapes, input_bp=input_bp, target_bins=target_bins, source=bundle.index)
    mapping = list(rules(config))
    check_shapes(shapes, {rule.tf: rule.tf_shape for rule in mapping}, source=str(bundle.index))
    state = {
        rule.torch: torch.from_numpy(
            np.array(_apply(bundle.read(keys[rule.tf]), rule.op), order="C", copy=True)
        )
        for rule in mapping
    }
    _check_trained(state, bundle)
    return config, state


def infer_config(
    shapes: Mapping[str, Shape], *, input_bp: int, target_bins: int, source: object
) -> EnformerConfig:
    """Infer a configuration from the shapes of the TensorFlow tensors, by path.

    Raises CheckpointError if the tensors from which it follows are missing or contradictory.
    """
    try:
        bias = shapes["_trunk/_layers/2/_layers/0/_layers/0/_module/_layers/1/_r_w_bias"]
        widths = [
            shapes[f"_trunk/_layers/1/_layers/{i}/_layers/0/_layers/2/w"][2]
            for i in range(_count(shapes, _TOWER))
        ]
        heads = {m.group(1): shapes[m.group(0)][1] for m in map(_HEAD.fullmatch, shapes) if m}
        channels = shapes["_trunk/_layers/4/_layers/0/_layers/2/w"][1]
        known: dict[str, Any] = {
            "channels": channels,
            "num_transformer_layers": _count(shapes, _LAYER),
            "num_heads": bias[1],
            "key_size": bias[3],
            "num_downsamples": len(widths) + 1,
            "pooling": "attention" if _pooling_path(0) in shapes else "max",
            "input_bp": input_bp,
            "target_bins": target_bins,
            "heads": dict(sorted(heads.items())),
        }
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"The configuration of {source} cannot be inferred: the tensor {error} is missing or "
            f"misshapen. Is it an Enformer?"
        ) from error
    return _with_divisor(known, widths, source)


def _with_divisor(known: dict[str, Any], widths: list[int], source: object) -> EnformerConfig:
    """Find the rounding of the tower's widths: powers of two first, from the published 128."""
    try:
        plain = EnformerConfig(**known, channels_divisible_by=1)
    except ValidationError as error:
        raise CheckpointError(
            f"{source} does not fit a window of {known['input_bp']} bp and {known['target_bins']} "
            f"target bins: {error.errors()[0]['msg']}. If the model reads another window, give its "
            f"input length and its target bins."
        ) from error
    powers = [2**i for i in range(7, -1, -1)]
    for divisor in [*powers, *(d for d in range(3, plain.channels + 1) if d not in powers)]:
        config = plain.model_copy(update={"channels_divisible_by": divisor})
        if list(config.tower_channels) == widths:
            return config
    raise CheckpointError(
        f"{source} has tower widths {widths}, which do not grow from {plain.stem_channels} to "
        f"{plain.channels} channels as an Enformer's do, however they are rounded."
    )


def _model_keys(bundle: TensorBundle) -> dict[str, str]:
    """Map the path from `_trunk` or `_heads` on to the whole key, leaving out what is ignorable."""
    keys: dict[str, str] = {}
    surplus: list[str] = []
    for key in bundle.entries:
        bare = key.removesuffix(_VARIABLE)
        if _IGNORABLE.fullmatch(bare) or _IGNORABLE.fullmatch(key):
            continue
        root = _ROOTS.search(bare)
        if root is None:
            surplus.append(key)
            continue
        path = bare[root.start() :]
        if path in keys:
            raise CheckpointError(
                f"{bundle.index} holds {path} twice: as {keys[path]} and as {key}."
            )
        keys[path] = key
    if not keys or surplus:
        raise CheckpointError(
            f"{bundle.index} holds {len(keys)} tensors below _trunk/ and _heads/, and "
            f"{len(surplus)} that no Enformer has: {', '.join(surplus[:20])}. Is it an Enformer?"
        )
    return keys


def _check_trained(state: Mapping[str, torch.Tensor], bundle: TensorBundle) -> None:
    for name, variance in state.items():
        if not name.endswith(".running_var"):
            continue
        counter = state[name.replace("running_var", "num_batches_tracked")]
        if not torch.any(variance) and int(counter) == 0:
            raise CheckpointError(
                f"{bundle.index} holds a model that was never trained: {name} is 0 everywhere and "
                f"its counter is 0, and Sonnet divides by it. Train it, or take another checkpoint."
            )


def _count(shapes: Mapping[str, Shape], pattern: re.Pattern[str]) -> int:
    """Count numbered layers; a gap in the numbers surfaces as missing tensors later."""
    return 1 + max((int(m.group(1)) for m in map(pattern.match, shapes) if m), default=-1)


def _pooling_path(block: int) -> str:
    return f"_trunk/_layers/{block}/_layers/2/_logit_linear/w"


def _apply(values: np.ndarray[Any, np.dtype[Any]], op: Op) -> np.ndarray[Any, np.dtype[Any]]:
    match op:
        case "copy":
            return values
        case "flatten":
            return values.reshape(-1)
        case "linear":
            return values.transpose(1, 0)
        case "conv":
            return values.transpose(2, 1, 0)
        case "pool":
            return values.transpose(1, 0)[:, :, None, None]


def _linear(tf: str, ours: str, shape: Shape) -> Iterator[Rule]:
    yield Rule(f"{tf}/w", shape, f"{ours}.weight", "linear")
    yield Rule(f"{tf}/b", shape[-1:], f"{ours}.bias", "copy")


def _conv(tf: str, ours: str, shape: Shape) -> Iterator[Rule]:
    yield Rule(f"{tf}/w", shape, f"{ours}.weight", "conv")
    yield Rule(f"{tf}/b", shape[-1:], f"{ours}.bias", "copy")


def _norm(tf: str, ours: str, width: int) -> Iterator[Rule]:
    yield Rule(f"{tf}/scale", (width,), f"{ours}.weight", "copy")
    yield Rule(f"{tf}/offset", (width,), f"{ours}.bias", "copy")


def _batch_norm(tf: str, ours: str, width: int) -> Iterator[Rule]:
    yield from _norm(tf, ours, width)
    yield Rule(f"{tf}/moving_mean/average", (1, 1, width), f"{ours}.running_mean", "flatten")
    yield Rule(f"{tf}/moving_variance/average", (1, 1, width), f"{ours}.running_var", "flatten")
    yield Rule(f"{tf}/moving_mean/_counter", (), f"{ours}.num_batches_tracked", "copy")


def _pointwise_and_pool(tf: str, ours: str, width: int, config: EnformerConfig) -> Iterator[Rule]:
    """Yield what ends the stem and each tower block: a residual kernel-1 block, then pooling."""
    yield from _batch_norm(f"{tf}/1/_module/_layers/0", f"{ours}.1.fn.0", width)
    yield from _conv(f"{tf}/1/_module/_layers/2", f"{ours}.1.fn.2", (1, width, width))
    if config.pooling == "attention":
        square = (width, width)
        yield Rule(f"{tf}/2/_logit_linear/w", square, f"{ours}.2.to_attn_logits.weight", "pool")


def _attention(tf: str, ours: str, config: EnformerConfig) -> Iterator[Rule]:
    width, keys = config.channels, config.num_heads * config.key_size
    bias = (1, config.num_heads, 1, config.key_size)
    yield from _norm(f"{tf}/0", f"{ours}.0", width)
    yield Rule(f"{tf}/1/_q_layer/w", (width, keys), f"{ours}.1.to_q.weight", "linear")
    yield Rule(f"{tf}/1/_k_layer/w", (width, keys), f"{ours}.1.to_k.weight", "linear")
    values = config.num_heads * config.value_size
    yield Rule(f"{tf}/1/_v_layer/w", (width, values), f"{ours}.1.to_v.weight", "linear")
    positions = (config.position_features, keys)
    yield Rule(f"{tf}/1/_r_k_layer/w", positions, f"{ours}.1.to_rel_k.weight", "linear")
    yield from _linear(f"{tf}/1/_embedding_layer", f"{ours}.1.to_out", (values, width))
    yield Rule(f"{tf}/1/_r_w_bias", bias, f"{ours}.1.rel_content_bias", "copy")
    yield Rule(f"{tf}/1/_r_r_bias", bias, f"{ours}.1.rel_pos_bias", "copy")


def _mlp(tf: str, ours: str, width: int) -> Iterator[Rule]:
    yield from _norm(f"{tf}/0", f"{ours}.0", width)
    yield from _linear(f"{tf}/1", f"{ours}.1", (width, 2 * width))
    yield from _linear(f"{tf}/4", f"{ours}.4", (2 * width, width))
