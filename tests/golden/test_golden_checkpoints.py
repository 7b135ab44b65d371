import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from cisray.model.checkpoints.deepmind import read_deepmind, rules
from cisray.model.checkpoints.huggingface import read_weights, translate_config
from cisray.model.checkpoints.tensor_bundle import TensorBundle
from cisray.model.enformer.config import EnformerConfig
from cisray.tracks import TrackSet

OPERATIONS = {
    "copy": "copy",
    "flatten": "reshape(-1)",
    "linear": "transpose(1,0)",
    "conv": "transpose(2,1,0)",
    "pool": "transpose(1,0)[:,:,None,None]",
}


@pytest.mark.golden
def test_the_rules_equal_the_verified_mapping(shared: Path) -> None:
    mapping = json.loads((shared / "golden" / "mapping_full.json").read_text())
    expected = {
        (e["tf"], tuple(e["tf_shape"]), e["torch"], tuple(e["torch_shape"]), e["op"])
        for e in mapping
    }
    ours = {
        (
            f"module/{rule.tf}/.ATTRIBUTES/VARIABLE_VALUE",
            rule.tf_shape,
            rule.torch,
            rule.torch_shape,
            OPERATIONS[rule.op],
        )
        for rule in rules(EnformerConfig())
        if not rule.torch.endswith("num_batches_tracked")
    }
    assert len(expected) == 273
    assert ours == expected


@pytest.mark.golden
@pytest.mark.parametrize("name", ["smallA", "smallMax"])
def test_the_configuration_is_inferred(shared: Path, name: str) -> None:
    truth = json.loads((shared / "golden" / f"tf_{name}.json").read_text())
    bundle = TensorBundle.open(shared / "golden" / f"tf_{name}")
    config, state = read_deepmind(bundle, input_bp=4096, target_bins=truth["target_length"])
    assert config.channels == truth["channels"]
    assert config.num_transformer_layers == truth["layers"]
    assert config.num_heads == truth["heads"]
    assert config.key_size == truth["key_size"]
    assert config.heads == truth["tracks"]
    assert config.pooling == truth["pooling"]
    assert config.channels_divisible_by == truth["divisible_by"]
    assert list(config.tower_channels) == truth["filter_list"]
    assert {name: tuple(t.shape) for name, t in state.items()} == {
        rule.torch: rule.torch_shape for rule in rules(config)
    }


@pytest.mark.golden
def test_snappy_and_plain_index_give_the_same_tensors(shared: Path) -> None:
    plain = TensorBundle.open(shared / "golden" / "tf_smallA")
    index = shared / "golden" / "tf_smallA_snappy" / "enformer-smallA-1.index"
    snappy = TensorBundle.open(plain.prefix, index=index)
    assert index.stat().st_size < plain.index.stat().st_size / 3
    assert snappy.entries == plain.entries
    assert len(plain.keys()) == 187
    for key in plain.keys():  # noqa: SIM118
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH":
            np.testing.assert_array_equal(snappy.read(key), plain.read(key))


