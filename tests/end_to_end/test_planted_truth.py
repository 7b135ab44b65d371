"""What a trained model finds of a made-up genome's truth, by the evaluations' own commands.

The whole of it takes a quarter of an hour and more, hence slow. The genome is three times the
demo's; how long the model trains was chosen on seed 3, and nothing on the seeds here.
"""

import os
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from cisray.engine.progress import Display
from cisray_jobs import demo
from cisray_jobs.cli import run as cisray

SIZE = replace(demo.WHOLE, chromosome_bp=1_800_000, steps=2_400)
SEED = 2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome, a model that was trained on four of its chromosomes, and all variants scored.

    CISRAY_PLANTED names a folder to make it in, and to find it in the next time.
    """
    given = os.environ.get("CISRAY_PLANTED")
    out = Path(given) if given else tmp_path_factory.mktemp("planted")
    out.mkdir(parents=True, exist_ok=True)
    made = demo.Demo(out, SIZE, SEED, "0", lambda _: None, Display.NONE)
    demo.make_genome(made)
    demo.make_dataset(made)
    demo.score_variants(made, demo.train(made))
    return out


def evaluated(kind: str, out: Path, *options: object) -> pl.DataFrame:
    assert cisray(["evaluate", kind, "--out", str(out), *map(str, options)]) == 0
    return pl.read_parquet(out / "metrics.parquet")


def model_of(place: Path) -> Path:
    (found,) = (place / "model").glob("*.safetensors")
    return found


def of_run(place: Path) -> tuple[object, ...]:
    labels = place / "made-up/truth/eqtls.parquet"
    return ("--labels", labels, "--run", f"model={place}/variant-run", "--layout",
            "synthetic-truth")  # fmt: skip


def areas(metrics: pl.DataFrame, **of: str) -> dict[str, dict[str, object]]:
    found = metrics.filter(metric="auroc", stratum="all", **{"control": "", **of})
    return {row["task"]: row for row in found.iter_rows(named=True)}


def test_planted_causal_variants_against_as_distant_ones(place: Path, tmp_path: Path) -> None:
    metrics = evaluated(
        "eqtl", tmp_path / "o", *of_run(place), "--match", "tss-distance", "--score", "max-abs"
    )
    found = areas(metrics)
    for cell in ("alpha", "beta"):
        assert found[cell]["n_positive"] > 200
        assert found[cell]["value"] >= 0.9
    for row in areas(metrics, control="shuffled labels").values():
        assert row["ci_low"] < 0.5 < row["ci_high"]


def test_the_sign_of_planted_effects(place: Path, tmp_path: Path) -> None:
    found = areas(evaluated("direction", tmp_path / "o", *of_run(place)))
    for cell in ("alpha", "beta"):
        assert found[cell]["n"] > 200
        assert found[cell]["value"] >= 0.95


@pytest.mark.parametrize("cell", ["alpha", "beta"])
def test_planted_enhancers_against_decoys_as_far(place: Path, tmp_path: Path, cell: str) -> None:
    pairs, fasta = place / "made-up/truth/enhancers_decoys.tsv", place / "made-up/genome.fa"
    metrics = evaluated(
        "enhancers", tmp_path / "o", "--pairs", pairs, "--cell-type", cell, "--tracks",
        f"CAGE:{cell}", "--model", model_of(place), "--fasta", fasta, "--element-bp", 300,
        *("--edges", 0, "--edges", 1_000, "--edges", 2_500),
    )  # fmt: skip
    rows = metrics.filter(metric="auroc", stratum="all", control="").iter_rows(named=True)
    found = {row["scores"]: row for row in rows}
    for score in ("model gradient", "model mutagenesis"):
        assert found[score]["ci_low"] > 0.8
    for blind in ("distance", "random"):
        assert found[blind]["ci_low"] - 0.05 < 0.5 < found[blind]["ci_high"] + 0.05
