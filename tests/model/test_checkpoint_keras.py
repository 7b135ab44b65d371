"""Keras files of Basenji2: what is read from them, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from keras_files import KerasFile
from tiny_checkpoints import TINY, tiny_state

from cisray.errors import CheckpointError, ConfigError
from cisray.model.basenji2.config import Basenji2Config, read_params
from cisray.model.basenji2.initialise import initialise
from cisray.model.basenji2.network import Basenji2
from cisray.model.checkpoints import Checkpoint, ConvertOptions, open_foreign, save_native
from cisray.model.checkpoints.native import read_native
from cisray.model.enformer.network import Enformer
from cisray.model.registry import expected_shapes, load_model
from cisray.tracks import TrackSet

CONFIG = Basenji2Config(
    stem_channels=4,
    stem_kernel=7,
    tower_channels=(5, 6),
    tower_kernel=3,
    residual_channels=3,
    dilations=(1, 2, 5),
    residual_dropout=0.25,
    final_channels=8,
    final_dropout=0.1,
    norm_momentum=0.8,
    norm_eps=2e-3,
    input_bp=128,
    target_bins=10,
    heads={"human": 3},
)
PARAMS = {
    "seq_length": 128,
    "activation": "gelu",
    "bn_momentum": 0.8,
    "trunk": [
        {"name": "conv_block", "filters": 4, "kernel_size": 7, "pool_size": 2},
        {
            "name": "conv_tower",
            "filters_init": 5,
            "filters_mult": 1.2,
            "kernel_size": 3,
            "pool_size": 2,
            "repeat": 2,
        },
        {
            "name": "dilated_residual",
            "filters": 3,
            "rate_mult": 2.25,
            "repeat": 3,
            "dropout": 0.25,
        },
        {"name": "Cropping1D", "cropping": 3},
        {"name": "conv_block", "filters": 8, "dropout": 0.1},
    ],
    "head_yeast": {"name": "final", "units": 3, "activation": "softplus"},
}


@pytest.fixture
def model() -> Basenji2:
    return initialise(Basenji2(CONFIG), 9, randomise_all=True)


@pytest.mark.parametrize("first", [0, 9])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_and_configuration_are_read(tmp_path: Path, first: int, bias: bool) -> None:
    config = CONFIG.model_copy(update={"conv_bias": bias})
    model = initialise(Basenji2(config), 9, randomise_all=True)
    # From 9 on the names do not sort as the layers follow: conv1d_9, conv1d_10.
    source = KerasFile(model, first).write(tmp_path / "m.h5")
    read = open_foreign(source, expected_shapes)
    assert read.config == config
    assert read.architecture == "basenji2"
    assert set(read.state) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.state[name], tensor), name


def test_a_network_without_a_crop(tmp_path: Path) -> None:
    # The released human model is said to predict all of its tokens.
    config = CONFIG.model_copy(update={"target_bins": 16, "norm_eps": 1e-3})
    source = KerasFile(initialise(Basenji2(config), 9)).write(tmp_path / "m.h5")
    assert open_foreign(source, expected_shapes).config == config
    trunk = [block for block in PARAMS["trunk"] if block["name"] != "Cropping1D"]
    (tmp_path / "m_params.json").write_text(json.dumps(PARAMS | {"trunk": trunk}))
    assert open_foreign(source, expected_shapes).config.target_bins == 16


def test_the_head_is_named_by_tracks_parameters_or_size(tmp_path: Path, model: Basenji2) -> None:
    source = KerasFile(model).write(tmp_path / "m.h5")
    told = open_foreign(source, expected_shapes).provenance["head"]
    assert told == "human: assumed, for the file does not name its head"
    table = TrackSet.unnamed("fly", 3)
    named = open_foreign(source, expected_shapes, tracks={"fly": table})
    assert named.config.heads == {"fly": 3}
    (tmp_path / "m_params.json").write_text(json.dumps(PARAMS))
    # Batch norm's epsilon is not among Basenji's parameters: the usual one is meant.
    with pytest.raises(CheckpointError, match=r"norm_eps is 0\.002 in the weights and 0\.001"):
        open_foreign(source, expected_shapes)
    usual = initialise(Basenji2(CONFIG.model_copy(update={"norm_eps": 1e-3})), 9)
    KerasFile(usual).write(source)
    assert open_foreign(source, expected_shapes).config.heads == {"yeast": 3}


def test_parameters_of_another_model_are_refused(tmp_path: Path, model: Basenji2) -> None:
    source = KerasFile(model).write(tmp_path / "m.h5")
    other = json.loads(json.dumps(PARAMS))
    other["trunk"][3]["cropping"] = 2
    (tmp_path / "m_params.json").write_text(json.dumps({"model": other}))
    with pytest.raises(CheckpointError, match="target_bins is 10 in the weights and 12 in the par"):
        open_foreign(source, expected_shapes)


def _set(name: str, **settings: Any) -> Callable[[list[dict[str, Any]]], None]:
    def edit(layers: list[dict[str, Any]]) -> None:
        next(layer for layer in layers if layer["name"] == name)["config"].update(settings)

    return edit


def _drop(name: str) -> Callable[[list[dict[str, Any]]], None]:
    def edit(layers: list[dict[str, Any]]) -> None:
        at = next(i for i, layer in enumerate(layers) if layer["name"] == name)
        layers[at + 1]["inbound_nodes"] = layers[at]["inbound_nodes"]
        del layers[at]

    return edit


def _rewire(name: str, source: str) -> Callable[[list[dict[str, Any]]], None]:
    def edit(layers: list[dict[str, Any]]) -> None:
        layer = next(layer for layer in layers if layer["name"] == name)
        layer["inbound_nodes"][0][-1][0] = source

    return edit


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (_set("conv1d_1", strides=[2]), r"has strides \[2\] in conv1d_1, not \[1\]"),
        (_set("conv1d_4", padding="valid"), "has padding 'valid' in conv1d_4"),
        (_set("max_pooling1d", pool_size=[4]), r"has pool_size \[4\] in max_pooling1d"),
        (_set("batch_normalization_2", epsilon=0.5), "several values of epsilon"),
        (_set("cropping1d", cropping=[3, 4]), r"crops \[3, 4\], not the same"),
        (_set("dense", activation="linear"), "has activation 'linear' in dense"),
        (_set("conv1d_2", kernel_size=[5]), "kernels of several widths"),
        (_drop("gelu_1"), "has Conv1D conv1d_1 where a GELU is due"),
        (_drop("batch_normalization_3"), "where a BatchNormalization is due"),
        (_drop("add_2"), "wires cropping1d to dropout_2, add_1"),
        (_rewire("add_1", "add_1"), "wires add_1 to"),
        (_rewire("add_1", "max_pooling1d_2"), "wires add_1 to"),
        (_rewire("conv1d_5", "gelu_1"), "wires conv1d_5 to gelu_1, not to gelu_5"),
    ],
)
def test_other_networks_are_refused(
    tmp_path: Path, model: Basenji2, edit: Callable[[Any], None], told: str
) -> None:
    source = KerasFile(model).write(tmp_path / "m.h5", edit)
    with pytest.raises(CheckpointError, match=told) as refused:
        open_foreign(source, expected_shapes)
    assert str(source) in str(refused.value)


def test_damaged_files_are_refused(tmp_path: Path, model: Basenji2) -> None:
    whole = KerasFile(model).write(tmp_path / "m.h5")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read as a Keras model"):
        open_foreign(cut, expected_shapes)
    with h5py.File(whole, "a") as file:
        del file["model_weights/conv1d_3"]
    with pytest.raises(CheckpointError, match="conv1d_3"):
        open_foreign(whole, expected_shapes)
    with h5py.File(whole, "a") as file:
        del file.attrs["model_config"]
    with pytest.raises(CheckpointError, match="does not describe its layers"):
        open_foreign(whole, expected_shapes)


def test_options_of_other_formats_are_refused(tmp_path: Path, model: Basenji2) -> None:
    source = KerasFile(model).write(tmp_path / "m.h5")
    with pytest.raises(ConfigError, match="carries its configuration"):
        open_foreign(source, expected_shapes, options=ConvertOptions(input_bp=256))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"activation": "relu"}, "its activation is 'relu', where this network has 'gelu'"),
        ({"trunk": PARAMS["trunk"][1:]}, "its trunk is"),
        ({"seq_length": 100}, "100 is not a multiple of the bin width 8"),
        ({"head_yeast": {"units": 3, "activation": "linear"}}, "activation of head_yeast"),
    ],
)
def test_parameters_of_other_networks(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps(PARAMS | change))
    with pytest.raises(CheckpointError, match=told):
        read_params(file)


def test_own_files_say_the_architecture(tmp_path: Path, model: Basenji2) -> None:
    built = Checkpoint.build(CONFIG, model.state_dict(), provenance={})
    file = save_native(tmp_path / "b.safetensors", built)
    loaded = load_model(file)
    assert type(loaded) is Basenji2
    assert loaded.digest == read_native(file).digest == built.digest
    other = save_native(
        tmp_path / "e.safetensors", Checkpoint.build(TINY, tiny_state(), provenance={})
    )
    assert type(load_model(other)) is Enformer