@pytest.mark.golden
def test_the_weights_reproduce_what_tensorflow_computed_from_them(shared: Path) -> None:
    """One operation of each kind, from TensorFlow's stored input to its stored output."""
    stages = np.load(shared / "golden" / "tf_smallA.npz")
    _, state = read_deepmind(
        TensorBundle.open(shared / "golden" / "tf_smallA"), input_bp=4096, target_bins=16
    )

    def stage(name: str) -> torch.Tensor:
        return torch.from_numpy(stages[name])

    onehot_BLA = torch.eye(5)[stage("input_idx").long()][..., :4]
    stem = functional.conv1d(
        onehot_BLA.mT, state["stem.0.weight"], state["stem.0.bias"], padding=7
    ).mT
    torch.testing.assert_close(stem, stage("stem.0"), atol=5e-6, rtol=0)

    pairs = stage("stem.1").reshape(2, 2048, 2, 48)
    weights = (pairs @ state["stem.2.to_attn_logits.weight"][:, :, 0, 0].T).softmax(dim=2)
    torch.testing.assert_close((pairs * weights).sum(dim=2), stage("stem.2"), atol=5e-6, rtol=0)

    name = "stem.1.fn.0"
    running = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    x = functional.batch_norm(
        stage("stem.0").mT, *running, state[f"{name}.weight"], state[f"{name}.bias"]
    )
    x = x * torch.sigmoid(1.702 * x)
    x = functional.conv1d(x, state["stem.1.fn.2.weight"], state["stem.1.fn.2.bias"]).mT + stage(
        "stem.0"
    )
    torch.testing.assert_close(x, stage("stem.1"), atol=5e-6, rtol=0)

    attention = "transformer.0.0.fn.1"
    for ours, theirs in (("to_q", "q_unscaled"), ("to_k", "k"), ("to_v", "v")):
        flat = stage("t0.ln") @ state[f"{attention}.{ours}.weight"].T
        split = flat.reshape(2, 32, 4, -1).transpose(1, 2)
        torch.testing.assert_close(split, stage(f"t0.{theirs}"), atol=5e-6, rtol=0)
    content = (stage("t0.q_unscaled") / 8 + state[f"{attention}.rel_content_bias"]) @ stage(
        "t0.k"
    ).mT
    torch.testing.assert_close(content, stage("t0.content_logits"), atol=5e-6, rtol=0)

    for head in ("human", "mouse"):
        weight, bias = state[f"_heads.{head}.0.weight"], state[f"_heads.{head}.0.bias"]
        out = functional.softplus(functional.linear(stage("final_pointwise"), weight, bias))
        torch.testing.assert_close(out, stage(f"out.{head}"), atol=5e-6, rtol=0)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "window", "gamma"),
    [("ptA", 4096, "per_position"), ("ptGamma", 196_608, "per_feature")],
)
def test_pickle_and_safetensors_of_enformer_pytorch_agree(
    shared: Path, name: str, window: int, gamma: str
) -> None:
    folder = shared / "golden" / name
    pickled = read_weights(folder / "pytorch_model.bin")
    mapped = read_weights(folder / "model.dedup.safetensors")
    assert set(pickled) == set(mapped)
    assert all(torch.equal(pickled[key], mapped[key]) for key in mapped)
    raw = json.loads((folder / "config.json").read_text())
    config = translate_config(folder / "config.json", input_bp=window).config
    assert (config.channels, config.heads) == (raw["dim"], raw["output_heads"])
    assert config.gamma_normalisation == gamma
    assert {key: tuple(t.shape) for key, t in mapped.items()} == {
        rule.torch: rule.torch_shape for rule in rules(config)
    }


@pytest.mark.golden
def test_both_families_of_names_hold_the_same_tensors(shared: Path, tmp_path: Path) -> None:
    folder = shared / "golden" / "ptA"
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    second = {k: v for k, v in state.items() if k.startswith(("_trunk.", "_heads."))}
    assert len(state) == 282
    assert len(second) == 143
    torch.save(second, tmp_path / "second.bin")
    read, first = (
        read_weights(tmp_path / "second.bin"),
        load_file(folder / "model.dedup.safetensors"),
    )
    assert set(read) == set(first)
    assert all(torch.equal(read[key], first[key]) for key in first)


@pytest.mark.realdata
def test_the_published_tables_of_targets(shared: Path) -> None:
    folder = shared / "data" / "targets"
    human = TrackSet.read_table(folder / "targets_human.txt.gz", "human", 5313)
    mouse = TrackSet.read_table(folder / "targets_mouse.txt.gz", "mouse", 1643)
    for tracks in (human, mouse):
        unnamed = TrackSet.unnamed(tracks.head, len(tracks))
        assert tracks.table["assay"] == unnamed.table["assay"]
    # K562 CAGE is at 4828 and 5111, as the literature quotes them.
    assert human.select("CAGE:*K562*").indices.tolist() == [4828, 5111]
    assert human.select("CNhs11250").indices.tolist() == [4828]
    assert mouse.table["identifier"][0].as_py() == "ENCFF866ZTV"
    assert mouse.indices[0] == 0
