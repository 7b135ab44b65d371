"""How a run predicts: predictor and precision, told with their reasons and kept when it resumes."""

import json
import logging
from pathlib import Path

import pytest
from campaign import start

from cisray.inference import precision
from cisray.store.scan import open_run
from cisray_jobs import scoring_job
from cisray_jobs.config import load_config
from cisray_jobs.score_genome import ScoreGenome


def kept(out: Path) -> tuple[object, object]:
    config = open_run(out).manifest.config
    return config["predictor"], config["precision"]


def test_choices_and_reasons_stand_in_the_manifest(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cisray(*inputs.options(out, "--device", "cpu", "--chromosomes", "chrB")).code == 0
    assert kept(out) == ("fast", "float32")
    reasons = open_run(out).manifest.provenance["reasons"]
    assert reasons == {
        "predictor": "Enformer has a fast form, equal to the plain one within rounding",
        "precision": "auto, for tracks: bfloat16 has to be asked for",
    }


def test_choices_and_reasons_are_logged(inputs, tmp_path: Path, caplog) -> None:
    given = {"model": inputs.model, "fasta": inputs.fasta, "out": tmp_path / "run", "workers": 0}
    with caplog.at_level(logging.INFO, "cisray_jobs"):
        load_config(ScoreGenome, {**given, "predictor": "plain", "chromosomes": "chrB"}).run()
    assert "predictor: plain (the plain way was asked for)" in caplog.messages
    assert any(text.startswith("precision: float32 (auto, ") for text in caplog.messages)


@pytest.mark.long
def test_the_verbose_command_shows_them(inputs, tmp_path: Path) -> None:
    options = inputs.options(tmp_path / "run", "--verbose", "--chromosomes", "chrB", "--quiet")
    told, _ = start(*options).communicate(timeout=120)
    assert "predictor: fast (Enformer has a fast form" in told
    assert "precision: float32 (auto, for tracks: bfloat16 has to be asked for)" in told


@pytest.mark.parametrize("option", [("--predictor", "plain"), ("--precision", "bfloat16")])
def test_another_way_is_another_run(cisray, inputs, tmp_path: Path, option) -> None:
    options = inputs.options(tmp_path / "run", "--chromosomes", "chrB", "--quiet")
    assert cisray(*options).code == 0
    name, value = option
    cisray(*options, *option).assert_one_paragraph(
        "holds another run", f"config.{name[2:]}", f'"{value}" now', "--restart"
    )


def test_auto_keeps_the_precision_of_a_run_that_is_resumed(cisray, inputs, tmp_path: Path) -> None:
    """As when a GPU began it; what auto means here is told before a run is there, and after."""
    out = tmp_path / "run"
    options = inputs.options(out, "--chromosomes", "chrB", "--quiet", "--device", "cpu")
    assert cisray(*options, "--precision", "bfloat16").code == 0
    plan = json.loads(cisray(*options, "--plan", "--json").out)
    assert (plan["precision"], plan["shards_done"]) == ("bfloat16", 1)
    assert plan["precision_reason"] == "auto: that of the run to resume"
    assert cisray(*options).code == 0
    assert kept(out) == ("fast", "bfloat16")
    # Begun anew, it is what this device suggests.
    assert cisray(*options, "--restart").code == 0
    assert kept(out) == ("fast", "float32")


@pytest.mark.parametrize(("device", "chosen"), [("cpu", "float32"), ("cuda", "float32")])
def test_on_a_cluster_auto_follows_from_the_options(
    cisray, inputs, tmp_path: Path, monkeypatch, device: str, chosen: str
) -> None:
    """This machine, which may have no such device, is not asked."""
    monkeypatch.setattr(precision, "multiplies_bfloat16", None)
    cluster = ("--workers", 3, "--device", device, "--address", "10.0.0.1:6379")
    answer = cisray(*inputs.options(tmp_path / "run", *cluster, "--plan", "--json"))
    assert json.loads(answer.out)["precision"] == chosen


@pytest.mark.parametrize(("native", "warned"), [(True, False), (False, True)])
def test_bfloat16_without_instructions_is_warned_of(
    cisray, inputs, tmp_path: Path, monkeypatch, native: bool, warned: bool
) -> None:
    monkeypatch.setattr(scoring_job, "multiplies_bfloat16", lambda _: native)
    options = inputs.options(tmp_path / "run", "--device", "cpu", "--plan", "--json")
    plan = json.loads(cisray(*options, "--precision", "bfloat16", "--self-check", "off").out)
    assert ("without instructions for it on the cpu" in plan["precision_reason"]) is warned
    exact = json.loads(cisray(*options, "--precision", "float32", "--self-check", "off").out)
    assert (plan["estimated_seconds"] > exact["estimated_seconds"]) is warned
    assert exact["precision_reason"] == "as asked for"


def test_each_choice_is_logged_once(inputs, tmp_path: Path, caplog) -> None:
    given = {"model": inputs.model, "fasta": inputs.fasta, "out": tmp_path / "run", "workers": 0}
    with caplog.at_level(logging.INFO):
        load_config(ScoreGenome, {**given, "chromosomes": "chrB"}).run()
    for words in ("Enformer has a fast form", "float32", "batch size: 1"):
        assert sum(words in text for text in caplog.messages) == 1, (words, caplog.messages)
