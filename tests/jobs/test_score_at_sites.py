"""`cisray score variants --at`: rows at sites, against texts and a plain model.

The tiny model reads 4,096 bases and predicts 16 bins of 128, from base 1,024 of a window on.
"""

import copy
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pysam
import pytest
import torch
from polars.testing import assert_frame_equal

import cisray as library
from cisray.inference.fast.costs import effect_flops
from cisray.scoring.variants import VariantScorer
from cisray.store.run import ShardSink
from cisray.store.scan import Run, open_run
from cisray_jobs.effect_costs import ALTERNATE_FLOPS, WINDOW_FLOPS
from cisray_jobs.models import SIZES

BASES, CROP, BIN, BINS = 4096, 1024, 128, 16
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
EXACT = ("--mantissa-bits", 23, "--precision", "float32")


def texts_of(fasta: Path) -> dict[str, str]:
    records = (record.partition("\n") for record in fasta.read_text().split(">")[1:])
    return {name: text.replace("\n", "") for name, _, text in records}


def other(base: str) -> str:
    return base.translate(str.maketrans("ACGT", "CGTA"))


class Files:
    """Inputs: SNVs, an insertion and a deletion on two chromosomes, and sites around them."""

    def __init__(self, inputs, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder
        self.texts = texts_of(inputs.fasta)
        a, b = self.texts["chrA"], self.texts["chrB"]
        # An indel that is placed once: its bases differ from those beside them.
        cut = next(i for i in range(4_200, 4_300) if a[i] != a[i + 3] and a[i + 1] != a[i + 4])
        self.variants = [
            ("chrB", 1500, b[1499], other(b[1499])),
            ("chrA", 3001, a[3000], other(a[3000])),
            ("chrA", 8000, a[7999], other(a[7999])),  # no site is near
            ("chrA", 3001, a[3000], other(a[3000])),
            ("chrA", 3105, a[3104], other(a[3104])),
            ("chrA", cut + 1, a[cut : cut + 4], a[cut]),
            ("chrA", 3105, a[3104], a[3104] + other(a[3105]) + "CA" + other(a[3104])),
        ]
        self.vcf = folder / "v.vcf"
        lines = (
            "\t".join(map(str, (c, p, ".", r, v, ".", ".", "."))) for c, p, r, v in self.variants
        )
        self.vcf.write_text(HEADER + "".join(f"{line}\n" for line in lines))
        # The target of base 3,000 begins at 3,000 - 2,047 + 1,024 = 1,977 and ends at 4,025.
        self.sites = [
            ("chrA", 3000, 3001, "G1"),
            ("chrA", 1977, 1978, "first"),
            ("chrA", 1976, 1978, "out"),
            ("chrA", 4024, 4025, "last"),
            ("chrA", 4024, 4026, "beyond"),
            ("chrA", 2104, 2106, "border"),  # bin 0 ends at 2,105
            ("chrA", 2500, 3700, "wide, wide"),
            ("chrB", 1480, 1481, ""),
            ("chrA", 3000, 3001, "G1"),
            ("chrB", 0, 1, "far"),
        ]
        self.bed = folder / "sites.bed"
        self.write_bed(self.bed, self.sites, strands="+-")

    @staticmethod
    def write_bed(path: Path, sites: Iterable[tuple], strands: str = "+") -> Path:
        lines = [
            "\t".join(map(str, (*site, 0, strands[n % len(strands)])))
            for n, site in enumerate(sites)
        ]
        path.write_text("\n".join(["# chrom start end name", "", *lines]))
        return path

    def given(self, out: Path, *more: object) -> tuple[object, ...]:
        named = ("--model", self.inputs.model, "--fasta", self.inputs.fasta, "--vcf", self.vcf)
        run = ("--out", out, "--workers", 0, "--threads", 1, "--quiet")
        return ("score", "variants", *named, "--at", self.bed, *run, *more)


@pytest.fixture
def files(inputs, tmp_path: Path) -> Files:
    return Files(inputs, tmp_path)


class Texts:
    """A model called on strings, in float64."""

    def __init__(self, files: Files) -> None:
        self.texts = files.texts
        self.model = copy.deepcopy(library.load_model(files.inputs.model)).double()

    @torch.no_grad()
    def predict(self, text: str, start: int) -> np.ndarray:
        window = "".join(
            text[i] if 0 <= i < len(text) else "N" for i in range(start, start + BASES)
        )
        onehot = np.array([["ACGT".find(base) == i for i in range(4)] for base in window], float)
        return self.model(torch.from_numpy(onehot)[None], head="human")[0].numpy()

    def start(self, pos: int, placement: str) -> int:
        centred = pos - 1 - 2047
        if placement == "centered":
            return centred
        return min((BIN * k for k in range(-40, 120)), key=lambda at: (abs(at - centred), at))

    def sad(self, variant: tuple[str, int, str, str], start: int) -> np.ndarray:
        """Alternate minus reference of each bin, the alternate read from the same base on."""
        chrom, pos, ref, alt = variant
        text = self.texts[chrom]
        assert text[pos - 1 : pos - 1 + len(ref)] == ref
        edited = text[: pos - 1] + alt + text[pos - 1 + len(ref) :]
        return self.predict(edited, start) - self.predict(text, start)


def rows_of(run: Run) -> pl.DataFrame:
    return run.scan().sort("variant", "site").collect()


@pytest.mark.parametrize("placement", ["centered", "grid"])
def test_scores_are_those_of_text_in_the_bins_of_each_site(
    cisray, files: Files, tmp_path: Path, placement: str
) -> None:
    more = ("--stats", "SAD", "--indels", "left", "--window-placement", placement, *EXACT)
    answer = cisray(*files.given(tmp_path / "run", *more))
    assert answer.code == 0, answer.err
    frame, truth = rows_of(open_run(tmp_path / "run")), Texts(files)
    owed, seen = [], frame.select(pl.col("^SAD_t.*$")).to_numpy()
    for number, variant in enumerate(files.variants):
        start = truth.start(variant[1], placement)
        difference_NT = truth.sad(variant, start)
        borders = [start + CROP + BIN * n for n in range(BINS + 1)]
        for site, (chrom, first, end, _) in enumerate(files.sites):
            if chrom == variant[0] and borders[0] <= first and end <= borders[-1]:
                held = [n for n in range(BINS) if first < borders[n + 1] and end > borders[n]]
                owed.append((number, site, held, difference_NT[held].sum(axis=0)))
    assert frame.select("variant", "site").rows() == [row[:2] for row in owed]
    scale = np.abs([row[3] for row in owed]).max()
    np.testing.assert_allclose(seen, [row[3] for row in owed], rtol=1e-3, atol=1e-5 * scale)
    told = frame.select("chrom", "site_start", "site_end", "site_name").rows()
    assert told == [files.sites[row[1]] for row in owed]
    plan = open_run(tmp_path / "run").variants.sort("variant", "site").collect()
    bins = [list(range(f, f + n)) for f, n in plan.select("first_bin", "bins").iter_rows()]
    assert bins == [row[2] for row in owed]
    if placement == "centered":
        found = [(row[1], len(row[2])) for row in owed if row[0] == 1]
        assert found == [(0, 1), (1, 1), (3, 1), (5, 2), (6, 10), (8, 1)]


def test_entries_rows_and_sites_are_told(cisray, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "run"
    plan = json.loads(cisray(*files.given(out, "--plan", "--json")).out)
    words = cisray(*files.given(out, "--plan")).out
    done = json.loads(cisray(*files.given(out, "--json")).out)
    frame = rows_of(open_run(out))
    for told in (plan, done):
        assert (told["entries"], told["scored"], told["rows"]) == (7, 6, frame.height)
        assert told["rejected"] == {"no_site_in_reach": 1}
        assert told["sites"] == {"given": 10, "scored": frame["site"].n_unique()}
    # Base 3,000 twice: two windows of an allele each are on chrA at 3,104, with two alleles.
    assert (plan["windows"], plan["alternates"]) == (4, 5)
    assert f"sites       10, {frame['site'].n_unique()} with rows" in words
    assert "7: 6 scored, 1 rejected (1 no_site_in_reach)" in words
    assert "sites       10, " in cisray(*files.given(out)).out
    assert frame["variant"].n_unique() == 6
    (reject,) = open_run(out).rejects.collect().to_dicts()
    assert (reject["record"], reject["line"], reject["reason"]) == (2, 5, "no_site_in_reach")
    # 7,999 - 2,047 + 1,024 = 6,976, 0-based.
    assert "chrA:6,977-9,024" in reject["detail"]
    config = open_run(out).manifest.config
    assert (config["bins"], config["rows"]) == ("of the sites", frame.height)
    told = open_run(out).manifest.provenance["files"]
    assert Path(told["at"]["path"]).name == "sites.bed"
    assert len(told["at"]["sha256"]) == 64


@pytest.mark.parametrize("placement", ["centered", "grid"])
def test_a_plan_counts_the_bins_that_are_computed(
    cisray, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placement: str
) -> None:
    """In every window from the first to the last that a site of its rows is in, not all 16."""
    computed, whole = [], VariantScorer._compare
    few = [("chrA", 3000, 3001, "a"), ("chrA", 3500, 3700, "b"), ("chrB", 1480, 1481, "c")]
    bed = Files.write_bed(tmp_path / "few.bed", few)

    def compare(self, sites, *more):
        computed.extend((len(site.bins), len(list(site.variants))) for site in sites)
        return whole(self, sites, *more)

    def told(*more: object) -> dict:
        more = ("--window-placement", placement, "--self-check", "off", "--at", bed, *more)
        answer = cisray(*files.given(tmp_path / "run", *more, "--json"))
        assert answer.code == 0, answer.err
        return json.loads(answer.out)

    plan = told("--plan")
    monkeypatch.setattr(VariantScorer, "_compare", compare)
    told()
    alternates = sum(count for _, count in computed)
    assert (plan["windows"], plan["alternates"]) == (len(computed), alternates)
    mean = round(sum(bins * count for bins, count in computed) / alternates)
    most = max(bins for bins, _ in computed)
    assert mean < most < BINS
    costs = effect_flops(SIZES["tiny"], 8, mean)
    flops = alternates * (costs.alternate + ALTERNATE_FLOPS)
    # Windows on the grid share tokens, which costs less than passes of their own.
    flops += len(computed) * (costs.reference + WINDOW_FLOPS)
    if placement == "centered":
        assert plan["teraflop"] * 1e12 == pytest.approx(flops, rel=1e-9)
    else:
        assert plan["teraflop"] * 1e12 < flops
    # The most bins of a window, beside all of them: what is kept of it and of every alternate.
    wide = Files.write_bed(tmp_path / "wide.bed", [*few, ("chrA", 1980, 3960, "all of a target")])
    everywhere = told("--at", wide, "--plan", "--restart")
    assert everywhere["worker_bytes"] > plan["worker_bytes"]
    assert everywhere["estimated_seconds"] > plan["estimated_seconds"]
    # Of both strands, float64 means of 8 tracks: of a reference and an alternate for each row.
    rows = max(span.rows for span in open_run(tmp_path / "run").plan.spans.values())
    both = told("--rc", "--plan", "--restart")
    assert both["worker_bytes"] - plan["worker_bytes"] == 8 * 8 * most * 2 * rows


def test_duplicates_have_equal_scores_and_one_computation(
    cisray, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants, whole = [], VariantScorer._compare

    def compare(self, sites, *more):
        variants.extend(variant for site in sites for variant in site.variants)
        return whole(self, sites, *more)

    monkeypatch.setattr(VariantScorer, "_compare", compare)
    assert cisray(*files.given(tmp_path / "run", "--self-check", "off")).code == 0
    assert len(variants) == len(set(variants)) == 5
    frame = rows_of(open_run(tmp_path / "run"))
    values = pl.col("^S.*_t.*$")
    one, again = (frame.filter(variant=number) for number in (1, 3))
    assert_frame_equal(one.select("site", values), again.select("site", values))
    first, same = (frame.filter(pl.col("site") == site).select(values) for site in (0, 8))
    assert_frame_equal(first, same)


def test_neither_strands_nor_names_nor_order_change_a_score(
    cisray, files: Files, tmp_path: Path
) -> None:
    assert cisray(*files.given(tmp_path / "one", *EXACT)).code == 0
    turned = [(*site[:3], f"n{n}") for n, site in enumerate(files.sites)][::-1]
    bed = Files.write_bed(tmp_path / "turned.bed", turned, strands="-")
    assert cisray(*files.given(tmp_path / "two", "--at", bed, *EXACT)).code == 0
    one, two = (rows_of(open_run(tmp_path / name)) for name in ("one", "two"))
    back = two.with_columns((len(turned) - 1 - pl.col("site")).cast(pl.Int32).alias("site"))
    values = one.select(pl.col("^S.*_t.*$")).columns
    assert_frame_equal(
        one.select("variant", "site", *values),
        back.sort("variant", "site").select("variant", "site", *values),
    )


def test_an_interrupted_run_is_finished(
    cisray, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--rows-per-shard", 3, *EXACT)
    assert cisray(*files.given(tmp_path / "whole", *more)).code == 0
    written, write = [], ShardSink.write

    def stop(self, shard, *given, **named):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard)
        return write(self, shard, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ShardSink, "write", stop)
        assert cisray(*files.given(tmp_path / "run", *more)).code != 0
    assert len(written) == 2
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/data").rglob("*.parquet")}
    assert cisray(*files.given(tmp_path / "run", *more)).code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    one, two = (open_run(tmp_path / name) for name in ("whole", "run"))
    assert len(one.plan.spans) > 3
    assert_frame_equal(one.scan().collect(), two.scan().collect())
    # Other sites make another run.
    bed = Files.write_bed(tmp_path / "fewer.bed", files.sites[:-1])
    again = cisray(*files.given(tmp_path / "run", "--at", bed, *more))
    assert again.code == 0  # the site that is gone had no rows
    bed = Files.write_bed(tmp_path / "other.bed", [*files.sites[1:], files.sites[0]])
    cisray(*files.given(tmp_path / "run", "--at", bed, *more)).assert_one_paragraph(
        "plan_sha256", "--restart"
    )


def test_what_is_refused(cisray, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for bins in ("4", "all"):
        cisray(*files.given(out, "--bins", bins)).assert_one_paragraph("--at", "--bins")
    bed = Files.write_bed(tmp_path / "x.bed", [("chrA", 5, 6, "a"), ("chr9", 5, 6, "b")])
    cisray(*files.given(out, "--at", bed)).assert_one_paragraph(f"{bed}:4: ", "chr9")
    # 2,048 bases fit a centred target, and one of the grid only where that begins.
    for sites, words in (
        ([("chrA", 100, 2149, "wide")], ":3: the site chrA:101-2,149 of 2,049 bases"),
        ([("chrA", 5, 6, "a"), ("chrA", 0, 2049, "b"), ("chrA", 1, 2050, "c")], ":4: "),
    ):
        bed = Files.write_bed(tmp_path / "x.bed", sites)
        answer = cisray(*files.given(out, "--at", bed))
        answer.assert_one_paragraph(f"{bed}{words}", "2,048 bases")
    bed = Files.write_bed(tmp_path / "x.bed", [("chrA", 1, 2049, "a")])
    assert cisray(*files.given(out, "--at", bed, "--plan")).code == 0
    answer = cisray(*files.given(out, "--at", bed, "--plan", "--window-placement", "grid"))
    answer.assert_one_paragraph("multiples of 128")
    cisray(*files.given(out, "--strict")).assert_one_paragraph("v.vcf:5: no_site_in_reach")
    assert not out.exists()


def test_a_vcf_has_a_record_for_each_site(cisray, files: Files, tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "o.vcf.gz"
    assert cisray(*files.given(run, "--stats", "SAD", "--tracks", "0")).code == 0
    more = ("--format", "vcf", "--fasta", files.inputs.fasta, "--out", path)
    assert cisray("runs", "export", run, *more).code == 0
    frame = open_run(run).scan().collect()
    names = [
        (name or None) and name.replace(" ", "%20").replace(",", "%2C")
        for name in frame["site_name"]
    ]
    with pysam.VariantFile(str(path)) as records:
        told = [(r.pos, r.info["ENTRY"], r.info["SITE"], r.info.get("SITE_NAME")) for r in records]
    assert told == list(zip(frame["pos"], frame["variant"], frame["site"], names, strict=True))
    assert cisray("runs", "export", run, "--format", "hdf5", "--out", tmp_path / "o.h5").code == 0
