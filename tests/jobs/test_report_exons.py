"""Exons of genes beside tracks: whose they are, and their first and last base."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import RegionsError
from cisray.page.charts import Gene, Panel, track_view
from cisray_jobs.report.exons import Exons, read_exons, union
from cisray_jobs.report.genes import read_genes

# One gene of bases 101 to 300 (1-based), with two transcripts whose exons overlap and touch, and
# one exon of a single base; another gene without exons; a third one in between.
GTF = """1\tme\tgene\t101\t300\t.\t+\t.\tgene_id "A"; gene_name "ONE";
1\tme\texon\t101\t150\t.\t+\t.\tgene_id "A"; transcript_id "A.1";
1\tme\texon\t211\t211\t.\t+\t.\tgene_id "A"; transcript_id "A.1";
1\tme\tCDS\t120\t150\t.\t+\t.\tgene_id "A"; transcript_id "A.1";
1\tme\texon\t141\t160\t.\t+\t.\tgene_id "A"; transcript_id "A.2";
1\tme\texon\t161\t170\t.\t+\t.\tgene_id "A"; transcript_id "A.2";
1\tme\texon\t291\t300\t.\t+\t.\tgene_id "A"; transcript_id "A.2";
1\tme\tgene\t401\t500\t.\t-\t.\tgene_id "B"; gene_name "TWO";
1\tme\tgene\t181\t260\t.\t-\t.\tgene_id "C"; gene_name "THREE";
1\tme\texon\t181\t260\t.\t-\t.\tgene_id "C"; transcript_id "C.1";
"""
GFF = """##gff-version 3
1\tme\texon\t101\t150\t.\t+\t.\tParent=transcript:A.1
1\tme\tgene\t101\t300\t.\t+\t.\tID=gene:A;Name=ONE
1\tme\tmRNA\t101\t211\t.\t+\t.\tID=transcript:A.1;Parent=gene:A
1\tme\tmRNA\t141\t300\t.\t+\t.\tID=transcript:A.2;Parent=gene:A
1\tme\texon\t211\t211\t.\t+\t.\tParent=transcript:A.1
1\tme\tCDS\t120\t150\t.\t+\t0\tID=CDS:A;Parent=transcript:A.1
1\tme\texon\t141\t160\t.\t+\t.\tID=x;Parent=transcript:A.2,transcript:A.1
1\tme\tpart\t161\t300\t.\t+\t.\tID=part;Parent=transcript:A.2
1\tme\texon\t161\t170\t.\t+\t.\tParent=part
1\tme\texon\t291\t300\t.\t+\t.\tParent=part
1\tme\tgene\t401\t500\t.\t-\t.\tID=gene:B;Name=TWO
1\tme\tgene\t181\t260\t.\t-\t.\tID=gene:C;Name=THREE
1\tme\texon\t181\t260\t.\t-\t.\tParent=gene:C
"""
BED = """track name=genes
chr1\t100\t300\tONE\t0\t+\t120\t150\t0\t4\t60,10,1,10,\t0,60,110,190,
chr1\t400\t500\tTWO\t0\t-
chr1\t180\t260\tTHREE\t0\t-\t180\t260\t0\t1\t80\t0
"""
ONE = ((100, 170), (210, 211), (290, 300))
WHOLE = ("chr1", 0, 1_000)


def exons_of(path: Path, text: str, region: tuple[str, int, int] = WHOLE) -> dict[str, object]:
    """Write a file, and give the exons of each gene in a region, by its name."""
    path.write_text(text)
    genes = read_genes(path, ["chr1", "chr2"])
    exons = read_exons(genes, [region])
    shown = [one for one in genes.placed if one.meets(*region)]
    return {one.gene.name: exons.with_exons(one, *region[1:]).exons for one in shown}


def exons_read(path: Path, text: str, region: tuple[str, int, int] = WHOLE) -> Exons:
    path.write_text(text)
    return read_exons(read_genes(path, ["chr1", "chr2"]), [region])


@pytest.mark.parametrize(("name", "text"), [("g.gtf", GTF), ("g.gff3", GFF), ("g.bed", BED)])
def test_formats_agree_in_every_edge(tmp_path: Path, name: str, text: str) -> None:
    found = exons_of(tmp_path / name, text)
    assert found == {"ONE": ONE, "TWO": None, "THREE": ((180, 260),)}
    assert exons_read(tmp_path / name, text).strays == 0


@pytest.mark.parametrize(("name", "text"), [("g.gtf", GTF), ("g.gff3", GFF)])
@given(seed=st.integers(0, 1_000))
def test_the_order_of_lines_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str, seed: int
) -> None:
    lines = text.splitlines(keepends=True)
    random.Random(seed).shuffle(lines)
    path = tmp_path_factory.mktemp("shuffled") / name
    assert exons_of(path, "".join(lines)) == exons_of(path, text)


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (169, 210, ((100, 170),)),
        (170, 210, ()),
        (170, 211, ((210, 211),)),
        (210, 212, ((210, 211),)),
        (211, 290, ()),
        (211, 291, ((290, 300),)),
    ],
)
def test_only_exons_with_a_base_in_the_region_are_carried(
    tmp_path: Path, start: int, end: int, wanted: tuple[tuple[int, int], ...]
) -> None:
    """A gene of which a region has an intron is known to have exons: it is drawn thin."""
    for name, text in (("g.gtf", GTF), ("g.gff3", GFF), ("g.bed", BED)):
        assert exons_of(tmp_path / name, text, ("chr1", start, end))["ONE"] == wanted


def test_a_name_on_two_chromosomes_and_twice_on_one_keeps_its_exons_apart(tmp_path: Path) -> None:
    rows = [("1", "gene", 11, 50), ("2", "gene", 11, 50), ("1", "gene", 101, 150),
            ("1", "exon", 11, 20), ("2", "exon", 31, 50), ("1", "exon", 141, 150)]  # fmt: skip
    path = tmp_path / "g.gtf"
    path.write_text(
        "".join(
            f'{chrom}\tme\t{what}\t{first}\t{last}\t.\t+\t.\tgene_id "P";\n'
            for chrom, what, first, last in rows
        )
    )
    genes = read_genes(path, ["chr1", "chr2"])
    exons = read_exons(genes, [("chr1", 0, 200), ("chr2", 0, 200)])
    assert [exons.with_exons(one, 0, 200).exons for one in genes.placed] == [
        ((10, 20),), ((30, 50),), ((140, 150),),
    ]  # fmt: skip
    assert exons.strays == 0


def test_exons_of_no_gene_are_counted_where_they_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "g.gtf"
    gene = '1\tme\tgene\t101\t200\t.\t+\t.\tgene_id "A";\n1\tme\tgene\t301\t400\t.\t+\t.\tx "y";\n'
    others = [(101, 201, 'gene_id "A";'), (120, 130, 'gene_id "Z";'), (310, 320, "x y;"),
              (501, 510, 'gene_id "Z";')]  # fmt: skip
    lines = "".join(f"1\tme\texon\t{a}\t{b}\t.\t+\t.\t{told}\n" for a, b, told in others)
    found = exons_read(path, gene + lines, ("chr1", 0, 500))
    assert (found.spans, found.strays) == ({}, 3)
    assert "3 lines of exons in the regions lie in no gene that they name" in found.told
    assert exons_read(path, gene + lines, ("chr1", 0, 501)).strays == 4
    assert exons_read(path, gene, WHOLE).told == ""


def test_transcripts_that_are_part_of_each_other_end(tmp_path: Path) -> None:
    text = (
        "1\tme\tgene\t101\t200\t.\t+\t.\tID=g;Name=G\n"
        "1\tme\tmRNA\t101\t200\t.\t+\t.\tID=a;Parent=b\n"
        "1\tme\tmRNA\t101\t200\t.\t+\t.\tID=b;Parent=a\n"
        "1\tme\texon\t101\t200\t.\t+\t.\tParent=a\n"
    )
    assert exons_read(tmp_path / "g.gff3", text).strays == 1


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ("2\t10,20\t0", "2 blocks have 2 sizes and 1 starts"),
        ("1\t99\t0", "do not fill 100 to 200"),
        ("1\t99\t1", "do not fill 100 to 200"),
        ("2\t100,0\t0,50", "do not fill"),
        ("2\t50,51\t0,50", "do not fill"),
        ("x\t100\t0", "invalid literal"),
    ],
)
def test_blocks_that_are_none_are_told_by_line(tmp_path: Path, blocks: str, told: str) -> None:
    path = tmp_path / "g.bed"
    path.write_text(f"# genes\nchr1\t100\t200\tG\t0\t+\t100\t100\t0\t{blocks}\n")
    with pytest.raises(RegionsError, match=told) as raised:
        read_genes(path, ["chr1"])
    assert f"{path}:2: " in str(raised.value)


def test_an_exon_that_cannot_be_read_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "g.gtf"
    with pytest.raises(RegionsError, match=r"g\.gtf:3: the locus '\{1\}:150-149'"):
        exons_read(path, GTF.replace("211\t211", "150\t149"))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=8))
def test_a_union_has_the_bases_of_its_parts_and_gaps_between(places: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in places]
    joined = union(spans)
    bases = [base for start, end in joined for base in range(start, end)]
    assert bases == sorted({base for start, end in spans for base in range(start, end)})
    assert all(end < start for (_, end), (start, _) in pairwise(joined))


def test_the_figure_has_them_as_they_are_and_nothing_where_nothing_is_known() -> None:
    panel = Panel("one", np.zeros(4, np.float32))
    genes = (Gene("A", 10, 90, "+", ((10, 20), (89, 90))), Gene("B", 10, 90, "+", ()),
             Gene("C", 10, 90, "-"))  # fmt: skip
    told = track_view("chr1", 0, 32, [panel], genes)["genes"]
    assert [gene.get("exons") for gene in told["every"]] == [[[10, 20], [89, 90]], [], None]
