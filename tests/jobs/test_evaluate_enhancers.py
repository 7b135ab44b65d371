"""From a table of CRISPRi pairs and a model to numbers, by the command line."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cisray_jobs.evaluation_output import read_metrics, read_record

HEADER = "chrom\tchromStart\tchromEnd\tmeasuredGeneSymbol\tstartTSS\tendTSS\tRegulated\tCellType\n"
GENES = {"A": 2_500, "B": 4_800, "C": 6_600}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 elements of three genes on a chromosome of 9,000 bases, and four that cannot count."""
    dice, rows = np.random.default_rng(8), []
    for gene, tss in GENES.items():
        for _ in range(20):
            start = int(dice.integers(100, 8_400))
            regulated = str(bool(dice.random() < 0.4)).upper()
            rows.append(("A", start, start + 301, gene, tss, tss + 1, regulated, "K562"))
    rows.append(("A", 8_900, 9_001, "A", 2_500, 2_501, "TRUE", "K562"))
    rows.append(("Z", 100, 200, "D", 900, 901, "TRUE", "K562"))
    rows.append(("A", 100, 200, "E", 9_000, 9_001, "TRUE", "K562"))
    rows.append(("A", 100, 200, "A", 2_500, 2_501, "NA", "K562"))
    rows.append(rows[0])  # of another screen
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text(HEADER + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def evaluate(inputs, table: Path, out: Path, *more: object) -> tuple[str, ...]:
    model = ("--model", inputs.model, "--fasta", inputs.fasta, "--tracks", "CAGE")
    small = ("--element-bp", 300, "--samples", 1, "--bootstraps", 20, "--threads", 1)
    given = ("--pairs", table, "--out", out, *model, *small, "--edges", 0, "--edges", 1_000)
    return tuple(map(str, ("evaluate", "enhancers", *given, *more)))


LEFT_OUT = {
    "TSS beyond its chromosome": 1,
    "chromosome not in the FASTA": 1,
    "element beyond its chromosome": 1,
    "no label": 1,
}


def test_pairs_in_are_pairs_used_and_pairs_left_out(cisray, inputs, table, tmp_path) -> None:
    out = tmp_path / "e"
    told = cisray(*evaluate(inputs, table, out, "--name", "tiny"))
    assert told.code == 0, told.err
    assert read_record(out)["rows"] == {"read": 65, "used": 61, "left out": LEFT_OUT}
    assert "65 read = 61 used + 4 not" in told.out
    scores = pl.read_parquet(out / "pair_scores.parquet")
    assert scores["row"].to_list() == [row for row in range(1, 66) if row != 64]
    first, last = scores.row(0, named=True), scores.row(-1, named=True)
    assert {**first, "row": 0} == {**last, "row": 0}
    middle = (scores["start"] + 150).to_list()
    for row, at in zip(scores.iter_rows(named=True), middle, strict=True):
        if not row["reason"]:
            # 4,096 bases of the window: 2,047 before the TSS, 2,048 after it.
            tss = GENES[row["gene"]]
            first_base, last_base = at - 149, at + 150
            outside = last_base < tss - 2_047 or first_base > tss + 2_048
            assert (row["reach"] == "none") is outside
            assert row["distance_bp"] == abs(at - tss)
            assert (row["gradient"] == 0) is outside
    metrics = read_metrics(out).to_pylist()
    assert {m["stratum"] for m in metrics} == {"all", "0-1 kb", "1 kb and more"}
    names = {"tiny gradient", "tiny attention", "tiny mutagenesis", "distance", "random"}
    assert {m["scores"] for m in metrics} == names
    assert (out / "enhancers.png").stat().st_size > 5_000
    first_record = (out / "evaluation.json").read_bytes()
    assert cisray(*evaluate(inputs, table, out, "--name", "tiny")).code == 0
    assert (out / "evaluation.json").read_bytes() == first_record


def test_scores_of_one_model_stand_beside_another(cisray, inputs, table, tmp_path) -> None:
    assert cisray(*evaluate(inputs, table, tmp_path / "a")).code == 0
    kept = tmp_path / "a" / "pair_scores.parquet"
    out = tmp_path / "b"
    more = ("--external", f"other={kept}", "--cell-type", "K562")
    told = cisray(*evaluate(inputs, table, out, *more))
    assert told.code == 0, told.err
    found = {
        (m["scores"], m["stratum"], m["metric"]): m["value"] for m in read_metrics(out).to_pylist()
    }
    for score in ("gradient", "attention", "mutagenesis"):
        assert found[f"other {score}", "all", "auprc"] == found[f"model {score}", "all", "auprc"]


def test_a_bed_of_starts_gives_the_main_tss(cisray, inputs, table, tmp_path) -> None:
    bed, out = tmp_path / "tss.bed", tmp_path / "e"
    bed.write_text("A\t2400\t2601\tA\nchrA\t2900\t2901\tA\nA\t4800\t4801\tB\nQ\t1\t2\tC\n")
    assert cisray(*evaluate(inputs, table, out, "--tss", bed)).code == 0
    scores = pl.read_parquet(out / "pair_scores.parquet")
    assert set(scores.filter(pl.col("gene") == "A")["main_tss"]) < {2_500, 2_900}
    reasons = scores.filter(pl.col("gene") == "C")["reason"].unique().to_list()
    assert reasons == ["gene without a TSS"]
    assert read_record(out)["settings"]["distance"] == "main TSS"


def test_bad_input_is_told_in_one_paragraph(cisray, inputs, table, tmp_path) -> None:
    out = tmp_path / "e"
    cisray("evaluate", "enhancers", "--pairs", table, "--out", out, "--tracks", "CAGE"
           ).assert_one_paragraph("--tracks is for --model")  # fmt: skip
    cisray("evaluate", "enhancers", "--pairs", table, "--out", out, "--model", inputs.model
           ).assert_one_paragraph("give --fasta")  # fmt: skip
    cisray(*evaluate(inputs, table, out, "--tracks", "nothing")).assert_one_paragraph("nothing")
    cisray(*evaluate(inputs, table, out, "--bins", 2)).assert_one_paragraph("give an odd number")
    assert not out.exists()


@pytest.mark.realdata
def test_baselines_of_the_published_pairs(cisray, shared, tmp_path) -> None:
    pairs = next((shared / "data" / "crispri").glob("EPCrisprBenchmark*.tsv.gz"))
    out = tmp_path / "e"
    given = ("--pairs", pairs, "--out", out, "--bootstraps", 20, "--control")
    told = cisray("evaluate", "enhancers", *given)
    assert told.code == 0, told.err
    rows = read_record(out)["rows"]
    assert rows["read"] == 10_356 == rows["used"] + sum(rows["left out"].values())
    found = {
        (m["scores"], m["metric"], m["control"]): m
        for m in read_metrics(out).to_pylist()
        if m["stratum"] == "all"
    }
    # Enhancers are near: distance and activity say much, a random score the share of positives.
    assert found["H3K27ac/distance", "auprc", ""]["value"] > 0.4
    assert found["distance", "auprc", ""]["value"] > 0.35
    random = found["random", "auroc", ""]
    assert random["ci_low"] < 0.5 < random["ci_high"]
    control = found["distance", "auroc", "shuffled labels"]
    assert control["ci_low"] < 0.5 < control["ci_high"]


@pytest.mark.realdata
def test_a_model_of_random_weights_is_at_chance_within_reach(
    cisray, inputs, shared, tmp_path
) -> None:
    """Pairs of chr20 in hg19 coordinates, on the whole chromosome."""
    source = shared / "data" / "chr20_hg38" / "crispri_ep_pairs_chr20.tsv"
    frame = pl.read_csv(source, separator="\t")
    names = {"chromStart": "chromStart_hg19", "chromEnd": "chromEnd_hg19"}
    names["startTSS"] = "startTSS_hg19"
    lifted = frame.with_columns(**{name: pl.col(column) for name, column in names.items()})
    path, out = tmp_path / "pairs.tsv", tmp_path / "e"
    lifted.with_columns(endTSS=pl.col("startTSS") + 1).write_csv(path, separator="\t")
    fasta = shared / "data" / "chr20_hg19" / "hg19_chr20.whole.fa.gz"
    model = ("--model", inputs.model, "--fasta", fasta, "--tracks", "CAGE", "--threads", 1)
    given = ("--pairs", path, "--out", out, "--bootstraps", 50, *model)
    assert cisray("evaluate", "enhancers", *given).code == 0
    rows = read_record(out)["rows"]
    assert rows == {"read": 246, "used": 233, "left out": {"no coordinates or gene": 13}}
    scores = pl.read_parquet(out / "pair_scores.parquet")
    assert set(scores["reach"]) >= {"none", "part"}
    assert scores.filter(pl.col("reach") == "none")["mutagenesis"].unique().to_list() == [0]
