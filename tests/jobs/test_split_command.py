"""`cisray dataset split`: files that a newcomer gives, what is written, what is refused."""

import json
from pathlib import Path

import pytest

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_features

SIZES = {"human": {"chr1": 9_000, "chr2": 6_000}, "mouse": {"1": 8_000}}


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[object, ...]:
    options: list[object] = []
    for head, sizes in SIZES.items():
        fasta = tmp_path / f"{head}.fa"
        fasta.write_text(
            "".join(f">{name}\n{'ACGT' * (size // 4)}\n" for name, size in sizes.items())
        )
        options += ["--genome", f"{head}={fasta}"]
    net = tmp_path / "syn.net"
    net.write_text(
        "net chr1 9000\n fill 200 900 chr1 + 3000 800 id 1\n fill 5000 50 chr1 - 100 40 id 2\n"
        "net chr2 6000\n fill 0 700 chr1 - 7000 700 id 3\n"
    )
    gaps = tmp_path / "gaps.bed"
    gaps.write_text("chr1\t4000\t4100\n")
    options += ["--net", net, "--gaps", f"human={gaps}", "--input-bp", 256, "--region-bp", 1000]
    return ("dataset", "split", *options, "--min-alignment", 100)


def test_what_is_written(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "split"
    answer = cisray(*inputs, "--out", out)
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in out.iterdir()) == [
        "human.regions.bed",
        "human.sequences.bed",
        "mouse.regions.bed",
        "mouse.sequences.bed",
        "report.json",
        "report.md",
    ]
    report = json.loads((out / "report.json").read_text())
    human = report["genomes"]["human"]
    parts = ("excluded_bp", "gap_bp", "short_bp", "tiled_bp", "left_over_bp")
    assert sum(human[name] for name in parts) == human["total_bp"] == 15_000
    assert human["gap_bp"] == 100
    leak = report["leaks"]["human and mouse"]
    assert (leak["alignments"], leak["linking"], leak["straddling"]) == (3, 2, 0)
    genome = Genome.open(tmp_path / "human.fa")
    sequences = read_features(out / "human.sequences.bed", genome)
    assert {one.name for one in sequences} <= {"train", "valid", "test"}
    assert len(sequences) == sum(size["sequences"] for size in human["sets"].values())
    gap = Interval("chr1", 4_000, 4_100)
    assert not any(one.interval.overlaps(gap) for one in sequences)
    page = (out / "report.md").read_text()
    assert "0 of these touch sequences of two sets" in page
    again = cisray(*inputs, "--out", tmp_path / "again", "--json")
    assert json.loads(again.out)["report"] == report
    for name in ("human.sequences.bed", "mouse.regions.bed", "report.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    cisray(*inputs, "--out", out).assert_one_paragraph("exists already")


def test_one_genome_and_folds(cisray, inputs, tmp_path: Path) -> None:
    human = inputs[:4]
    given = (*human, "--input-bp", 256, "--region-bp", 1000, "--folds", 3, "--out", tmp_path / "k")
    answer = cisray(*given, "--chromosomes", "human=1", "--json")
    report = json.loads(answer.out)["report"]
    assert list(report["genomes"]["human"]["sets"]) == ["fold0", "fold1", "fold2"]
    assert report["genomes"]["human"]["excluded_bp"] == 6_000
    assert report["leaks"] == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--genome", "rat=r.fa"), "must be given once, or twice"),
        (("--gaps", "rat=gaps.bed"), "names rat, and the genomes are human, mouse"),
        (("--gaps", "gaps.bed"), "'gaps.bed' must be HEAD=VALUE"),
        (("--chain", "c.chain"), "--net and --chain say the same"),
        (("--stride", 100), "--stride 100 is no multiple of 128"),
        (("--valid", 0.5, "--test", 0.5), "leave some of them for train"),
        (("--input-bp", 8_960), "no stretch of 8,960 bases"),
        (("--test-chromosomes", "human=chr7"), "chr7"),
        (("--test-chromosomes", "human=chr1", "--folds", 2), "--folds has no valid and test"),
    ],
)
def test_what_is_refused(cisray, inputs, tmp_path: Path, change, told: str) -> None:
    """Before anything is written."""
    answer = cisray(*inputs, "--out", tmp_path / "split", *change)
    answer.assert_one_paragraph(told)
    assert not (tmp_path / "split").exists()


def test_two_genomes_need_alignments(cisray, inputs, tmp_path: Path) -> None:
    cisray(*inputs[:6], "--out", tmp_path / "split").assert_one_paragraph(
        "two genomes without --net or --chain"
    )
