"""A tiny Enformer's tensors under our names and DeepMind's, for tests without a network.

The shapes are written out by hand for this one configuration, so that they can disagree with the
rules under test.
"""

import numpy as np
import torch

from cisray.model.enformer.config import EnformerConfig

# 8 bp bins: 2**3. 64 bp / 8 bp = 8 tokens, cropped to 4. Tower: 6 and 12, rounded to even numbers.
TINY = EnformerConfig.model_validate(
    {
        "channels": 12,
        "num_transformer_layers": 1,
        "num_heads": 2,
        "key_size": 4,
        "num_downsamples": 3,
        "channels_divisible_by": 2,
        "input_bp": 64,
        "target_bins": 4,
        "heads": {"human": 3, "mouse": 2},
    }
)


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    running = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
    return _norm(name, width) | running | {f"{name}.num_batches_tracked": ()}


def _weights(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def tiny_shapes(config: EnformerConfig = TINY) -> dict[str, tuple[int, ...]]:
    """Shapes of TINY's state dict, spelled out; other configurations are not supported."""
    assert config.channels == 12
    shapes = _weights("stem.0", (6, 4, 15)) | _batch_norm("stem.1.fn.0", 6)
    shapes |= _weights("stem.1.fn.2", (6, 6, 1)) | {"stem.2.to_attn_logits.weight": (6, 6, 1, 1)}
    for i, (narrow, wide) in enumerate([(6, 6), (6, 12)]):
        tower = f"conv_tower.{i}"
        shapes |= _batch_norm(f"{tower}.0.0", narrow) | _weights(f"{tower}.0.2", (wide, narrow, 5))
        shapes |= _batch_norm(f"{tower}.1.fn.0", wide) | _weights(
            f"{tower}.1.fn.2", (wide, wide, 1)
        )
        shapes |= {f"{tower}.2.to_attn_logits.weight": (wide, wide, 1, 1)}
    attention = "transformer.0.0.fn"
    shapes |= _norm(f"{attention}.0", 12) | _weights(f"{attention}.1.to_out", (12, 12))
    shapes |= {f"{attention}.1.to_{x}.weight": (8, 12) for x in "qk"}
    shapes |= {f"{attention}.1.to_v.weight": (12, 12), f"{attention}.1.to_rel_k.weight": (8, 6)}
    shapes |= {f"{attention}.1.rel_{x}_bias": (1, 2, 1, 4) for x in ("content", "pos")}
    mlp = "transformer.0.1.fn"
    shapes |= (
        _norm(f"{mlp}.0", 12) | _weights(f"{mlp}.1", (24, 12)) | _weights(f"{mlp}.4", (12, 24))
    )
    shapes |= _batch_norm("final_pointwise.1.0", 12) | _weights("final_pointwise.1.2", (24, 12, 1))
    return shapes | _weights("_heads.human.0", (3, 24)) | _weights("_heads.mouse.0", (2, 24))


def tiny_state(seed: int = 7) -> dict[str, torch.Tensor]:
    """Random tensors of TINY; variances positive, counters at 41."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in tiny_shapes().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(41)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            state[name] = torch.randn(shape, generator=generator)
    return state


def _tf_batch_norm(path: str, ours: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    tensors = {f"{path}/scale": state[f"{ours}.weight"], f"{path}/offset": state[f"{ours}.bias"]}
    for kind, name in (("mean", "running_mean"), ("variance", "running_var")):
        average = state[f"{ours}.{name}"].reshape(1, 1, -1)
        tensors[f"{path}/moving_{kind}/average"] = average
        tensors[f"{path}/moving_{kind}/_hidden"] = average * np.float32(0.5)
        tensors[f"{path}/moving_{kind}/_counter"] = state[f"{ours}.num_batches_tracked"]
    return tensors


def _tf_weights(path: str, ours: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{path}/w": state[f"{ours}.weight"].T, f"{path}/b": state[f"{ours}.bias"]}


def tiny_tensorflow(root: str = "module/", pooling: bool = True) -> dict[str, np.ndarray]:
    """The same tensors as a Sonnet checkpoint names and lays them out, with its bookkeeping."""
    state = {name: tensor.numpy() for name, tensor in tiny_state().items()}
    layers = "_trunk/_layers"
    tensors = _tf_weights(f"{layers}/0/_layers/0", "stem.0", state)
    blocks = [(f"{layers}/0/_layers", "stem")]
    for i in range(2):
        block, ours = f"{layers}/1/_layers/{i}/_layers", f"conv_tower.{i}"
        tensors |= _tf_batch_norm(f"{block}/0/_layers/0", f"{ours}.0.0", state)
        tensors |= _tf_weights(f"{block}/0/_layers/2", f"{ours}.0.2", state)
        blocks.append((block, ours))
    for block, ours in blocks:
        tensors |= _tf_batch_norm(f"{block}/1/_module/_layers/0", f"{ours}.1.fn.0", state)
        tensors |= _tf_weights(f"{block}/1/_module/_layers/2", f"{ours}.1.fn.2", state)
        if pooling:
            square = state[f"{ours}.2.to_attn_logits.weight"][:, :, 0, 0].T
            tensors[f"{block}/2/_logit_linear/w"] = square
    attention, ours = f"{layers}/2/_layers/0/_layers/0/_module/_layers", "transformer.0.0.fn"
    tensors |= {f"{attention}/0/scale": state[f"{ours}.0.weight"]}
    tensors |= {f"{attention}/0/offset": state[f"{ours}.0.bias"]}
    for theirs, name in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("r_k", "to_rel_k")):
        tensors[f"{attention}/1/_{theirs}_layer/w"] = state[f"{ours}.1.{name}.weight"].T
    tensors |= _tf_weights(f"{attention}/1/_embedding_layer", f"{ours}.1.to_out", state)
    tensors[f"{attention}/1/_r_w_bias"] = state[f"{ours}.1.rel_content_bias"]
    tensors[f"{attention}/1/_r_r_bias"] = state[f"{ours}.1.rel_pos_bias"]
    mlp, ours = f"{layers}/2/_layers/0/_layers/1/_module/_layers", "transformer.0.1.fn"
    tensors |= {f"{mlp}/0/scale": state[f"{ours}.0.weight"]}
    tensors |= {f"{mlp}/0/offset": state[f"{ours}.0.bias"]}
    tensors |= _tf_weights(f"{mlp}/1", f"{ours}.1", state) | _tf_weights(
        f"{mlp}/4", f"{ours}.4", state
    )
    final = f"{layers}/4/_layers/0/_layers"
    tensors |= _tf_batch_norm(f"{final}/0", "final_pointwise.1.0", state)
    tensors |= _tf_weights(f"{final}/2", "final_pointwise.1.2", state)
    for head in ("human", "mouse"):
        tensors |= _tf_weights(f"_heads/{head}/_layers/0", f"_heads.{head}.0", state)
    variable = "/.ATTRIBUTES/VARIABLE_VALUE"
    named = {f"{root}{path}{variable}": values for path, values in tensors.items()}
    return named | {f"save_counter{variable}": np.array(1, dtype=np.int64)}
