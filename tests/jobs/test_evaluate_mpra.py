"""From a raw table of a reporter assay to numbers, by the command line."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from cisray_jobs.evaluation_output import read_metrics, read_record

BASES = "ACGT"
FIRST = 4_000
HEADER = "Chrom\tPos\tRef\tAlt\tBarcodes\tDNA\tRNA\tCoefficient\tpValue\tElement\tRelease\n"


@pytest.fixture(scope="module")
def table(inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every substitution of 30 bases, 3 deletions, and rows of each way to be left out."""
    text = "".join(inputs.fasta.read_text().split(">")[1].split("\n")[1:])
    dice, rows = np.random.default_rng(5), []
    for pos in range(FIRST, FIRST + 30):
        ref = text[pos - 1]
        rows += [(pos, ref, alt, 20) for alt in BASES if alt != ref]
        rows += [(pos, ref, "-", 20)] if pos % 10 == 0 else []
    rows.append((FIRST, text[FIRST - 1], BASES.replace(text[FIRST - 1], "")[0], 9))
    wrong = BASES.replace(text[FIRST - 1], "")
    rows.append((FIRST, wrong[0], wrong[1], 20))
    lines = [
        f"A\t{pos}\t{ref}\t{alt}\t{count}\t1\t1\t{dice.normal()}\t0.5\tE\tGRCh38\n"
        for pos, ref, alt, count in rows
    ]
    path = tmp_path_factory.mktemp("assay") / "assay.tsv"
    path.write_text(HEADER + "".join(lines))
    return path


LEFT_OUT = {"fewer than 10 barcodes": 1, "reference mismatch": 1}


