"""Validation by assay in the folder of a training run, also of one that an older version began."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from report_pages import ReportPage
from trained_models import TRACKS, write_dataset
from training_runs import settings, told

from cisray.dataset.examples import Dataset
from cisray.model.registry import load_model
from cisray_jobs.cli import run
from cisray_jobs.report.write import write_report
from cisray_jobs.train import Trained, train_model
from cisray_jobs.train_progress import NewestRecords
from cisray_jobs.train_records import METRICS
from cisray_jobs.train_settings import TrainModel

ASSAYS = {"human": ["DNASE", "CAGE", "DNASE"]}  # the tracks of mouse have no names
OF_ASSAYS = ("assays", "undefined")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainModel:
    folder = tmp_path_factory.mktemp("by-assay")
    dataset = write_dataset(folder / "set", assays=ASSAYS)
    return settings(dataset, folder / "run", export="last", tensorboard=True)


@pytest.fixture(scope="module")
def done(job: TrainModel) -> Trained:
    return train_model(job)


def validations(out: Path, head: str) -> list[dict[str, Any]]:
    return [r for r in told(out) if r["kind"] == "valid" and r["head"] == head]


def as_an_older_version_left_it(out: Path, folder: Path) -> Path:
    """Copy a run, without what older versions did not record."""
    shutil.copytree(out, folder)
    lines = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    old = [{name: r[name] for name in r if name not in OF_ASSAYS} for r in lines]
    (folder / METRICS).write_text("".join(json.dumps(record) + "\n" for record in old))
    return folder


def test_each_validation_has_the_means_that_the_models_predictions_give(
    done: Trained, job: TrainModel
) -> None:
    model = load_model(done.model)
    examples = Dataset.open(job.dataset).examples("human", "valid")
    codes = np.stack([examples.codes_L(i) for i in range(len(examples))])
    with torch.no_grad():
        pred = model(torch.eye(4)[torch.from_numpy(codes).long()], "human").flatten(0, 1)
    target = np.concatenate([examples.target_NT(i) for i in range(len(examples))])
    r = [np.corrcoef(pred[:, track], target[:, track])[0, 1] for track in range(TRACKS["human"])]
    records = validations(job.out, "human")
    assert [record["step"] for record in records] == [4, 8]
    assert records[-1]["assays"] == {
        "DNASE": {"pearson_r": pytest.approx((r[0] + r[2]) / 2, abs=1e-4), "tracks": 2,
                  "undefined": 0},
        "CAGE": {"pearson_r": pytest.approx(r[1], abs=1e-4), "tracks": 1, "undefined": 0},
    }  # fmt: skip
    assert [record["assays"] for record in validations(job.out, "mouse")] == [{}, {}]


def test_tensorboard_has_them_as_well(done: Trained, job: TrainModel) -> None:
    (events,) = (job.out / "tensorboard").glob("events*")
    stored = events.read_bytes()
    assert b"valid/human/assays/CAGE/pearson_r" in stored
    assert b"valid/human/pearson_r" in stored


def test_the_command_prints_them(
    done: Trained, job: TrainModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = validations(job.out, "human")[-1]["assays"]
    dnase, cage = (f"{found[assay]['pearson_r']:.4g}" for assay in ("DNASE", "CAGE"))
    old = as_an_older_version_left_it(job.out, tmp_path / "old")
    new = f"DNASE {dnase} (2 tracks), CAGE {cage} (1 track)", "its tracks have none"
    for out, (human, mouse) in ((job.out, new), (old, ("not recorded", "not recorded"))):
        config = tmp_path / "train.yaml"
        config.write_text(json.dumps(job.model_dump(mode="json", exclude={"out"})))
        assert run(["train", "--config", str(config), "--out", str(out), "--quiet"]) == 0
        lines = dict(
            line.strip().split("  ", 1) for line in capsys.readouterr().out.splitlines()[1:]
        )
        assert lines["assays of human"].strip() == human
        assert lines["assays of mouse"].strip() == mouse


def test_a_run_of_an_older_version_is_watched_reported_and_gone_on_with(
    done: Trained, job: TrainModel, tmp_path: Path
) -> None:
    old = as_an_older_version_left_it(job.out, tmp_path / "old")
    newest = NewestRecords(old / METRICS)
    newest.look()
    assert set(newest.validated) == {"human", "mouse"}
    page = ReportPage(write_report([old], tmp_path / "old.html"))
    assert "2 validations of head human, up to step 8, did not record assays" in page.text
    assert not any("by assay, with" in caption for caption in page.tables)
    # What a run has that was stopped after step 6.
    (old / "model.safetensors").unlink()
    for later in old.glob("checkpoints-*/step-00000008"):
        shutil.rmtree(later)
    train_model(job.model_copy(update={"out": old}))
    assert ["assays" in record for record in validations(old, "human")] == [False, True]
    # The step that was done again is the same.
    assert told(old)[-1] == told(job.out)[-1]
    assert validations(old, "human")[-1] == validations(job.out, "human")[-1]
    page = ReportPage(write_report([old], tmp_path / "resumed.html"))
    assert "1 validation of head human, up to step 4, did not record assays" in page.text
    assert "No track of head mouse has a name that tells its assay" in page.text
    rows, _ = page.table("by assay, with")
    assert [row[:3] for row in rows] == [["human", "DNASE", "8"], ["human", "CAGE", "8"]]


def test_going_on_keeps_what_was_recorded_by_assay(
    done: Trained, job: TrainModel, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(job.out, again)
    (again / "model.safetensors").unlink()
    for later in again.glob("checkpoints-*/step-00000008"):
        shutil.rmtree(later)
    train_model(job.model_copy(update={"out": again}))
    assert told(again) == told(job.out)
