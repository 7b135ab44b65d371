"""From a genome run, starts of genes and bigWig files to numbers, by the command line."""

import math
from pathlib import Path

import measured_genomes as made
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pybigtools
import pytest
from scipy import stats

from cisray_jobs.evaluation_output import read_metrics, read_record

LENGTHS = {"chrA": 9_000, "chrB": 3_000}
BIN = 128
TRACKS = ("t0003", "t0004", "t0007")
CHOSEN = ("--tracks", "3,4,7")
# 0-based bases. Two starts of B, and M, have bins side by side and in common; those of E leave the
# chromosome, as do those of one start of F; K is on two chromosomes.
STARTS = {
    "A": [("chrA", 640)], "B": [("chrA", 1_279), ("chrA", 1_536)], "C": [("chrA", 2_687)],
    "D": [("chrB", 1_500)], "E": [("chrA", 8_900)], "F": [("chrA", 5_000), ("chrB", 60)],
    "G": [("chrA", 4_096)], "H": [("chrA", 5_503)], "I": [("chrA", 7_000)], "J": [("chrB", 400)],
    "K": [("chrA", 3_300), ("chrB", 900)], "M": [("chrA", 1_664)],
}  # fmt: skip
USED = ("A", "B", "C", "D", "G", "H", "I", "J", "M")


