"""Genes beside tracks, out of the three formats that people have them in."""

import gzip
import re
from pathlib import Path

import pytest

from cisray.errors import RegionsError
from cisray.page.charts import Gene
from cisray_jobs.report.genes import PlacedGene, read_genes

# Twice the same genes: bases 101 to 200 forward, 51 to 60 backward (1-based, inclusive).
WANTED = [Gene("ONE", 100, 200, "+"), Gene("TWO", 50, 60, "-")]
GTF = """#!genome-build made up
1\tme\tgene\t101\t200\t.\t+\t.\tgene_id "ENSG1"; gene_name "ONE";
1\tme\texon\t101\t150\t.\t+\t.\tgene_id "ENSG1"; gene_name "ONE";
scaffold_9\tme\tgene\t1\t20\t.\t+\t.\tgene_id "ENSG3"; gene_name "ELSEWHERE";
1\tme\tgene\t51\t60\t.\t-\t.\tgene_id "TWO";
"""
GFF = """##gff-version 3
1\tme\tgene\t101\t200\t.\t+\t.\tID=gene:ENSG1;Name=ONE
1\tme\tmRNA\t101\t200\t.\t+\t.\tParent=gene:ENSG1
1\tme\tncRNA_gene\t51\t60\t.\t-\t.\tID=gene:TWO
"""
BED = "track name=genes\nchr1\t100\t200\tONE\t0\t+\nchr1\t50\t60\tTWO\t0\t-\n"


@pytest.mark.parametrize(
    ("name", "text", "keys"),
    [
        ("g.gtf", GTF, ["ENSG1", "TWO"]),
        ("g.gff3", GFF, ["gene:ENSG1", "gene:TWO"]),
        ("g.bed", BED, ["2", "3"]),
        ("g.gtf.gz", GTF, ["ENSG1", "TWO"]),
    ],
)
def test_formats_agree(tmp_path: Path, name: str, text: str, keys: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    genes = read_genes(path, ["chr1", "chr2"])
    wanted = zip(WANTED, keys, strict=True)
    assert genes.placed == tuple(PlacedGene("chr1", gene, key) for gene, key in wanted)
    assert genes.elsewhere == (1 if text is GTF else 0)


def test_names_and_strands_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "g.bed"
    path.write_text("chr1\t5\t9\n")
    assert [one.gene for one in read_genes(path, ["chr1"]).placed] == [Gene("", 5, 9, "")]


def test_genes_of_another_assembly_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.bed"
    path.write_text("".join(f"Chr{n}\t5\t9\tG{n}\n" for n in "IJKLMN") + "ChrI\t7\t9\tH\n")
    theirs = "Theirs are ChrI, ChrJ, ChrK, ChrL, ChrM, ..., those of the run chr1, chr2: "
    told = re.escape(f"none of 7 genes lies on a chromosome of the run. {theirs}")
    with pytest.raises(RegionsError, match=told):
        read_genes(path, ["chr1", "chr2"])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("g.bed", "chr1\t5\t9\nchr1\t9\t9\tX\n", ":2: 9 to 9 holds no bases"),
        ("g.bed", "chr1\t-1\t9\n", ":1: -1 to 9"),
        ("g.bed", "chr1\t5\n", ":1: 2 columns"),
        ("g.gtf", "1\tme\tgene\t200\t101\t.\t+\t.\tgene_id \"X\";\n", ":1: the locus"),
        ("g.gtf", "1\tme\tgene\t200\n", ":1: 4 columns"),
        ("g.gtf", "1\tme\texon\t101\t200\t.\t+\t.\tgene_id \"X\";\n", "has no genes"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_by_line(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RegionsError, match=told) as raised:
        read_genes(path, ["chr1"])
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("start", "end", "meets"), [(0, 50, False), (0, 51, True), (59, 70, True), (60, 70, False)]
)
def test_a_gene_meets_a_region_by_one_base(start: int, end: int, meets: bool) -> None:
    placed = PlacedGene("chr1", WANTED[1], "TWO")
    assert placed.meets("chr1", start, end) is meets
    assert not placed.meets("chr2", start, end)
