"""From runs of variants to backgrounds and to calibrated scores, by the command line."""

from pathlib import Path

import effect_jobs as jobs
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from scipy import stats

from cisray.store.scan import Run
from cisray_jobs.evaluation_output import read_metrics, read_record
from cisray_schemas import CALIBRATIONS

FIRST, EVERY = 200, 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome, a model, and a VCF of 120 substitutions with frequencies, one of them rejected."""
    folder = tmp_path_factory.mktemp("made")
    dice = np.random.default_rng(6)
    text = "".join(dice.choice(list("ACGT"), 1_500))
    jobs.write_genome(folder / "g.fa", {"chr1": text, "chr2": text[::-1]})
    jobs.write_model(folder / "m.safetensors")
    lines = [jobs.HEADER]
    for number in range(120):
        chrom, pos = f"chr{1 + number // 60}", FIRST + EVERY * (number % 60)
        base = (text if chrom == "chr1" else text[::-1])[pos - 1]
        ref = base if number != 7 else "ACGT"["ACGT".index(base) - 1]
        alt = "ACGT"["ACGT".index(base) - 2]
        af = {0: ".", 1: "0.04", 2: "0.96"}.get(number, f"{0.05 + 0.003 * number:.3f}")
        lines.append(f"{chrom}\t{pos}\tv{number}\t{ref}\t{alt}\t.\tPASS\tDP=3;AF={af};AFX=9\n")
    (folder / "v.vcf").write_text("".join(lines))
    return folder


def score(made: Path, out: Path, *more: object) -> Run:
    options = ("--model", made / "m.safetensors", "--fasta", made / "g.fa", "--vcf", made / "v.vcf")
    return jobs.score("variants", out, *options, "--stats", "SAD,D2", *jobs.EXACT, *more)


@pytest.fixture(scope="module")
def run(made: Path) -> Run:
    return score(made, made / "run")


def test_a_background_and_its_own_scores(cisray, made: Path, run: Run, tmp_path: Path) -> None:
    """Quantiles of 119 variants by their own background are their mid-ranks, uniform."""
    out, file = tmp_path / "c", tmp_path / "f.parquet"
    told = cisray("evaluate", "calibration", "--run", run.path, "--out", out)
    assert told.code == 0, told.err
    assert "119 read = 119 used + 0 not" in told.out
    rows = read_record(out)["rows"]
    assert rows == {"read": 119, "used": 119, "left out": {}, "rejects of the run": 1}
    table = pq.read_table(out / "calibration.parquet")
    assert table.schema.metadata[b"cisray.format"] == CALIBRATIONS.format.encode()
    assert read_metrics(out).num_rows == 0
    assert (out / "calibration.png").stat().st_size > 5_000
    for more, sizes in (((), False), (("--absolute",), True)):
        answer = cisray(
            "evaluate",
            "calibrate",
            run.path,
            "--background",
            out,
            "--out",
            file,
            "--overwrite",
            *more,
        )
        assert answer.code == 0, answer.err
        assert "no quantile is finer than 0.008" in answer.out
        found, scores = pl.read_parquet(file), run.scan(stats="SAD").collect()
        assert found["variant"].to_list() == scores["variant"].to_list()
        for track in run.tracks.columns:
            values = scores[f"SAD_{track}"].to_numpy().astype(np.float64)
            values = np.abs(values) if sizes else values
            ranks = (stats.rankdata(values) - 0.5) / len(values)
            assert found[f"SAD_q_{track}"].to_list() == pytest.approx(ranks.tolist(), abs=0.01)
            z = stats.zscore(values, ddof=1)
            assert found[f"SAD_z_{track}"].to_list() == pytest.approx(
                z.tolist(), rel=2e-4, abs=1e-5
            )
    again = cisray("evaluate", "calibration", "--run", run.path, "--out", out)
    assert again.code == 0
    other = cisray("evaluate", "calibration", "--run", run.path, "--out", out, "--statistic", "D2")
    other.assert_one_paragraph("statistic SAD there, D2 now")


def test_common_variants_are_those_of_the_vcf(cisray, made: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "c"
    options = ("--vcf", made / "v.vcf", "--min-maf", 0.05, "--max-maf", 0.3)
    told = cisray("evaluate", "calibration", "--run", run.path, "--out", out, *options)
    assert told.code == 0, told.err
    # AF of number n is 0.05 + 0.003 n: above 0.3 from 84 on, and 0.407 at 119.
    left = {
        "minor allele too common": 36,
        "minor allele too rare": 2,
        "not in the VCF with a frequency": 1,
    }
    rows = read_record(out)["rows"]
    assert rows["left out"] == left
    assert rows["used"] == 119 - 39
    used = pl.read_parquet(out / "variants.parquet").filter(status="used")["id"].to_list()
    assert set(used) == {f"v{n}" for n in range(3, 84) if n != 7}


def test_distances_are_matched_to_those_of_another_run(
    cisray, made: Path, run: Run, tmp_path: Path
) -> None:
    """Those of chr1 lie within 1 kb of its start, those of chr2 do not; 12 and 10 of the others."""
    few, genes, out = tmp_path / "few.vcf", tmp_path / "g.bed", tmp_path / "c"
    lines = (made / "v.vcf").read_text().splitlines(keepends=True)
    few.write_text(
        "".join(line for line in lines if line.startswith("#") or "\tv2" in line or "\tv10" in line)
    )
    other = score(made, tmp_path / "other", "--vcf", few)
    genes.write_text("chr1\t190\t191\tA\nchr2\t1400\t1401\tB\n")
    options = ("--match", other.path, "--starts", genes, "--fasta", made / "g.fa")
    told = cisray("evaluate", "calibration", "--run", run.path, "--out", out, *options)
    assert told.code == 0, told.err
    rows = pl.read_parquet(out / "variants.parquet")
    starts = {"chr1": 190, "chr2": 1_400}

    def near(frame: pl.DataFrame) -> int:
        return sum(
            abs(pos - 1 - starts[c]) < 1_000 for c, pos in frame.select("chrom", "pos").rows()
        )

    used, theirs = rows.filter(status="used"), other.variants.select("chrom", "pos").collect()
    assert 0 < near(theirs) < theirs.height
    assert near(used) / used.height == pytest.approx(near(theirs) / theirs.height, abs=0.02)
    # As many as can be: one of the two bins is used up.
    left = rows.filter(status="not drawn to match distances")
    assert near(left) in (0, left.height)


def test_a_selection_and_what_it_lacks(cisray, made: Path, run: Run, tmp_path: Path) -> None:
    table, out = tmp_path / "t.tsv", tmp_path / "c"
    chosen = run.variants.select("chrom", "pos", "ref", "alt").collect().head(20)
    absent = chosen.head(1).with_columns(pos=pl.lit(1, pl.Int32))
    pl.concat([chosen, absent]).write_csv(table, separator="\t")
    told = cisray("evaluate", "calibration", "--run", run.path, "--out", out, "--select", table)
    assert told.code == 0, told.err
    rows = read_record(out)["rows"]
    assert (rows["used"], rows["left out"]) == (20, {"not selected": 99})
    assert rows["selected alleles not in the run"] == 1


def test_rows_that_are_linked_are_calibrated_too(
    cisray, made: Path, run: Run, tmp_path: Path
) -> None:
    """A run that links to all scores of another has the same rows, in its background and file."""
    since = score(made, tmp_path / "since", "--since", run.path)
    assert since.links is not None
    files = []
    for one, name in ((run, "own"), (since, "linked")):
        out, file = tmp_path / name, tmp_path / f"{name}.parquet"
        assert cisray("evaluate", "calibration", "--run", one.path, "--out", out).code == 0
        told = cisray("evaluate", "calibrate", one.path, "--background", out, "--out", file)
        assert told.code == 0, told.err
        files.append(pl.read_parquet(file))
    assert files[0].height == 119
    assert files[1].equals(files[0])


def test_bad_input_is_told_in_one_paragraph(cisray, made: Path, run: Run, tmp_path: Path) -> None:
    out, file = tmp_path / "c", tmp_path / "f.parquet"
    making = ("evaluate", "calibration", "--run", run.path, "--out", out)
    cisray(*making, "--min-maf", 0.1).assert_one_paragraph("give --vcf")
    cisray(*making, "--statistic", "JS").assert_one_paragraph("has no statistic 'JS'")
    cisray(*making, "--match", run.path).assert_one_paragraph("--starts and --fasta together")
    table = tmp_path / "t.tsv"
    table.write_text("chrom\tpos\tref\nchr1\t5\tA\n")
    cisray(*making, "--select", table).assert_one_paragraph("lacks the columns alt")
    plain = tmp_path / "p.vcf"
    plain.write_text(jobs.HEADER + "chr1\t200\t.\tA\tC\t.\tPASS\tDP=3\n")
    cisray(*making, "--vcf", plain).assert_one_paragraph("has no AF in its INFO column")
    assert not out.exists()
    assert cisray(*making).code == 0
    telling = ("--background", out, "--out", file)
    grid = score(made, tmp_path / "grid", "--window-placement", "grid")
    cisray("evaluate", "calibrate", grid.path, *telling).assert_one_paragraph(
        "window_placement centered there, grid here"
    )
    file.write_text("")
    cisray("evaluate", "calibrate", run.path, *telling).assert_one_paragraph("exists already")
