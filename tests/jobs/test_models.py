"""Making, describing, converting and fetching models from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import cisray as package
from cisray.errors import CheckpointError
from cisray.genome.encode import onehot


def told(answer) -> dict:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_a_seed_gives_one_model(cisray, tmp_path: Path) -> None:
    digests = {}
    for name, options in {
        "a": (),
        "again": (),
        "seed": ("--seed", 1),
        "random": ("--randomise-all",),
    }.items():
        out = tmp_path / f"{name}.safetensors"
        digests[name] = told(
            cisray("model", "init", out, "--size", "tiny", *options, "--json")
        )["digest"]  # fmt: skip
    assert digests["a"] == digests["again"]
    assert len(set(digests.values())) == 3


def test_what_is_told_of_a_model(cisray, inputs) -> None:
    info = told(cisray("model", "info", inputs.model, "--json"))
    assert info["geometry"] == {
        "input_bp": 4096, "bin_bp": 128, "target_bins": 16, "target_bp": 2048,
    }  # fmt: skip
    assert info["heads"]["human"] == {
        "tracks": 8,
        "by_assay": {"DNASE": 2, "ATAC": 2, "CHIP": 2, "CAGE": 2},
    }
    assert info["provenance"]["seed"] == 3
    assert len(info["digest"]) == 64
    model = package.load_model(inputs.model)
    assert info["parameters"] == sum(p.numel() for p in model.parameters())
    text = cisray("model", "info", inputs.model)
    assert f"{info['parameters']:,}" in text.out
    assert info["digest"] in text.out


def test_a_model_is_not_overwritten_unasked(cisray, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    make = ("model", "init", out, "--size", "tiny")
    assert cisray(*make).code == 0
    before = out.read_bytes()
    cisray(*make, "--seed", 1).assert_one_paragraph(str(out), "exists already")
    assert out.read_bytes() == before
    assert cisray(*make, "--seed", 1, "--overwrite").code == 0
    assert out.read_bytes() != before


def test_what_cannot_be_made_or_described(cisray, tmp_path: Path) -> None:
    wrong = tmp_path / "m.pt"
    cisray("model", "init", wrong, "--size", "tiny").assert_one_paragraph(
        str(wrong), "must end in .safetensors"
    )
    assert cisray("model", "init", tmp_path / "m.safetensors", "--size", "huge").code == 2
    cisray("model", "info", wrong).assert_one_paragraph(str(wrong))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "m.safetensors"
    cisray("model", "init", below, "--size", "tiny").assert_one_paragraph(str(below), code=1)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ("human", ("'human'", "HEAD=TABLE")),
        ("=table", ("'=table'", "HEAD=TABLE")),
        ("human=nowhere.txt", ("nowhere.txt",)),
    ],
)
def test_tables_of_tracks_that_cannot_be_used(cisray, inputs, tmp_path, tables, words) -> None:
    out = tmp_path / "out.safetensors"
    cisray("model", "convert", inputs.model, out, "--tracks", tables).assert_one_paragraph(*words)
    assert not out.exists()


def test_what_is_no_checkpoint(cisray, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    for source in (tmp_path / "nowhere", tmp_path):
        cisray("model", "convert", source, out).assert_one_paragraph(str(source))


@pytest.fixture
def hugging_face(shared: Path, tmp_path: Path) -> Path:
    """A folder as the hub has it: config.json and a weights file that tests may edit."""
    folder = tmp_path / "hub"
    folder.mkdir()
    shutil.copyfile(shared / "golden/ptA/config.json", folder / "config.json")
    shutil.copyfile(shared / "golden/ptA/model.dedup.safetensors", folder / "model.safetensors")
    return folder


@pytest.mark.golden
def test_a_converted_tensorflow_checkpoint_predicts_what_tensorflow_did(
    cisray, shared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    source = shared / "golden" / "tf_smallA"
    window = ("--input-bp", 4096, "--target-bins", 16)
    info = told(cisray("model", "convert", source, out, *window, "--json"))
    assert {h: about["tracks"] for h, about in info["heads"].items()} == {"human": 7, "mouse": 5}
    golden = np.load(shared / "golden" / "tf_smallA.npz")
    model = package.load_model(out)
    with torch.no_grad():
        for head in ("human", "mouse"):
            ours = model(torch.from_numpy(onehot(golden["input_idx"])), head=head).numpy()
            # 5e-6 is what held between the two reference implementations.
            np.testing.assert_allclose(ours, golden[f"out.{head}"], atol=5e-6, rtol=0)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.dedup.safetensors"])
def test_a_converted_hugging_face_model_predicts_what_enformer_pytorch_did(
    cisray, shared: Path, tmp_path: Path, name: str
) -> None:
    golden = np.load(shared / "golden" / "ptA.npz")
    out = tmp_path / "m.safetensors"
    bases = golden["input_idx"].shape[1]
    folder = tmp_path / "hub"
    folder.mkdir()
    for file in ("config.json", name):
        shutil.copyfile(shared / "golden" / "ptA" / file, folder / file)
    assert cisray("model", "convert", folder / name, out, "--input-bp", bases).code == 0
    model = package.load_model(out)
    with torch.no_grad():
        for head in model.config.heads:
            ours = model(torch.from_numpy(onehot(golden["input_idx"])), head=head).numpy()
            np.testing.assert_allclose(ours, golden[f"out.{head}"], atol=5e-6, rtol=0)


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["missing", "surplus", "misshapen"])
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    cisray, hugging_face: Path, tmp_path: Path, kind: str
) -> None:
    weights = hugging_face / "model.safetensors"
    state = load_file(weights)
    name = sorted(n for n in state if n.endswith("to_k.weight"))[0]
    if kind == "missing":
        del state[name]
    elif kind == "surplus":
        name = "transformer.9.9.weight"
        state[name] = torch.zeros(3)
    else:
        state[name] = torch.zeros(5, 7)
    save_file(state, weights)
    out = tmp_path / "out.safetensors"
    answer = cisray("model", "convert", hugging_face, out, "--input-bp", 4096)
    answer.assert_one_paragraph(f"1 {kind}", name)
    if kind == "misshapen":
        assert "is [5, 7], must be [" in answer.told
    assert not out.exists()


def test_a_tilde_is_the_home_folder(cisray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cisray("model", "init", "~/m.safetensors", "--size", "tiny").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    info = told(cisray("model", "info", "~/m.safetensors", "--json"))
    assert info["path"] == str(tmp_path / "m.safetensors")
    assert package.load_model("~/m.safetensors").digest == info["digest"]
    with pytest.raises(CheckpointError, match="no home folder for ~no-such-user-here"):
        package.load_model("~no-such-user-here/m.safetensors")
    cisray("model", "info", "~no-such-user-here/m").assert_one_paragraph("no home folder")
