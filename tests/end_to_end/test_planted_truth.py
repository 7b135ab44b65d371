"""What a trained model finds of a made-up genome's truth, by the evaluations' own commands.

The whole of it takes a quarter of an hour and more, hence slow. The genome is three times the
demo's; how long the model trains was chosen on seed 3, and nothing on the seeds here.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cisray.engine.progress import Display
from cisray_jobs.cli import run as cisray
from cisray_jobs.demo.learning import make_dataset, make_genome, train
from cisray_jobs.demo.scoring import score_variants
from cisray_jobs.demo.setting import UNSEEN, WHOLE, Demo

SIZE = replace(WHOLE, chromosome_bp=1_800_000, steps=2_400)
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
    made = Demo(out, SIZE, SEED, "0", lambda _: None, Display.NONE)
    make_genome(made)
    make_dataset(made)
    score_variants(made, train(made))
    return out


def evaluated(kind: str, out: Path, *options: object) -> pl.DataFrame:
    assert cisray(["evaluate", kind, "--out", str(out), *map(str, options)]) == 0
    return pl.read_parquet(out / "metrics.parquet")


def of_run(place: Path) -> tuple[object, ...]:
    return ("--labels", place / "made-up/truth/eqtls.parquet", "--run", f"m={place}/variant-run")


def areas(metrics: pl.DataFrame, control: str = "") -> dict[str, dict[str, Any]]:
    found = metrics.filter(metric="auroc", stratum="all", control=control)
    return {row["task"]: row for row in found.iter_rows(named=True)}


def assert_at_chance(row: dict[str, Any]) -> None:
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert abs(row["value"] - 0.5) < 0.02  # the mean of a hundred shuffles


@pytest.mark.parametrize("cell", ["alpha", "beta"])
def test_planted_causal_variants_against_as_distant_ones(
    place: Path, tmp_path: Path, cell: str
) -> None:
    """The tracks of the cell type speak for it: a variant may be causal in the other one alone."""
    metrics = evaluated(
        "eqtl", tmp_path / "o", *of_run(place), "--layout", "synthetic-truth", "--only", cell,
        "--tracks", f"*:{cell}", "--match", "tss-distance", "--score", "max-abs",
    )  # fmt: skip
    found = areas(metrics)[cell]
    assert found["n_positive"] > 500
    assert found["value"] >= 0.9
    assert_at_chance(areas(metrics, "shuffled labels")[cell])


def test_the_direction_of_fine_mapped_effects(place: Path, tmp_path: Path) -> None:
    metrics = evaluated("direction", tmp_path / "o", *of_run(place))
    found = areas(metrics)
    assert min(found[cell]["n"] for cell in ("alpha", "beta")) > 50
    assert found["all tissues"]["value"] >= 0.95
    for cell in ("alpha", "beta"):
        assert_at_chance(areas(metrics, "shuffled labels")[cell])


def test_planted_enhancers_against_decoys_as_far(place: Path, tmp_path: Path) -> None:
    """Pairs of the chromosome that was kept from training; a shuffled element keeps its bases."""
    every = (place / "made-up/truth/enhancers_decoys.tsv").read_text().splitlines()
    unseen = f"{UNSEEN}\t"
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("\n".join([every[0], *(x for x in every if x.startswith(unseen))]) + "\n")
    (model,) = (place / "model").glob("*.safetensors")
    metrics = evaluated(
        "enhancers", tmp_path / "o", "--pairs", pairs, "--cell-type", "alpha", "--tracks",
        "CAGE:alpha", "--model", model, "--fasta", place / "made-up/genome.fa", "--element-bp", 300,
        "--replacement", "shuffled", *("--edges", 0, "--edges", 1_000, "--edges", 2_500),
    )  # fmt: skip
    rows = metrics.filter(metric="auroc", stratum="all", control="").iter_rows(named=True)
    found = {row["scores"]: row for row in rows}
    for score in ("model gradient", "model attention", "model mutagenesis"):
        assert found[score]["n_positive"] > 100
        assert found[score]["ci_low"] > 0.6
    for blind in ("distance", "random"):
        assert found[blind]["ci_low"] < 0.55
        assert found[blind]["ci_high"] > 0.45
