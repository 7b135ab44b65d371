"""From a made-up genome and a model to evaluations: runs are joined by their alleles."""

from pathlib import Path

import effect_jobs as jobs
import numpy as np
import polars as pl
import pytest

from cisray.dataset.synthetic import SyntheticSettings
from cisray.dataset.synthetic.generate import write_synthetic
from cisray.store.scan import Run

SETTINGS = SyntheticSettings(
    seed=8, chromosomes={"chr1": 40_000, "chr2": 18_009}, individuals=60, variants_per_locus=20
)
RULES = ("--layout", "synthetic-truth", "--z-same-gene", 0.5, "--z-genome-wide", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "genome"
    write_synthetic(folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def run(made: Path) -> Run:
    model = jobs.write_model(made.parent / "m.safetensors")
    fasta, vcf = made / "genome.fa", made / "variants.vcf.gz"
    return jobs.score("variants", made.parent / "run", "--model", model, "--fasta", fasta,
                      "--vcf", vcf)  # fmt: skip


def evaluate(kind: str, made: Path, out: Path, *more: object) -> Path:
    labels = ("--labels", made / "truth/eqtls.parquet", "--run", f"m={made.parent}/run")
    assert jobs.command("evaluate", kind, *labels, "--out", out, *more) == 0
    return out


def scores_by_hand(run: Run) -> pl.DataFrame:
    scan = run.scan(stats="SAD").collect()
    values = scan.select(pl.selectors.starts_with("SAD_")).to_numpy().astype(np.float64)
    return scan.select("id", "chrom", "pos").with_columns(mean=pl.Series(values.mean(axis=1)))


@pytest.mark.long
def test_causal_variants_and_their_scores_meet(made: Path, run: Run, tmp_path: Path) -> None:
    out = evaluate("eqtl", made, tmp_path / "o", *RULES, "--score", "max-abs")
    rows = pl.read_parquet(out / "rows.parquet").filter(status="used")
    truth = pl.read_parquet(made / "truth/eqtls.parquet").join(
        pl.read_parquet(made / "truth/variants.parquet"), on="id"
    )
    causal = truth.filter(pl.col("true_beta") != 0).select("cell", "chrom", "pos").unique()
    positives = rows.filter("positive").select("tissue", "chrom", "pos")
    assert positives.height > 8
    assert positives.join(causal, left_on=positives.columns, right_on=causal.columns).height == (
        positives.height
    )
    negatives = rows.filter(~pl.col("positive")).select("tissue", "chrom", "pos")
    assert not negatives.join(causal, left_on=negatives.columns, right_on=causal.columns).height
    scan = run.scan(stats="SAD").collect()
    values = scan.select(pl.selectors.starts_with("SAD_")).to_numpy().astype(np.float64)
    used = scan.select("chrom", "pos").cast({"chrom": pl.String}).with_row_index("at").join(
        rows.select("chrom", pl.col("pos").cast(pl.Int32)).unique(), on=["chrom", "pos"]
    )["at"].to_numpy()  # fmt: skip
    scale = np.sqrt((values[used] ** 2).mean(axis=0))
    by_hand = dict(
        zip(
            scan.select("chrom", "pos").iter_rows(), np.abs(values / scale).max(axis=1), strict=True
        )
    )
    for chrom, pos, score in rows.select("chrom", "pos", "score m").iter_rows():
        assert score == pytest.approx(by_hand[chrom, pos], rel=1e-5)


def test_random_weights_know_no_direction(made: Path, run: Run, tmp_path: Path) -> None:
    matching = tmp_path / "matching.tsv"
    matching.write_text("tissue\tquery\nalpha\t0-4\nbeta\t1\n")
    more = ("--layout", "synthetic-truth", "--matching", matching, "--min-variants", 10)
    out = evaluate("direction", made, tmp_path / "o", *more)
    metrics = pl.read_parquet(out / "metrics.parquet").filter(task="alpha", metric="auroc")
    real = metrics.filter(control="").row(0, named=True)
    assert real["ci_low"] < 0.5 < real["ci_high"]
    rows = pl.read_parquet(out / "rows.parquet").filter(tissue="alpha", status="used")
    by_hand = scores_by_hand(run)
    both = rows.join(by_hand.with_columns(pl.col("chrom").cast(pl.String), pl.col("pos").cast(
        pl.Int64)), on=["chrom", "pos"], maintain_order="left")  # fmt: skip
    np.testing.assert_allclose(both["score m"], both["mean"], rtol=1e-5, atol=1e-7)
    matches = pl.read_parquet(out / "matches.parquet")
    assert matches.group_by("tissue", maintain_order=True).len().rows() == [
        ("alpha", 5),
        ("beta", 1),
    ]


@pytest.mark.long
def test_exchanged_labels_are_turned(made: Path, run: Run, tmp_path: Path) -> None:
    """With ref and alt, and the sign of effects, exchanged in the labels nothing changes."""
    folder = tmp_path / "turned"
    folder.mkdir()
    eqtls = pl.read_parquet(made / "truth/eqtls.parquet")
    eqtls.with_columns(-pl.col("beta", "true_beta")).write_parquet(folder / "eqtls.parquet")
    variants = pl.read_parquet(made / "truth/variants.parquet")
    variants.rename({"ref": "alt", "alt": "ref"}).write_parquet(folder / "variants.parquet")
    matching = tmp_path / "matching.tsv"
    matching.write_text("tissue\tquery\nalpha\t0\nbeta\t1\n")
    more = ("--layout", "synthetic-truth", "--matching", matching, "--min-variants", 10)
    plain = evaluate("direction", made, tmp_path / "a", *more)
    labels = ("--labels", folder / "eqtls.parquet")
    turned = evaluate("direction", made, tmp_path / "b", *more, *labels)
    one, other = (pl.read_parquet(at / "metrics.parquet") for at in (plain, turned))
    keys = {"task": "alpha", "metric": "auroc", "control": ""}
    value = one.filter(**keys)["value"][0]
    assert value == pytest.approx(other.filter(**keys)["value"][0])
    assert value != 0.5