@pytest.fixture(scope="module")
def run(inputs, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the variants of the table, but for those of the last three bases."""
    from cisray_jobs import cli

    folder = tmp_path_factory.mktemp("run")
    vcf, out = folder / "assay.vcf", folder / "run"
    of_assay = ("--table", table, "--fasta", inputs.fasta, "--out", vcf)
    assert cli.run(list(map(str, ("evaluate", "mpra-variants", *of_assay)))) == 0
    lines = vcf.read_text().splitlines(keepends=True)
    assert sum(not line.startswith("#") for line in lines) == 93
    vcf.write_text("".join(lines[:-9]))
    scored = ("--model", inputs.model, "--fasta", inputs.fasta, "--vcf", vcf, "--out", out)
    more = ("--bins", 4, "--stats", "SAD,logSAD", "--workers", 0, "--threads", 1, "--quiet")
    assert cli.run(list(map(str, ("score", "variants", *scored, *more)))) == 0
    return out


def evaluate(inputs, table: Path, run: Path, out: Path, *more: object) -> tuple[str, ...]:
    given = ("--table", table, "--fasta", inputs.fasta, "--run", f"tiny={run}", "--out", out)
    return tuple(map(str, ("evaluate", "mpra", *given, *more)))


def test_rows_in_are_rows_used_and_rows_left_out(cisray, inputs, table, run, tmp_path) -> None:
    out = tmp_path / "e"
    options = ("--train-share", 0.5, "--block-bp", 3)
    told = cisray(*evaluate(inputs, table, run, out, *options))
    assert told.code == 0, told.err
    record = read_record(out)
    assert record["rows"] == {
        "read": 95, "used": 84, "left out": {"tiny: not in run": 9, **LEFT_OUT},
    }  # fmt: skip
    assert "95 read = 84 used + 11 not" in told.out
    assert record["settings"]["bins"] == {"tiny": [6, 10]}
    rows = pl.read_parquet(out / "variants.parquet")
    assert rows.height == 95
    metrics = {(m["scores"], m["folds"]): m for m in read_metrics(out).to_pylist()}
    used = rows.filter(pl.col("left_out") == "")
    r = stats.pearsonr(used["effect"], used["tiny all PC1"]).statistic
    assert metrics["tiny all PC1", ""]["value"] == pytest.approx(r)
    test = used.filter(~pl.col("train, shuffled"))
    assert metrics["tiny lasso", "shuffled"]["n"] == test.height == 42
    assert (out / "mpra.png").stat().st_size > 5_000
    # The same again reads what is there; other settings are refused.
    first = (out / "evaluation.json").read_bytes()
    assert cisray(*evaluate(inputs, table, run, out, *options)).code == 0
    assert (out / "evaluation.json").read_bytes() == first
    refused = cisray(*evaluate(inputs, table, run, out, "--seed", 1))
    refused.assert_one_paragraph("seed 0 there, 1 now", code=refused.code)


def test_without_named_tracks_the_others_are_compared(cisray, inputs, table, run, tmp_path) -> None:
    for name in ("a", "b"):
        assert cisray(*evaluate(inputs, table, run, tmp_path / name)).code == 0
    told = cisray("evaluate", "compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    assert told.code == 0, told.told
    rows = pl.read_parquet(tmp_path / "c" / "comparisons.parquet").filter(task="E", folds="")
    found = {row["first"]: row for row in rows.iter_rows(named=True)}
    assert found["tiny matched PC1"]["difference"] is None
    assert found["tiny matched PC1"]["test"] == "none"
    assert found["tiny all PC1"]["difference"] == 0
    assert found["tiny all PC1"]["test"] != "none"


def test_features_of_other_bins_than_the_published_are_told(
    cisray, inputs, table, run, tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cisray(*evaluate(inputs, table, run, tmp_path / "four")).code == 0
    assert "those of the paper" not in caplog.text
    vcf, other = run.parent / "assay.vcf", tmp_path / "run"
    scored = ("--model", inputs.model, "--fasta", inputs.fasta, "--vcf", vcf, "--out", other)
    more = ("--stats", "SAD", "--workers", 0, "--threads", 1, "--quiet")
    assert cisray("score", "variants", *scored, *more).code == 0
    assert cisray(*evaluate(inputs, table, other, tmp_path / "all")).code == 0
    assert "run tiny are of 16 bins, those of the paper of 4" in caplog.text


def test_scores_meet_the_effects_of_their_own_variants(
    cisray, inputs, table, run, tmp_path
) -> None:
    """Effects that are a track's own SAD are found again, deletions included."""
    from cisray import open_run

    scores = open_run(run).scan(stats="SAD", tracks="3").collect()
    by_source = {
        (row["source_pos"], row["source_ref"], row["source_alt"]): row["SAD_t0003"]
        for row in scores.iter_rows(named=True)
    }
    frame = pl.read_csv(table, separator="\t").filter(pl.col("Barcodes") >= 10)
    text = "".join(inputs.fasta.read_text().split(">")[1].split("\n")[1:])
    effects = []
    for pos, ref, alt in frame.select("Pos", "Ref", "Alt").iter_rows():
        before = text[pos - 2]
        key = (pos - 1, before + ref, before) if alt == "-" else (pos, ref, alt)
        effects.append(by_source.get(key))
    path, out = tmp_path / "own.tsv", tmp_path / "e"
    told = frame.with_columns(Coefficient=pl.Series(effects) * 1e3)
    told.write_csv(path, separator="\t", null_value="NA")
    external = tmp_path / "other.csv"
    asked = frame.filter(pl.col("Alt") != "-").select(
        chrom=pl.lit("chrA"), pos="Pos", ref="Ref", alt="Alt", score=pl.col("Pos") * 1.0
    )
    asked.write_csv(external)
    matching = tmp_path / "matching.tsv"
    matching.write_text("element\ttracks\nE\t3\n")
    more = ("--matching", matching, "--external", f"other={external}", "--block-bp", 3)
    answer = cisray(*evaluate(inputs, path, run, out, *more))
    assert answer.code == 0, answer.err
    metrics = {(m["scores"], m["folds"]): m["value"] for m in read_metrics(out).to_pylist()}
    assert abs(metrics["tiny matched PC1", ""]) == pytest.approx(1, abs=1e-6)
    assert read_record(out)["rows"]["left out"]["other: not in table"] == 3
    rows = pl.read_parquet(out / "variants.parquet").filter(pl.col("left_out") == "")
    assert metrics["other", ""] == pytest.approx(
        stats.pearsonr(rows["effect"], rows["pos"]).statistic
    )


def test_bad_input_is_told_in_one_paragraph(cisray, inputs, table, run, tmp_path) -> None:
    out = tmp_path / "e"
    cisray(*evaluate(inputs, table, run, out, "--run", f"tiny={run}")).assert_one_paragraph(
        "two scores are called tiny"
    )
    cisray(*evaluate(inputs, table, run, out, "--external", "x")).assert_one_paragraph(
        "x is no file"
    )
    cisray(*evaluate(inputs, table, run, out, "--min-scored", 0.95)).assert_one_paragraph(
        "only 84 of 93 alleles have scores in tiny"
    )
    cisray(*evaluate(inputs, table, run, out, "--train-column", "Set")).assert_one_paragraph(
        "lacks the columns Set"
    )
    assert not out.exists()


def test_a_given_split_is_kept(cisray, inputs, table, run, tmp_path) -> None:
    frame = pl.read_csv(table, separator="\t")
    part = ["train" if row % 2 else "test" for row in range(frame.height)]
    path, out = tmp_path / "parted.tsv", tmp_path / "e"
    part[0] = "other"
    frame.with_columns(pl.Series("Set", part)).write_csv(path, separator="\t")
    answer = cisray(*evaluate(inputs, path, run, out, "--train-column", "Set", "--block-bp", 3))
    assert answer.code == 0, answer.err
    rows = pl.read_parquet(out / "variants.parquet")
    used = rows.filter(pl.col("left_out") == "")
    assert used["train, given"].to_list() == [part[row - 1] == "train" for row in used["row"]]
    assert rows["left_out"][0] == "neither train nor test"
    assert {m["folds"] for m in read_metrics(out).to_pylist()} == {"", "given"}


@pytest.mark.long
@pytest.mark.realdata
def test_a_model_of_random_weights_is_at_chance_on_hnf4a(cisray, inputs, shared, tmp_path) -> None:
    """The published table, deletions included, on the assembly that the whole chromosome has."""
    assay = shared / "data" / "chr20_hg38" / "mpra_satmut_HNF4A.tsv"
    fasta = shared / "data" / "chr20_hg19" / "hg19_chr20.whole.fa.gz"
    vcf, run, out = tmp_path / "a.vcf", tmp_path / "run", tmp_path / "e"
    on = ("--table", assay, "--fasta", fasta, "--release", "GRCh37")
    assert cisray("evaluate", "mpra-variants", *on, "--out", vcf).code == 0
    scored = ("--model", inputs.model, "--fasta", fasta, "--vcf", vcf, "--out", run)
    more = ("--bins", 4, "--stats", "SAD", "--workers", 0, "--threads", 1, "--quiet")
    assert cisray("score", "variants", *scored, *more).code == 0
    answer = cisray("evaluate", "mpra", *on, "--run", f"tiny={run}", "--out", out)
    assert answer.code == 0, answer.err
    rows = read_record(out)["rows"]
    assert rows == {
        "read": 1954, "used": 931,
        "left out": {"other release": 977, "fewer than 10 barcodes": 46},
    }  # fmt: skip
    for metric in read_metrics(out).to_pylist():
        if metric["value"] is not None and metric["task"] == "HNF4A":
            assert metric["ci_low"] < 0.15
            assert metric["ci_high"] > -0.15
            assert 0.05 < metric["ci_high"] - metric["ci_low"] < 0.5
