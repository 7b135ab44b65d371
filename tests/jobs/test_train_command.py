"""`cisray train`: what it leaves, what it goes on from, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from trained_models import ARCHITECTURE, SPEC, write_dataset
from training_runs import STILL, settings, told

from cisray.errors import (
    CheckpointError,
    ConfigError,
    RunConflict,
    StorageError,
    TrackError,
    TrainingDiverged,
    UnknownHead,
)
from cisray.model.basenji2.config import Basenji2Config
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.registry import load_model, new_network, read_model
from cisray.training.step import Training
from cisray_jobs.cli import run
from cisray_jobs.config import load_config
from cisray_jobs.train import Trained, train_model
from cisray_jobs.train_records import RunRecords
from cisray_jobs.train_settings import TrainModel


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def first(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_model(settings(dataset, tmp_path_factory.mktemp("run") / "first"))


def test_a_run_leaves_a_model_that_scores_its_records_and_a_curve(
    first: Trained, dataset: Path
) -> None:
    model = load_model(first.model)
    assert {head: len(tracks) for head, tracks in model.tracks.items()} == {"human": 3, "mouse": 2}
    pred = model(torch.eye(4)[torch.zeros(1, SPEC.input_bp, dtype=torch.long)], "mouse")
    assert pred.shape == (1, SPEC.target_bins, 2)
    assert bool((pred > 0).all())
    provenance = read_model(first.model).provenance
    assert provenance["made_by"].startswith("cisray")
    assert provenance["settings"]["learning_rate"] == 5e-4
    assert provenance["step"] in (4, 8)
    records = told(first.model.parent)
    trained = [(r["step"], r["head"]) for r in records if r["kind"] == "train"]
    assert trained == [(i + 1, ("human", "mouse")[i % 2]) for i in range(8)]
    rates = [r["learning_rate"] for r in records if r["kind"] == "train"]
    assert rates[:4] == [2.5e-4, 2.5e-4, 5e-4, 5e-4]
    assert [(r["step"], r["head"], r["examples"]) for r in records if r["kind"] == "valid"] == [
        (4, "human", 3), (4, "mouse", 3), (8, "human", 3), (8, "mouse", 3),
    ]  # fmt: skip
    assert first.curve.read_bytes().startswith(b"\x89PNG")


def test_a_finished_run_started_again_does_no_step_and_gives_the_same(
    first: Trained, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Training, "take_step")
    again = train_model(settings(dataset, first.model.parent))
    assert again == first


def test_the_best_checkpoints_stay_and_the_newest(dataset: Path, tmp_path: Path) -> None:
    done = train_model(settings(dataset, tmp_path / "run", keep=1))
    (folder,) = (tmp_path / "run").glob("checkpoints-*")
    scores = {
        path.name: json.loads((path / "score.json").read_text())["score"]
        for path in folder.glob("step-*")
    }
    assert "step-00000008" in scores
    assert len(scores) <= 2
    assert scores[done.checkpoint.name] == max(scores.values())


def test_changed_settings_are_refused_with_their_names(first: Trained, dataset: Path) -> None:
    with pytest.raises(
        RunConflict, match=r"learning_rate was 0.0005 and is 0.1; seed was 0 and is 9"
    ):
        train_model(settings(dataset, first.model.parent, learning_rate=0.1, seed=9))


def test_it_learns_what_it_is_shown(dataset: Path, tmp_path: Path) -> None:
    train_model(
        settings(
            dataset, tmp_path / "run", steps=160, batch_size=6, learning_rate=4e-3, warmup_rounds=4,
            heads="human", clip_norm=0, valid_every=160, checkpoint_every=160, max_shift_bp=0,
            reverse_complement=False, valid_split="train",
            architecture={**ARCHITECTURE, **STILL},
        )
    )  # fmt: skip
    (valid,) = [r for r in told(tmp_path / "run") if r["kind"] == "valid"]
    assert valid["pearson_r"] > 0.95
    assert valid["r2"] > 0.8


def test_a_basenji2_is_trained_by_the_same_loop(dataset: Path, tmp_path: Path) -> None:
    config = Basenji2Config(
        stem_channels=16, tower_channels=(16, 24), residual_channels=12, dilations=(1, 2),
        final_channels=32, input_bp=SPEC.input_bp, target_bins=SPEC.target_bins,
        heads={"human": 3, "mouse": 2}, residual_dropout=0, final_dropout=0,
    )  # fmt: skip
    network = new_network(config, 1)
    begun = tmp_path / "basenji2.safetensors"
    save_native(begun, Checkpoint.build(config, network.state_dict(), provenance={}))
    options = {
        "architecture": None, "model": begun, "new_heads": "human", "heads": "human", "steps": 120,
        "batch_size": 6, "learning_rate": 4e-3, "clip_norm": 0, "valid_every": 120,
        "checkpoint_every": 60, "max_shift_bp": 0, "reverse_complement": False,
        "valid_split": "train", "recompute": "light",
    }  # fmt: skip
    done = train_model(settings(dataset, tmp_path / "run", **options))
    (valid,) = [r for r in told(tmp_path / "run") if r["kind"] == "valid"]
    assert valid["pearson_r"] > 0.9
    model = load_model(done.model)
    assert isinstance(model.config, Basenji2Config)
    assert {head: len(tracks) for head, tracks in model.tracks.items()} == {"human": 3}
    before, after = network.state_dict(), model.state_dict()
    moved = [n for n, t in after.items() if "running" in n and not torch.equal(t, before[n])]
    assert moved


def test_fine_tuning_takes_the_trunk_and_puts_a_new_head_on_it(
    first: Trained, tmp_path: Path
) -> None:
    mine = write_dataset(tmp_path / "set", "mouse")
    job = settings(
        mine, tmp_path / "run", architecture=None, model=first.model, new_heads="mouse",
        freeze=("stem.*,conv_tower.*,transformer.*,final_pointwise.*"), adapt="transformer.*.to_v",
        steps=3,
    )  # fmt: skip
    train_model(job)
    before, after = read_model(first.model), read_model(tmp_path / "run" / "model.safetensors")
    assert set(after.tracks) == {"mouse"}
    changed = {n for n, t in after.state.items() if not torch.equal(t, before.state[n])}
    assert changed == {
        "_heads.mouse.0.weight", "_heads.mouse.0.bias", "transformer.0.0.fn.1.to_v.weight",
    }  # fmt: skip
    assert after.provenance["began_with"]["model_digest"] == before.digest


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"architecture": {**ARCHITECTURE, "channels": 25}}, ConfigError, "channels"),
        ({"architecture": {**ARCHITECTURE, "num_downsamples": 4}}, ConfigError, "16 bins of 8 bp"),
        ({"size": "tiny", "architecture": None}, ConfigError, "reads 4,096 bp"),
        ({"size": "tiny"}, ConfigError, "not size and architecture"),
        ({"architecture": None}, ConfigError, "not none"),
        ({"batch_size": 3, "micro_batches": 2}, ConfigError, "not a multiple of the 2"),
        ({"max_shift_bp": 4}, ConfigError, "beyond the 3 bp"),
        ({"new_heads": "mouse"}, ConfigError, "new_heads is for"),
        ({"freeze": "stm.*"}, ConfigError, "matches no parameter"),
        ({"learning_rat": 1}, ConfigError, "learning"),
        ({"workers": 0, "num_gpus": 1}, ConfigError, "--num-gpus"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_begun(
    dataset: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    options = {
        "architecture": ARCHITECTURE,
        "steps": 1,
        "batch_size": 2,
        "device": "cpu",
        **changes,
    }
    with pytest.raises(error, match=message):
        train_model(
            load_config(TrainModel, {"dataset": dataset, "out": tmp_path / "run", **options})
        )
    assert not (tmp_path / "run").exists()


def test_tracks_of_another_table_are_refused(first: Trained, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "set", "human")
    job = settings(other, tmp_path / "run", architecture=None, model=first.model, steps=1)
    swapped = first.model.parent / "model.safetensors"
    assert swapped == first.model
    train_model(job)  # the same tracks
    with pytest.raises(UnknownHead, match="new_heads names 'mouse', which is not trained"):
        train_model(job.model_copy(update={"out": tmp_path / "b", "new_heads": ("mouse",)}))
    import trained_models

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(trained_models.TRACKS, "human", 2)
        fewer = write_dataset(tmp_path / "fewer", "human")
    with pytest.raises(TrackError, match=r"has 3 tracks, and the 2 of .* --new-heads human"):
        train_model(job.model_copy(update={"dataset": fewer, "out": tmp_path / "c"}))


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_saved(
    dataset: Path, tmp_path: Path
) -> None:
    job = settings(dataset, tmp_path / "run", learning_rate=1e30, clip_norm=0, checkpoint_every=1)
    with pytest.raises(TrainingDiverged, match=r"At step \d \(head (human|mouse)\) the loss is"):
        train_model(job)
    assert list((tmp_path / "run").glob("checkpoints-*/step-*"))


def test_a_damaged_checkpoint_is_named(dataset: Path, tmp_path: Path) -> None:
    job = settings(dataset, tmp_path / "run", steps=2)
    done = train_model(job)
    (tensors,) = done.checkpoint.glob("tensors/*.distcp")
    tensors.write_bytes(tensors.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=rf"{done.checkpoint} cannot be read.*the one before"):
        train_model(job)
    (done.checkpoint / "training.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not of the format"):
        train_model(job)


def test_a_line_of_records_that_was_cut_is_dropped_and_one_that_is_none_is_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"kind": "train", "step": step, "head": "human"}) for step in (1, 2, 3)]
    path.write_text("\n".join(whole) + '\n{"kind": "tr')
    RunRecords(tmp_path, tensorboard=False).begin(2)
    assert path.read_text().splitlines() == whole[:2]
    path.write_text("[]\n")
    with pytest.raises(StorageError, match=r"metrics\.jsonl:1: .* is no record"):
        RunRecords(tmp_path, tensorboard=False).begin(2)


def test_tensorboard_gets_every_number(dataset: Path, tmp_path: Path) -> None:
    train_model(settings(dataset, tmp_path / "run", steps=2, tensorboard=True))
    (events,) = (tmp_path / "run" / "tensorboard").glob("events*")
    stored = events.read_bytes()
    for tag in (b"train/human/loss", b"train/mouse/grad_norm", b"valid/human/pearson_r"):
        assert tag in stored


def test_the_command_reads_yaml_and_prints_json(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "train.yaml"
    lines = [f"architecture: {json.dumps(ARCHITECTURE)}", "steps: 2", "batch_size: 2"]
    config.write_text("\n".join([*lines, "freeze: [stem.*, conv_tower.*]", "device: cpu", ""]))
    out = str(tmp_path / "run")
    command = ["train", "--config", str(config), "--dataset", str(dataset), "--out", out, "--json"]
    assert run(command) == 0
    told_json = json.loads(capsys.readouterr().out)
    assert told_json["steps"] == 2
    assert Path(told_json["model"]).exists()
    config.write_text("stepz: 2\n")
    assert run(command) == 2
    assert "unknown key 'stepz'. Did you mean steps" in " ".join(capsys.readouterr().err.split())
