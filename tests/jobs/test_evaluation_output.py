"""An evaluation's folder appears whole, and is not mistaken for that of another evaluation."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cisray.errors import RunConflict
from cisray.evaluation.metrics import Estimate, Metric, metrics_table
from cisray.evaluation.over_tissues import mean_metrics
from cisray_jobs.evaluation_job import Headline, headline
from cisray_jobs.evaluation_output import (
    EvaluationRecord,
    evaluation_folder,
    is_finished,
    read_metrics,
    read_record,
)

RECORD = EvaluationRecord(
    evaluation="eqtl",
    settings={"pip": 0.9, "seed": 1},
    inputs={"labels": {"path": "/a/labels.tsv", "sha256": "aa"}},
    recalled={"pip": "recalled"},
)
METRIC = Metric(
    evaluation="eqtl", task="Liver", scores="m", metric="auroc", estimate=Estimate(0.7, 10, 5)
)


def write(out: Path, record: EvaluationRecord = RECORD) -> None:
    with evaluation_folder(out, record) as folder:
        folder.write_metrics([METRIC])
        folder.finish({"read": 12, "used": 10, "left out": {"not in run": 2}})


def test_the_folder_holds_what_was_written(tmp_path: Path) -> None:
    out = tmp_path / "e"
    assert not is_finished(out, RECORD)
    write(out)
    assert is_finished(out, RECORD)
    assert read_metrics(out)["value"].to_pylist() == [0.7]
    told = read_record(out)
    assert told["rows"] == {"read": 12, "used": 10, "left out": {"not in run": 2}}
    assert told["recalled"] == {"pip": "recalled"}
    assert told["versions"]["scikit-learn"]
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_a_place_of_the_input_does_not_matter_but_its_bytes_do(tmp_path: Path) -> None:
    write(tmp_path / "e")
    moved = replace(RECORD, inputs={"labels": {"path": "/b/labels.tsv", "sha256": "aa"}})
    assert is_finished(tmp_path / "e", moved)
    other = replace(RECORD, inputs={"labels": {"path": "/a/labels.tsv", "sha256": "bb"}})
    with pytest.raises(RunConflict, match="labels aa there, bb now"):
        is_finished(tmp_path / "e", other)
    with pytest.raises(RunConflict, match=r"pip 0\.9 there, 0\.5 now"):
        is_finished(tmp_path / "e", replace(RECORD, settings={"pip": 0.5, "seed": 1}))
    with pytest.raises(RunConflict, match="evaluation eqtl there, direction now"):
        is_finished(tmp_path / "e", replace(RECORD, evaluation="direction"))


def test_a_foreign_folder_and_an_error_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunConflict, match="is no folder of an evaluation"):
        is_finished(tmp_path / "mine", RECORD)
    with pytest.raises(ValueError, match="stop"), evaluation_folder(tmp_path / "e", RECORD):
        raise ValueError("stop")
    assert not (tmp_path / "e").exists()


def test_a_mean_says_over_how_many_tissues_it_is() -> None:
    """A tissue without a number is no part of the mean, nor are its rows, controls and strata."""
    told = {"evaluation": "direction", "scores": "m", "metric": "auroc"}
    found = [
        Metric(task="beta", estimate=Estimate(0.75, 33, 4), **told),
        Metric(task="alpha", estimate=Estimate(None, 29, 5, reason="too few"), **told),
        Metric(task="beta", estimate=Estimate(0.4, 33, 4), control="shuffled labels", **told),
        Metric(task="beta", estimate=Estimate(0.9, 10, 2), stratum="near", **told),
    ]
    table = pl.DataFrame(metrics_table([*found, *mean_metrics(found)]))
    assert headline(table) == {"m": Headline(0.75, 1, 33)}
