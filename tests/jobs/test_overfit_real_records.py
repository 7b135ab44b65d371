"""A model learns two real records by heart: data, targets and gradients belong together."""

import json
from pathlib import Path

import pytest
from real_records import publish

from cisray.engine.progress import Display
from cisray_jobs.config import load_config
from cisray_jobs.import_dataset import ImportDataset
from cisray_jobs.train import train_model
from cisray_jobs.train_settings import TrainModel

ARCHITECTURE = {
    "channels": 48,
    "num_transformer_layers": 2,
    "num_heads": 4,
    "key_size": 16,
    "channels_divisible_by": 8,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "positional_dropout": 0.0,
}


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.timeout(3_600)
def test_two_real_records_are_learnt_by_heart(shared: Path, tmp_path: Path) -> None:
    """At Enformer's size of window, 196,608 bp and 896 bins of 10 CAGE tracks."""
    options, _ = publish(shared, tmp_path, 2)
    given = {**options, "out": tmp_path / "d", "crop_to": 196_608, "target_bins": 896}
    load_config(ImportDataset, given).run(Display.NONE)
    job = TrainModel(
        dataset=tmp_path / "d", out=tmp_path / "run", architecture=ARCHITECTURE, steps=300,
        batch_size=2, learning_rate=3e-3, warmup_rounds=20, max_shift_bp=0,
        reverse_complement=False, valid_split="train", valid_every=50, checkpoint_every=300,
    )  # fmt: skip
    train_model(job)
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    found = [record for record in map(json.loads, lines) if record["kind"] == "valid"]
    assert found[0]["pearson_r"] < 0.9  # after 50 steps it is not trivial
    assert found[-1]["pearson_r"] > 0.95
    assert found[-1]["tracks"] == 10
