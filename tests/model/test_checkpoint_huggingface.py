import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoints import TINY, tiny_state

from cisray.errors import CheckpointError
from cisray.model.checkpoints.huggingface import read_weights, translate_config

RAW: dict[str, Any] = {
    "architectures": ["Enformer"],
    "attn_dim_key": 4,
    "attn_dropout": 0.07,
    "depth": 1,
    "dim": 12,
    "dim_divisible_by": 2,
    "dropout_rate": 0.3,
    "heads": 2,
    "model_type": "enformer",
    "num_downsamples": 3,
    "output_heads": {"human": 3, "mouse": 2},
    "pos_dropout": 0.02,
    "target_length": 4,
    "torch_dtype": "float32",
    "transformers_version": "4.16.2",
    "use_checkpointing": False,
}
PUBLISHED = RAW | {
    "attn_dim_key": 64,
    "depth": 11,
    "dim": 1536,
    "dim_divisible_by": 128,
    "heads": 8,
    "num_downsamples": 7,
    "output_heads": {"human": 5313, "mouse": 1643},
    "target_length": 896,
}


def write(folder: Path, raw: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(raw))
    return path


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in RAW.items() if name != key}


def second_family(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    places = {"stem": 1, "conv_tower": 2, "transformer": 4, "final_pointwise": 6}
    split = {name: name.partition(".") for name in state if not name.startswith("_heads")}
    return {f"_trunk.{places[root]}.{rest}": state[name] for name, (root, _, rest) in split.items()}


def test_every_key_is_translated(tmp_path: Path) -> None:
    config = translate_config(write(tmp_path, RAW), input_bp=64).config
    assert config == TINY.model_copy(
        update={"dropout": 0.3, "attention_dropout": 0.07, "positional_dropout": 0.02}
    )
    published = translate_config(write(tmp_path, PUBLISHED)).config
    assert (published.input_bp, published.target_bins, published.crop_bins) == (196_608, 896, 320)


@pytest.mark.parametrize(
    ("flag", "gamma", "expected"),
    [
        ({}, "auto", "per_feature"),
        ({"use_tf_gamma": None}, "auto", "per_feature"),
        ({"use_tf_gamma": True}, "auto", "per_feature"),
        ({"use_tf_gamma": False}, "auto", "per_position"),
        ({"use_tf_gamma": False}, "per_feature", "per_feature"),
        ({}, "per_position", "per_position"),
    ],
)
def test_the_gamma_axis(tmp_path: Path, flag: dict[str, Any], gamma: Any, expected: str) -> None:
    translated = translate_config(write(tmp_path, RAW | flag), gamma=gamma, input_bp=64)
    assert translated.config.gamma_normalisation == expected
    assert translated.gamma_reason


def test_an_ambiguous_gamma_axis_must_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, PUBLISHED | {"use_tf_gamma": False})
    with pytest.raises(CheckpointError, match="Say which: gamma per_feature"):
        translate_config(path)
    assert translate_config(path, gamma="per_feature").config.gamma_normalisation == "per_feature"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (without("dim"), r"lacks the keys \['dim'\]"),
        (without("target_length"), r"lacks the keys \['target_length'\]"),
        (RAW | {"use_flash": True}, r"unknown keys \['use_flash'\]"),
        (RAW | {"use_convnext": True}, "older variant of the network"),
        (RAW | {"use_tf_gamma": "no"}, "must be true or false, got 'no'"),
        (RAW | {"model_type": "bert"}, "model_type is 'bert'"),
        ([1], "model_type is 'list'"),
        (RAW | {"dim": 13}, "describes no Enformer"),
        (RAW | {"heads": "two"}, "describes no Enformer: num_heads"),
        (RAW | {"target_length": 9}, "describes no Enformer: .*exceeds the 8 tokens"),
        (RAW | {"target_length": "all"}, "target_length 'all'"),
        (RAW | {"num_downsamples": 99}, "num_downsamples 99"),
    ],
)
def test_configurations_that_mean_something_else_are_refused(
    tmp_path: Path, raw: object, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        translate_config(write(tmp_path, raw), input_bp=64)


def test_the_window_is_never_guessed(tmp_path: Path) -> None:
    path = write(tmp_path, RAW)
    with pytest.raises(CheckpointError, match="does not say from how many bases"):
        translate_config(path)
    with pytest.raises(CheckpointError, match="predicts 4 bins, but 6 were asked for"):
        translate_config(path, input_bp=64, target_bins=6)
    uncropped = write(tmp_path, RAW | {"target_length": -1})
    # 64 bp / 8 bp = 8 bins, all of them kept.
    assert translate_config(uncropped, input_bp=64).config.target_bins == 8
    path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        translate_config(path)


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_either_family_of_names_is_read(tmp_path: Path, ending: str) -> None:
    state = tiny_state()
    heads = {name: tensor for name, tensor in state.items() if name.startswith("_heads")}
    path = tmp_path / f"weights.{ending}"
    for content in (state, second_family(state) | heads, second_family(state) | state):
        if ending == "bin":
            torch.save(content, path)
        else:
            save_file({name: tensor.clone() for name, tensor in content.items()}, path)
        read = read_weights(path)
        assert set(read) == set(state)
        assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_families_that_disagree_are_refused(tmp_path: Path) -> None:
    state = tiny_state()
    second = second_family(state)
    second["_trunk.4.0.1.fn.1.bias"] = state["transformer.0.1.fn.1.bias"] + 1
    torch.save(state | second, tmp_path / "w.bin")
    said = "differ in 1 tensors, first in transformer.0.1.fn.1.bias and _trunk.4.0.1.fn.1.bias"
    with pytest.raises(CheckpointError, match=said):
        read_weights(tmp_path / "w.bin")


def test_the_older_file_format_of_torch_is_read(tmp_path: Path) -> None:
    torch.save(tiny_state(), tmp_path / "w.bin", _use_new_zipfile_serialization=False)
    assert set(read_weights(tmp_path / "w.bin")) == set(tiny_state())


class Payload:
    """Something that only arbitrary unpickling could bring back."""


def test_files_that_hold_more_than_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    torch.save({"model": Payload()}, path)
    with pytest.raises(CheckpointError, match="hold more than tensors"):
        read_weights(path)
    torch.save({"epoch": 3, "state_dict": tiny_state()}, path)
    with pytest.raises(CheckpointError, match="is not a state dict"):
        read_weights(path)
    torch.save(tiny_state(), path)
    whole = path.read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="cannot be read as a PyTorch file"):
            read_weights(path)
