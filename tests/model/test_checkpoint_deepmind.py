import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensor_bundle_writer import entry_proto, write_bundle
from tiny_checkpoints import TINY, tiny_shapes, tiny_state, tiny_tensorflow

from cisray.errors import CheckpointError
from cisray.model.checkpoints.deepmind import read_deepmind, rules
from cisray.model.checkpoints.tensor_bundle import TensorBundle
from cisray.model.enformer.config import EnformerConfig

VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"
Tensors = dict[str, np.ndarray]


def bundle(folder: Path, tensors: Tensors, **extra: bytes) -> TensorBundle:
    graph = {"_CHECKPOINTABLE_OBJECT_GRAPH": entry_proto(7, (), 0, (0, 3), 0)}
    return TensorBundle.open(write_bundle(folder / "m", tensors, extra=graph | extra))


@pytest.mark.parametrize("root", ["module/", "model/_inner/", "", "model/.wrapped/0/"])
def test_every_tensor_arrives_under_any_root(tmp_path: Path, root: str) -> None:
    tensors = tiny_tensorflow(root)
    config, state = read_deepmind(bundle(tmp_path, tensors), input_bp=64, target_bins=4)
    assert config == TINY
    expected = tiny_state()
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype, name
        assert torch.equal(state[name], tensor), name
        assert state[name].is_contiguous()
    # By hand: TensorFlow's w[k, i, o] is torch's [o, i, k]; Linear [i, o] is [o, i].
    w = tensors[f"{root}_trunk/_layers/0/_layers/0/w{VARIABLE}"]
    assert float(state["stem.0.weight"][5, 2, 11]) == w[11, 2, 5]
    q = tensors[
        f"{root}_trunk/_layers/2/_layers/0/_layers/0/_module/_layers/1/_q_layer/w{VARIABLE}"
    ]
    assert float(state["transformer.0.0.fn.1.to_q.weight"][7, 3]) == q[3, 7]
    pool = tensors[f"{root}_trunk/_layers/1/_layers/1/_layers/2/_logit_linear/w{VARIABLE}"]
    assert float(state["conv_tower.1.2.to_attn_logits.weight"][9, 4, 0, 0]) == pool[4, 9]


def test_the_rules_give_the_shapes_of_the_network() -> None:
    assert {rule.torch: rule.torch_shape for rule in rules(TINY)} == tiny_shapes()
    # Published: 273 tensors in the mapping, and one counter for each of the 14 batch norms.
    published = list(rules(EnformerConfig()))
    assert len(published) == len({r.tf for r in published}) == len({r.torch for r in published})
    assert len(published) == 273 + 14
    # 251,221,292 trainable parameters, 29,696 running statistics, 14 counters.
    assert sum(int(np.prod(rule.torch_shape)) for rule in published) == 251_251_002


def test_max_pooling_is_recognised(tmp_path: Path) -> None:
    tensors = tiny_tensorflow(pooling=False)
    config, state = read_deepmind(bundle(tmp_path, tensors), input_bp=64, target_bins=4)
    assert config == TINY.model_copy(update={"pooling": "max"})
    assert set(state) == {name for name in tiny_state() if "to_attn_logits" not in name}


def test_optimiser_state_is_left_out(tmp_path: Path) -> None:
    tensors = tiny_tensorflow()
    tensors[f"optimizer/m/0{VARIABLE}"] = np.zeros(3, dtype=np.float32)
    slot = f"module/_heads/human/_layers/0/b/.OPTIMIZER_SLOT/opt/m{VARIABLE}"
    tensors[slot] = np.zeros(3, dtype=np.float32)
    _, state = read_deepmind(bundle(tmp_path, tensors), input_bp=64, target_bins=4)
    assert set(state) == set(tiny_state())


def drop(end: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        for key in [key for key in tensors if key.endswith(f"{end}{VARIABLE}")]:
            del tensors[key]

    return change


def put(key: str, shape: tuple[int, ...]) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({f"{key}{VARIABLE}": np.ones(shape, dtype=np.float32)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("_trunk/_layers/0/_layers/0/b"), "1 missing (_trunk/_layers/0/_layers/0/b)"),
        (drop("1/_layers/1/_layers/2/_logit_linear/w"), "1 missing"),
        (drop("2/_layers/0/_layers/0/_module/_layers/1/_r_w_bias"), "cannot be inferred"),
        (drop("1/_layers/0/_layers/0/_layers/2/w"), "cannot be inferred"),
        (put("module/_trunk/_layers/3/w", (2,)), "1 surplus (_trunk/_layers/3/w)"),
        (put("module/_extra/w", (2,)), "1 that no Enformer has: module/_extra/w"),
        (put("other/_trunk/_layers/0/_layers/0/b", (6,)), "_trunk/_layers/0/_layers/0/b twice"),
        (
            put("module/_trunk/_layers/0/_layers/0/w", (15, 6, 4)),
            "_trunk/_layers/0/_layers/0/w is [15, 6, 4], must be [15, 4, 6]",
        ),
        (
            put("module/_trunk/_layers/1/_layers/0/_layers/0/_layers/2/w", (5, 6, 11)),
            "widths [11, 12]",
        ),
        (put("module/_trunk/_layers/4/_layers/0/_layers/2/w", (1,)), "cannot be inferred"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, change: Callable[[Tensors], None], said: str
) -> None:
    tensors = tiny_tensorflow()
    change(tensors)
    with pytest.raises(CheckpointError, match=re.escape(said)):
        read_deepmind(bundle(tmp_path, tensors), input_bp=64, target_bins=4)


def test_other_models_and_windows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds 0 tensors below _trunk/ and _heads/, and 1"):
        read_deepmind(bundle(tmp_path, {"dense/kernel": np.ones(2, dtype=np.float32)}))
    with pytest.raises(CheckpointError, match=r"window of 64 bp and 9 target bins.*exceeds the 8"):
        read_deepmind(bundle(tmp_path, tiny_tensorflow()), input_bp=64, target_bins=9)


def test_a_model_that_was_never_trained_is_refused(tmp_path: Path) -> None:
    tensors = tiny_tensorflow()
    norm = "module/_trunk/_layers/4/_layers/0/_layers/0"
    tensors[f"{norm}/moving_variance/average{VARIABLE}"] *= 0
    # Trained for 41 steps: an odd model, but nothing says that it is not one.
    read_deepmind(bundle(tmp_path, tensors), input_bp=64, target_bins=4)
    tensors[f"{norm}/moving_mean/_counter{VARIABLE}"] = np.array(0, dtype=np.int64)
    with pytest.raises(CheckpointError, match=r"never trained: final_pointwise.1.0.running_var"):
        read_deepmind(bundle(tmp_path, tensors), input_bp=64, target_bins=4)


@pytest.mark.parametrize("divisor", [128, 64, 24, 1])
def test_the_rounding_of_the_widths_is_recovered(tmp_path: Path, divisor: int) -> None:
    config = EnformerConfig.model_validate(
        {
            "channels": 384,
            "num_heads": 2,
            "num_transformer_layers": 1,
            "channels_divisible_by": divisor,
            "input_bp": 1024,
            "target_bins": 8,
        }
    )
    from_rules = {
        f"module/{rule.tf}{VARIABLE}": np.ones(rule.tf_shape, dtype=np.float32)
        for rule in rules(config)
    }
    found, _ = read_deepmind(bundle(tmp_path, from_rules), input_bp=1024, target_bins=8)
    assert found.tower_channels == config.tower_channels
    assert found == config.model_copy(update={"channels_divisible_by": found.channels_divisible_by})
