import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tensor_bundle_writer import write_bundle
from tiny_checkpoints import TINY, tiny_shapes, tiny_state, tiny_tensorflow

from cisray.errors import CheckpointError, ConfigError, TrackError, UnknownHead
from cisray.model.checkpoints import (
    Checkpoint,
    ConvertOptions,
    open_foreign,
    read_native,
    save_native,
)
from cisray.tracks import TrackSet

RAW = {
    "attn_dim_key": 4,
    "depth": 1,
    "dim": 12,
    "dim_divisible_by": 2,
    "heads": 2,
    "model_type": "enformer",
    "num_downsamples": 3,
    "output_heads": {"human": 3, "mouse": 2},
    "target_length": 4,
}
WINDOW = ConvertOptions(input_bp=64, target_bins=4)
TRACKS = TrackSet.from_rows(
    "human",
    {
        "track": [0, 1, 2],
        "assay": ["CAGE", "CAGE", "DNASE"],
        "identifier": ["a", "b", "c"],
        "description": ["CAGE:x", "CAGE:y", "DNASE:z"],
        "clip": [384.0, 384.0, 32.0],
        "scale": [1.0, 1.0, 2.0],
        "sum_stat": ["sum", "sum", "mean"],
    },
)


def tensorflow(folder: Path) -> Path:
    return write_bundle(folder / "model-1", tiny_tensorflow())


def saved_model(folder: Path) -> Path:
    return write_bundle(folder / "variables" / "variables", tiny_tensorflow("model/")).parent.parent


def hub_folder(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(RAW))
    torch.save(tiny_state(), folder / "pytorch_model.bin")
    return folder


def hub_safetensors(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(RAW))
    save_file(tiny_state(), folder / "model.safetensors")
    return folder


def weights_beside_config(folder: Path) -> Path:
    return hub_folder(folder) / "pytorch_model.bin"


@pytest.mark.parametrize(
    "make", [tensorflow, saved_model, hub_folder, hub_safetensors, weights_beside_config]
)
def test_every_kind_becomes_the_same_model(tmp_path: Path, make: Any) -> None:
    checkpoint = open_foreign(make(tmp_path), tiny_shapes, options=WINDOW)
    assert checkpoint.config == TINY
    assert checkpoint.digest == Checkpoint.build(TINY, tiny_state(), provenance={}).digest
    assert checkpoint.tracks["human"] == TrackSet.unnamed("human", 3)
    again = read_native(save_native(tmp_path / "out.safetensors", checkpoint))
    assert again.digest == checkpoint.digest
    assert again.provenance == checkpoint.provenance


def test_provenance_names_the_source_by_content(tmp_path: Path) -> None:
    source = hub_folder(tmp_path)
    provenance = open_foreign(source, tiny_shapes, options=WINDOW).provenance
    digests = {
        name: hashlib.sha256((source / name).read_bytes()).hexdigest()
        for name in ("pytorch_model.bin", "config.json")
    }
    assert provenance["source_sha256"] == digests
    assert provenance["source"] == source.name
    assert provenance["gamma_normalisation"].startswith("per_feature: use_tf_gamma absent")
    assert provenance["converter"].startswith("cisray ")


def test_bare_weights_need_a_configuration(tmp_path: Path) -> None:
    bare = tmp_path / "weights.bin"
    torch.save(tiny_state(), bare)
    with pytest.raises(CheckpointError, match=r"has no config.json beside it"):
        open_foreign(bare, tiny_shapes)
    assert open_foreign(bare, tiny_shapes, options=ConvertOptions(config=TINY)).config == TINY
    with pytest.raises(ConfigError, match="A whole configuration was given"):
        ConvertOptions(config=TINY, input_bp=64)


def test_own_models_pass_through_and_may_get_tracks(tmp_path: Path) -> None:
    own = Checkpoint.build(TINY, tiny_state(), provenance={"seed": 7})
    file = save_native(tmp_path, own)
    assert open_foreign(tmp_path, tiny_shapes).digest == own.digest
    named = open_foreign(file, tiny_shapes, tracks={"human": TRACKS})
    assert named.tracks == {"human": TRACKS, "mouse": TrackSet.unnamed("mouse", 2)}
    assert named.provenance == {"seed": 7}
    assert named.digest != own.digest
    with pytest.raises(ConfigError, match="carries its configuration"):
        open_foreign(file, tiny_shapes, options=WINDOW)


@pytest.mark.parametrize("make", [tensorflow, hub_folder])
def test_tracks_must_fit_their_head(tmp_path: Path, make: Any) -> None:
    source = make(tmp_path)
    checkpoint = open_foreign(source, tiny_shapes, tracks={"human": TRACKS}, options=WINDOW)
    assert checkpoint.tracks["human"] == TRACKS
    with pytest.raises(TrackError, match="Head human has 3 outputs, but its tracks are 2"):
        open_foreign(source, tiny_shapes, tracks={"human": TRACKS.select("0-1")}, options=WINDOW)
    with pytest.raises(UnknownHead, match=r"head 'humna'.*Did you mean human"):
        open_foreign(source, tiny_shapes, tracks={"humna": TRACKS}, options=WINDOW)


def test_tensors_must_fit_the_network(tmp_path: Path) -> None:
    def wider(config: object) -> dict[str, tuple[int, ...]]:
        return tiny_shapes() | {"stem.0.bias": (7,), "new.weight": (1,)}

    with pytest.raises(
        CheckpointError, match=r"1 missing \(new.weight\); 1 misshapen \(stem.0.bias"
    ):
        open_foreign(tensorflow(tmp_path), wider, options=WINDOW)
    own = Checkpoint.build(TINY, tiny_state(), provenance={})
    with pytest.raises(CheckpointError, match=r"1 missing \(new.weight\)"):
        open_foreign(save_native(tmp_path / "own.safetensors", own), wider)
    with pytest.raises(
        ConfigError, match="is a TensorFlow checkpoint, whose configuration follows"
    ):
        open_foreign(
            tensorflow(tmp_path), tiny_shapes, options=ConvertOptions(gamma="per_position")
        )


def test_a_folder_with_two_models_is_ambiguous(tmp_path: Path) -> None:
    prefix = tensorflow(hub_folder(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"both a TensorFlow checkpoint .*model-1.*pytorch_model"
    ):
        open_foreign(tmp_path, tiny_shapes, options=WINDOW)
    provenance = open_foreign(prefix, tiny_shapes, options=WINDOW).provenance
    assert set(provenance["source_sha256"]) == {"model-1.index", "model-1.data-00000-of-00001"}


def test_paths_that_hold_no_model_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no model.*pytorch_model.bin.*SavedModel"):
        open_foreign(tmp_path, tiny_shapes)
    with pytest.raises(
        CheckpointError, match=r"nothing at .*absent, and no absent.index beside it"
    ):
        open_foreign(tmp_path / "absent", tiny_shapes)
    other = tmp_path / "genome.fa"
    other.touch()
    with pytest.raises(CheckpointError, match="is no model file that cisray knows"):
        open_foreign(other, tiny_shapes)
