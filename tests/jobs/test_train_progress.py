"""What is shown of a training run: the newest step and validation of a file that grows."""

import json
from io import StringIO
from pathlib import Path

from trained_models import write_dataset
from training_runs import settings

from cisray.engine.progress import Display, LiveLine
from cisray_jobs import train_progress
from cisray_jobs.train import train_model
from cisray_jobs.train_progress import NewestRecords


def step(number: int) -> str:
    return json.dumps({"kind": "train", "step": number, "head": "human", "loss": 1.0}) + "\n"


def test_whole_lines_are_read_once_and_a_shorter_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    newest = NewestRecords(path)
    newest.look()
    assert newest.step is None
    path.write_text(step(1) + step(2)[:-9])
    newest.look()
    assert newest.step is not None
    assert newest.step["step"] == 1
    valid = {"kind": "valid", "step": 2, "head": "mouse", "pearson_r": 0.5}
    path.write_text(step(1) + step(2) + json.dumps(valid) + "\n")
    newest.look()
    assert newest.step["step"] == 2
    assert newest.validated == {"mouse": valid}
    other = tmp_path / "other"
    other.write_text(step(1))
    other.replace(path)
    newest.look()
    assert newest.step["step"] == 1


def test_a_run_says_how_far_it_is_and_the_last_step_is_told(tmp_path: Path, monkeypatch) -> None:
    stream = StringIO()
    monkeypatch.setattr(
        train_progress, "LiveLine", lambda display: LiveLine(display=display, stream=stream)
    )
    dataset = write_dataset(tmp_path / "set")
    train_model(settings(dataset, tmp_path / "run"), Display.LINES)
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith("step 8/8, loss ")
    assert "human: R" in last
    assert "mouse: R" in last
