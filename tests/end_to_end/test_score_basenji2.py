"""A Basenji2 through the commands: whole genomes and variants, the plain way, and saying so."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from effect_jobs import EXACT, genome_with_traps, score, values, write_genome, write_vcf
from string_scores import Look, StringScores

import cisray
from cisray.genome.encode import encode, onehot
from cisray.model.basenji2.config import Basenji2Config
from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.registry import new_network
from cisray_jobs import cli
from cisray_jobs.models import init_model

# The window of the very small Enformer: 64 tokens of 8 bp, the middle 24 predicted.
VERY_SMALL = Basenji2Config(
    stem_channels=8,
    tower_channels=(8, 10),
    residual_channels=6,
    dilations=(1, 2, 3),
    final_channels=12,
    input_bp=512,
    target_bins=24,
    heads={"human": 5, "mouse": 3},
)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return genome_with_traps()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("basenji2")
    model = new_network(VERY_SMALL, 5, randomise_all=True)
    checkpoint = Checkpoint.build(VERY_SMALL, model.state_dict(), provenance={})
    save_native(folder / "model.safetensors", checkpoint)
    return write_genome(folder / "genome.fa", texts), folder / "model.safetensors"


def test_a_genome(given: tuple[Path, Path], texts: dict[str, str], tmp_path: Path) -> None:
    fasta, path = given
    run = score("genome", tmp_path / "run", "--model", path, "--fasta", fasta, *EXACT)
    assert run.manifest.config["predictor"] == "plain"
    assert run.manifest.provenance["reasons"]["predictor"] == "Basenji2 has no fast form"
    found = run.scan(region=("chr1", 192, 384)).sort("start").collect()
    # The second tile of 192 bp; its window starts 160 bp before: (512 - 192) / 2.
    window = texts["chr1"][192 - 160 : 192 - 160 + 512]
    model = cisray.load_model(path)
    with torch.inference_mode():
        pred_NT = model(torch.from_numpy(onehot(encode(window))[None]), "human")[0].numpy()
    columns = found.select(pl.col("^t\\d+$")).to_numpy()
    assert found["start"].to_list() == list(range(192, 384, 8))
    np.testing.assert_allclose(columns, pred_NT, rtol=1e-5)


def test_variants(given: tuple[Path, Path], texts: dict[str, str], tmp_path: Path) -> None:
    fasta, path = given
    text = texts["chr1"]
    places = [600, 900, 2300]
    records = [
        ("chr1", pos, ".", text[pos - 1].upper(), "G" if text[pos - 1].upper() != "G" else "T")
        for pos in places
    ]
    vcf = write_vcf(tmp_path / "v.vcf", records)
    options = ("--model", path, "--fasta", fasta, "--vcf", vcf, *EXACT)
    run = score("variants", tmp_path / "run", *options)
    assert run.manifest.provenance["reasons"]["predictor"] == "Basenji2 has no fast form"
    truth = StringScores({name: line.upper() for name, line in texts.items()}, path)
    found = values(run)
    assert found.height == len(records)
    for row, (chrom, pos, _, ref, alt) in zip(found.iter_rows(named=True), records, strict=True):
        expected = truth.scores((chrom, pos, ref, alt), Look())["SAD"]
        stored = np.array([row[f"SAD_t{track:04d}"] for track in range(5)])
        np.testing.assert_allclose(stored, expected, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("kind", ["genome", "variants", "saturation"])
def test_a_plan_of_its_costs(
    given: tuple[Path, Path],
    texts: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    fasta, path = given
    ref = texts["chr2"][99]
    vcf = write_vcf(tmp_path / "v.vcf", [("chr2", 100, ".", ref, "A" if ref != "A" else "C")])
    more = {
        "genome": (),
        "variants": ("--vcf", vcf),
        "saturation": ("--region", "chr2:500-520", "--method", "gradient"),
    }[kind]
    words = ("score", kind, "--model", path, "--fasta", fasta, "--out", tmp_path / "run")
    code = cli.run([str(word) for word in (*words, *more, "--plan", "--json")])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert json.loads(told.out)["rows"] > 0


def test_new_models_of_the_tiny_size(tmp_path: Path) -> None:
    info = init_model(tmp_path / "b.safetensors", "basenji2-tiny", seed=1)
    assert info.architecture == "basenji2"
    assert info.geometry == {
        "input_bp": 4096,
        "bin_bp": 128,
        "target_bins": 16,
        "target_bp": 2048,
    }
    assert type(cisray.load_model(tmp_path / "b.safetensors")).__name__ == "Basenji2"