@pytest.fixture(scope="module")
def run(inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cisray_jobs import cli

    out = tmp_path_factory.mktemp("run") / "genome"
    assert cli.run(list(inputs.options(out, "--quiet", "--mantissa-bits", 23))) == 0
    return out


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight bigWig files, summed, scaled or clipped; their chromosomes are called otherwise."""
    folder = tmp_path_factory.mktemp("measured")
    rows = []
    for track in range(8):
        dice = np.random.default_rng(track)
        entries = [
            (chrom.removeprefix("chr"), first, min(first + 10, bp), float(dice.gamma(1, 2)))
            for chrom, bp in LENGTHS.items()
            for first in range(0, bp, 10)
            if first % 70
        ]
        lengths = {name.removeprefix("chr"): bp for name, bp in LENGTHS.items()}
        made.write_bigwig(folder / f"{track}.bw", entries, lengths)
        more = {"scale": 2} if track == 4 else {"clip": 300} if track == 7 else {}
        rows.append({"file": f"{track}.bw", **more})
    return made.write_table(folder / "targets.txt", rows)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genes") / "genes.bed"
    lines = [
        f"{chrom}\t{base}\t{base + 1}\t{gene}\n"
        for gene, places in STARTS.items()
        for chrom, base in places
    ]
    path.write_text("".join(lines) + "chrA\t640\t641\tA\nchrZ\t5\t6\tL\n")
    return path


def evaluate(inputs, bed: Path, run: Path, out: Path, *more: object) -> tuple[str, ...]:
    given = ("--starts", bed, "--fasta", inputs.fasta, "--run", f"m={run}", "--out", out)
    small = ("--min-genes", 5, "--bootstraps", 20)
    return tuple(map(str, ("evaluate", "expression", *given, *small, *more)))


def predictions(run: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Every bin of a run, out of its Parquet files: (chrom, number of the bin) to values."""
    found = {}
    for path in (run / "data/tracks").rglob("*.parquet"):
        chrom = path.parent.name.removeprefix("chrom=")
        for row in pq.ParquetFile(path).read().to_pylist():
            found[chrom, row["start"] // BIN] = row
    return found


def bases_of(measured: Path, track: int, chrom: str) -> list[float]:
    with pybigtools.open(str(measured.parent / f"{track}.bw")) as file:
        values = file.values(chrom.removeprefix("chr"), 0, LENGTHS[chrom], fillna=0)
    return [float(value) for value in values]


def bins_of(measured: Path, track: str) -> dict[tuple[str, int], float]:
    """Every whole bin of a track, added up base by base, in float16 as training data have it."""
    number, found = int(track[1:]), {}
    for chrom, bp in LENGTHS.items():
        bases = bases_of(measured, number, chrom)
        for index in range(bp // BIN):
            total = sum(bases[index * BIN : (index + 1) * BIN]) * (2 if number == 4 else 1)
            total = min(total, 300) if number == 7 else total
            found[chrom, index] = float(np.float16(total))
    return found


def bins_around(gene: str) -> set[tuple[str, int]]:
    return {(chrom, base // BIN + side) for chrom, base in STARTS[gene] for side in (-1, 0, 1)}


def test_numbers_equal_those_of_plain_loops(cisray, inputs, bed, run, measured, tmp_path) -> None:
    out = tmp_path / "e"
    told = cisray(*evaluate(inputs, bed, run, out, "--targets", measured, *CHOSEN))
    assert told.code == 0, told.err
    predicted = predictions(run)
    sums = pl.read_parquet(out / "sums.parquet")
    metrics = {
        (m["task"], m["metric"], m["stratum"]): m["value"]
        for m in read_metrics(out).to_pylist()
        if not m["control"]
    }
    logs: dict[str, list[list[float]]] = {"m": [], "measured": []}
    bin_r = []
    for track in TRACKS:
        bins = bins_of(measured, track)
        x = [sum(predicted[place][track] for place in bins_around(gene)) for gene in USED]
        y = [sum(bins[place] for place in bins_around(gene)) for gene in USED]
        for name, values in (("m", x), ("measured", y)):
            rows = sums.filter(values=name)
            assert rows["gene"].to_list() == list(USED)
            assert rows[track].to_list() == pytest.approx(values, rel=1e-6)
            logs[name].append([math.log(1 + value) for value in values])
        r = stats.pearsonr(logs["m"][-1], logs["measured"][-1]).statistic
        assert metrics[track, "gene_pearson_r", "all"] == pytest.approx(r, abs=1e-6)
        pairs = [(predicted[place][track], value) for place, value in bins.items()]
        assert len(pairs) == 70 + 23
        bin_r.append(stats.pearsonr(*zip(*pairs, strict=True)).statistic)
        assert metrics[track, "bin_pearson_r", "all"] == pytest.approx(bin_r[-1], abs=1e-6)
    assert metrics["all tracks", "bin_pearson_r", "all"] == pytest.approx(np.mean(bin_r), abs=1e-6)
    x_TG, y_TG = (stats.zscore(logs[name], axis=1) for name in ("m", "measured"))
    of_genes = [stats.pearsonr(x_TG[:, g], y_TG[:, g]).statistic for g in range(len(USED))]
    told_genes = pl.read_parquet(out / "genes.parquet")
    assert told_genes["track_pearson_r m"].to_list() == pytest.approx(of_genes, abs=1e-4)
    assert metrics["all genes", "track_pearson_r", "all"] == pytest.approx(
        np.mean(of_genes), abs=1e-4
    )
    assert (out / "expression.png").stat().st_size > 5_000


def test_rows_in_are_rows_used_and_rows_left_out(
    cisray, inputs, bed, run, measured, tmp_path
) -> None:
    out = tmp_path / "e"
    options = ("--targets", measured, *CHOSEN, "--genes-only")
    told = cisray(*evaluate(inputs, bed, run, out, *options))
    assert told.code == 0, told.err
    rows = read_record(out)["rows"]
    left = {
        "bins beyond the end of the chromosome": 2,
        "gene on several chromosomes": 2,
        "another start of its gene is left out": 1,
        "chromosome not in the FASTA": 1,
        "same base as an earlier start of its gene": 1,
    }
    assert {key: rows[key] for key in ("read", "used", "left out")} == {
        "read": 17, "used": 10, "left out": left,
    }  # fmt: skip
    assert rows["genes"] == {"read": 13, "used": 9, "left out": 4}
    assert "17 read = 10 used + 7 not" in told.out
    status = dict(pl.read_parquet(out / "starts.parquet").select("line", "status").iter_rows())
    assert status[6] == "bins beyond the end of the chromosome"
    assert status[17] == "chromosome not in the FASTA"
    first = (out / "evaluation.json").read_bytes()
    assert cisray(*evaluate(inputs, bed, run, out, *options)).code == 0
    assert (out / "evaluation.json").read_bytes() == first
    refused = cisray(*evaluate(inputs, bed, run, out, *options, "--seed", 1))
    refused.assert_one_paragraph("seed 0 there, 1 now", code=refused.code)


def test_a_start_one_base_on_may_lie_in_the_next_bin(
    cisray, inputs, run, measured, tmp_path
) -> None:
    """1,279 is the last base of bin 9, 1,280 the first of bin 10: both sides move together."""
    for base, low in ((1_279, 8), (1_280, 9)):
        out, bed = tmp_path / f"e{base}", tmp_path / f"{base}.bed"
        bed.write_text(f"chrA\t{base}\t{base + 1}\tX\n")
        options = ("--targets", measured, *CHOSEN, "--genes-only")
        assert cisray(*evaluate(inputs, bed, run, out, *options)).code == 0
        predicted, bins = predictions(run), bins_of(measured, "t0003")
        sums = pl.read_parquet(out / "sums.parquet")
        mine, theirs = (sums.filter(values=name)["t0003"][0] for name in ("m", "measured"))
        places = [("chrA", low + side) for side in range(3)]
        assert mine == pytest.approx(sum(predicted[place]["t0003"] for place in places))
        assert theirs == pytest.approx(sum(bins[place] for place in places))


def test_regions_leave_out_starts_and_bins_that_are_not_whole_inside(
    cisray, inputs, bed, run, measured, tmp_path
) -> None:
    out, regions = tmp_path / "e", tmp_path / "r.bed"
    # Bins 4 to 11 of chrA (512 to 1,536), two regions that touch within bin 7, and a bit of bin 12.
    regions.write_text("A\t500\t1000\nchrA\t1000\t1600\n")
    options = ("--targets", measured, *CHOSEN, "--regions", regions)
    told = cisray(*evaluate(inputs, bed, run, out, *options))
    assert told.code == 0, told.err
    rows = read_record(out)["rows"]
    # A has bins 4 to 6; of B the second start reaches to bin 13.
    assert rows["genes"]["used"] == 1
    assert rows["bins"] == {"read": 8, "used": 8, "left out": {}}
    metrics = read_metrics(out).to_pylist()
    assert {m["n"] for m in metrics if m["metric"] == "bin_pearson_r"} == {8}
    assert {m["reason"] for m in metrics if m["metric"] == "gene_pearson_r"} == {
        "fewer than 5 genes"
    }


def test_regions_without_any_start_leave_numbers_of_bins(
    cisray, inputs, bed, run, measured, tmp_path
) -> None:
    out, regions = tmp_path / "e", tmp_path / "r.bed"
    regions.write_text("chrA\t7680\t8192\n")
    options = ("--targets", measured, *CHOSEN, "--regions", regions)
    told = cisray(*evaluate(inputs, bed, run, out, *options))
    assert told.code == 0, told.err
    rows = read_record(out)["rows"]
    assert (rows["used"], rows["genes"]["used"], rows["bins"]["used"]) == (0, 0, 4)
    reasons = {m["metric"]: m["reason"] for m in read_metrics(out).to_pylist() if not m["n"]}
    assert set(reasons.values()) == {"fewer than 5 genes"}


@pytest.fixture(scope="module")
def dataset(inputs, measured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples of 16 bins: two on the grid in the test set, one beside it."""
    from cisray_jobs import cli

    folder = tmp_path_factory.mktemp("dataset")
    # Targets begin 1,024 bp into inputs of 4,096.
    rows = [
        ("chrA", 0, 4_096, "test"),
        ("chrA", 3_968, 8_064, "test"),
        ("chrB", -960, 3_136, "test"),
    ]
    sequences = made.write_sequences(folder / "s.bed", rows)
    options = {
        "sequences": f"human={sequences}", "tracks": f"human={measured}",
        "fasta": f"human={inputs.fasta}", "input-bp": 4_096, "target-bins": 16,
        "out": folder / "d", "workers": 0,
    }  # fmt: skip
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    assert cli.run(["dataset", "build", *words, "--quiet"]) == 0
    return folder / "d"


def test_examples_of_a_dataset_are_measures_too(
    cisray, inputs, bed, run, measured, dataset, tmp_path
) -> None:
    """Their bins are those of the bigWig files; an example beside the grid is counted."""
    a, b = tmp_path / "a", tmp_path / "b"
    told = cisray(*evaluate(inputs, bed, run, a, "--dataset", dataset, *CHOSEN))
    assert told.code == 0, told.err
    rows = read_record(a)["rows"]
    assert rows["examples off the grid"] == 1
    assert rows["bins"] == {"read": 32, "used": 32, "left out": {}}
    regions = tmp_path / "r.bed"
    regions.write_text("chrA\t1024\t3072\nchrA\t4992\t7040\n")
    options = ("--targets", measured, *CHOSEN, "--regions", regions)
    assert cisray(*evaluate(inputs, bed, run, b, *options)).code == 0
    one, other = (pl.read_parquet(at / "sums.parquet") for at in (a, b))
    assert one.equals(other)
    assert one.filter(values="m")["gene"].to_list() == ["B", "C", "H", "M"]
    numbers = [
        [m["value"] for m in read_metrics(at).to_pylist() if m["metric"] == "bin_pearson_r"]
        for at in (a, b)
    ]
    assert numbers[0] == pytest.approx(numbers[1])


def test_another_s_predictions_stand_beside_on_the_same_genes(
    cisray, inputs, bed, run, measured, tmp_path
) -> None:
    """Predictions that are the measures themselves have R 1; genes that they lack are left out."""
    options = ("--targets", measured, *CHOSEN, "--genes-only")
    assert cisray(*evaluate(inputs, bed, run, tmp_path / "a", *options)).code == 0
    table, path, out = (
        pl.read_parquet(tmp_path / "a/sums.parquet"),
        tmp_path / "t.tsv",
        tmp_path / "b",
    )
    theirs = table.filter(values="measured").drop("values").filter(pl.col("gene") != "H")
    theirs = theirs.with_columns(
        pl.when(pl.col("gene") == "I").then(None).otherwise("t0003").alias("t0003")
    )
    renamed = theirs.rename({"t0004": "human_4", "t0007": "CAGE:random track 7"})
    renamed.sample(fraction=1, shuffle=True, seed=1).write_csv(path, separator="\t")
    told = cisray(*evaluate(inputs, bed, run, out, *options, "--external", f"other={path}"))
    assert told.code == 0, told.err
    left = read_record(out)["rows"]["left out"]
    assert (left["other: not in table"], left["other: no value"]) == (1, 1)
    metrics = [m for m in read_metrics(out).to_pylist() if m["metric"] == "gene_pearson_r"]
    own = [m for m in metrics if m["scores"] == "other" and not m["control"]]
    assert [m["value"] for m in own] == pytest.approx([1] * 4)
    assert {m["n"] for m in metrics} == {7}
    compared = pl.read_parquet(out / "comparisons.parquet").filter(metric="gene_pearson_r")
    mean = next(m["value"] for m in metrics if (m["task"], m["scores"]) == ("all tracks", "m"))
    assert compared["difference"].to_list() == pytest.approx([mean - 1])
    lacking = renamed.drop("human_4")
    lacking.write_csv(path, separator="\t")
    cisray(
        *evaluate(inputs, bed, run, tmp_path / "c", *options, "--external", f"other={path}")
    ).assert_one_paragraph("no column for the tracks t0004 (DNASE:random track 4)")


def test_genes_of_other_types_are_left_out_where_types_are_told(
    cisray, inputs, run, measured, tmp_path
) -> None:
    gtf = tmp_path / "g.gtf"
    gtf.write_text(
        "".join(
            f"A\tx\ttranscript\t{base}\t{base + 50}\t.\t+\t.\t"
            f'gene_id "{gene}"; gene_type "{kind}";\n'
            for gene, base, kind in (("A", 641, "protein_coding"), ("B", 2_000, "lncRNA"))
        )
    )
    options = ("--targets", measured, *CHOSEN, "--genes-only")
    for more, used in (
        ((), ["A"]),
        (("--gene-type", "lncRNA"), ["B"]),
        (("--gene-type", "all"), ["A", "B"]),
    ):
        out = tmp_path / f"e{len(used)}{used[0]}"
        told = cisray(*evaluate(inputs, gtf, run, out, *options, *more))
        assert told.code == 0, told.err
        assert pl.read_parquet(out / "genes.parquet")["gene"].to_list() == used


def test_masked_starts_are_left_out_and_blacklisted_bases_are_0(
    cisray, inputs, bed, run, measured, tmp_path
) -> None:
    out, unmappable, black = tmp_path / "e", tmp_path / "u.bed", tmp_path / "b.bed"
    # A tenth of bin 4 of chrA, which is of gene A alone; all bases around gene G.
    unmappable.write_text("chrA\t600\t640\n")
    black.write_text("chrA\t3900\t4300\n")
    options = ("--targets", measured, *CHOSEN, "--genes-only", "--unmappable", unmappable)
    told = cisray(*evaluate(inputs, bed, run, out, *options, "--blacklist", black))
    assert told.code == 0, told.err
    assert read_record(out)["rows"]["left out"]["unmappable"] == 1
    sums = pl.read_parquet(out / "sums.parquet").filter(values="measured")
    assert sums["gene"].to_list() == [gene for gene in USED if gene != "A"]
    # Bins 31 to 33 are 3,968 to 4,352; 20 bp beside the stretch count as well, up to 4,320.
    by_hand = sum(bases_of(measured, 3, "chrA")[4_320:4_352])
    assert sums.filter(gene="G")["t0003"][0] == pytest.approx(by_hand, rel=1e-3)


def test_bad_input_is_told_in_one_paragraph(cisray, inputs, bed, run, measured, tmp_path) -> None:
    out = tmp_path / "e"

    def refused(*more: object) -> None:
        options, *told = more[:-1], more[-1]
        cisray(*evaluate(inputs, bed, run, out, *options)).assert_one_paragraph(*told)

    refused("either --targets or --dataset")
    refused("--targets", measured, "--dataset", tmp_path, "either --targets or --dataset")
    refused("--targets", measured, "--run", f"m={run}", "two scores are called m")
    refused("--targets", measured, "--external", f"measured={bed}", "can be called measured")
    refused("--targets", measured, "--tracks", "CAGE:liver", "chooses no track")
    refused("--targets", measured, "--gene-type", "x", "does not say which type genes have")
    refused("--dataset", tmp_path, "--blacklist", bed, "--blacklist is for --targets")
    other = tmp_path / "other.fa"
    other.write_text(inputs.fasta.read_text().replace("A", "C", 5))
    refused("--targets", measured, "--fasta", other, "is not the genome of the run m")
    few = made.write_table(tmp_path / "few.txt", [{"file": measured.parent / "0.bw"}])
    refused("--targets", few, *CHOSEN, "none of the 3 chosen tracks is measured")
    short = {"A": 8_000, "B": 3_000}
    made.write_bigwig(tmp_path / "3.bw", [("A", 0, 10, 1.0)], short)
    rows = [{"file": tmp_path / "3.bw"} for _ in range(8)]
    wrong = made.write_table(tmp_path / "wrong.txt", rows)
    refused("--targets", wrong, *CHOSEN, "they are of different assemblies")
    negative = [{"file": measured.parent / "3.bw", "scale": -1} for _ in range(8)]
    minus = made.write_table(tmp_path / "minus.txt", negative)
    refused("--targets", minus, *CHOSEN, "log(1 + x) takes numbers above -1")
    assert not out.exists()


def test_a_run_that_lacks_places_is_told_tile_by_tile(
    cisray, inputs, bed, run, measured, tmp_path
) -> None:
    """A second run of part of the genome: all scores on the genes that both have."""
    part, out = tmp_path / "part", tmp_path / "e"
    on_b = ("--chromosomes", "chrB", "--quiet", "--mantissa-bits", 23)
    assert cisray(*inputs.options(part, *on_b)).code == 0
    options = ("--targets", measured, *CHOSEN, "--run", f"part={part}")
    told = cisray(*evaluate(inputs, bed, run, out, *options))
    assert told.code == 0, told.err
    rows = read_record(out)["rows"]
    assert rows["left out"]["part: not in the run"] == 10
    assert rows["bins"] == {"read": 23, "used": 23, "left out": {}}
    metrics = [m for m in read_metrics(out).to_pylist() if m["metric"] == "bin_pearson_r"]
    values = {(m["scores"], m["task"]): m["value"] for m in metrics}
    for track in TRACKS:
        assert values["part", track] == pytest.approx(values["m", track], abs=1e-5)
