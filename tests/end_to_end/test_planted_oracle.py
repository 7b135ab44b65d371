"""Scores that are the truth itself, and scores that are noise, through the evaluations' commands.

The quick half of test_planted_truth.py: a made-up genome without a model.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cisray.dataset.synthetic import SyntheticSettings
from cisray.dataset.synthetic.generate import write_synthetic
from cisray_jobs.cli import run as cisray

SETTINGS = SyntheticSettings(
    seed=5, chromosomes={"chr1": 90_000, "chr2": 60_000}, individuals=150, variants_per_locus=12
)
CAGE = {"alpha": "effect_t0003", "beta": "effect_t0004"}  # its tracks, as in targets.txt


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oracle") / "genome"
    write_synthetic(folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def tables(made: Path) -> tuple[str, ...]:
    """The true effects on the CAGE tracks under the tissues' names, and as many random numbers."""
    truth = pl.read_parquet(made / "truth/variants.parquet")
    alleles = truth.select("chrom", "pos", "ref", "alt")
    dice = np.random.default_rng(0)
    oracle = {cell: truth[column] for cell, column in CAGE.items()}
    noise = {cell: pl.Series(dice.normal(size=truth.height)) for cell in CAGE}
    given = []
    for name, columns in (("oracle", oracle), ("noise", noise)):
        path = made.parent / f"{name}.parquet"
        alleles.with_columns(**columns).write_parquet(path)
        given += ["--external", f"{name}={path}"]
    return tuple(given)


def evaluated(kind: str, out: Path, *options: object) -> dict[tuple[str, str], dict[str, Any]]:
    """Areas of all rows, by task and score."""
    assert cisray(["evaluate", kind, "--out", str(out), *map(str, options)]) == 0
    metrics = pl.read_parquet(out / "metrics.parquet")
    found = metrics.filter(metric="auroc", stratum="all", control="")
    return {(row["task"], row["scores"]): row for row in found.iter_rows(named=True)}


@pytest.mark.parametrize("cell", CAGE)
def test_true_effects_tell_causal_variants_without_error(
    made: Path, tables: tuple[str, ...], tmp_path: Path, cell: str
) -> None:
    """A single column is taken as it is, larger for likelier: hence sizes."""
    given: list[str] = []
    for text in tables[1::2]:
        name, _, path = text.partition("=")
        sizes = pl.read_parquet(path).with_columns(pl.col(cell).abs())
        sizes.write_parquet(tmp_path / f"{name}.parquet")
        given += ["--external", f"{name}={tmp_path}/{name}.parquet::{cell}"]
    found = evaluated(
        "eqtl", tmp_path / "o", *given, "--labels", made / "truth/eqtls.parquet", "--layout",
        "synthetic-truth", "--only", cell, "--match", "tss-distance", "--score", "max-abs",
    )  # fmt: skip
    assert found[cell, "oracle"]["n_positive"] > 20
    assert found[cell, "oracle"]["value"] == 1
    assert found[cell, "noise"]["ci_low"] < 0.5 < found[cell, "noise"]["ci_high"]


def test_true_effects_tell_the_direction_without_error(
    made: Path, tables: tuple[str, ...], tmp_path: Path
) -> None:
    found = evaluated(
        "direction", tmp_path / "o", *tables, "--labels", made / "truth/eqtls.parquet", "--layout",
        "synthetic-truth", "--min-variants", 20,
    )  # fmt: skip
    for cell in CAGE:
        assert found[cell, "oracle"]["value"] == 1
        assert found[cell, "noise"]["ci_low"] < 0.5 < found[cell, "noise"]["ci_high"]


@pytest.mark.parametrize("name", ["enhancers", "enhancers_decoys"])
def test_true_losses_tell_enhancers_without_error(made: Path, tmp_path: Path, name: str) -> None:
    table = made / f"truth/{name}.tsv"
    pairs = pl.read_csv(table, separator="\t").filter(CellType="beta")
    dice = np.random.default_rng(0)
    keys = pairs.select("chrom", "chromStart", "chromEnd", "measuredGeneSymbol")
    keys.with_columns(
        loss=-pairs["EffectSize"], noise=pl.Series(dice.normal(size=pairs.height))
    ).unique(keys.columns, keep="first").write_parquet(tmp_path / "scores.parquet")
    found = evaluated(
        "enhancers", tmp_path / "o", "--pairs", table, "--cell-type", "beta", "--external",
        f"of={tmp_path}/scores.parquet",
    )  # fmt: skip
    best, noise = (found["all pairs", f"of {score}"] for score in ("loss", "noise"))
    assert best["n_positive"] > 10
    assert best["value"] == 1
    assert noise["ci_low"] < 0.5 < noise["ci_high"]
