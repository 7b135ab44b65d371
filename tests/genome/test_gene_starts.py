"""Starts of genes are the first bases of transcripts, on their strand, to the base."""

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import RegionsError
from cisray.genome.gene_starts import GeneStart, read_gene_starts
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

LENGTHS = {"chr1": 1_000, "chr2": 400}


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text("".join(f">{name}\n{'A' * bp}\n" for name, bp in LENGTHS.items()))
    return Genome.open(path)


def gtf(*rows: tuple[str, str, int, int, str, str]) -> str:
    """Lines of a GTF: chrom, feature, first, last, strand, attributes."""
    return "#!genome-build x\n" + "".join(
        f"{chrom}\tHAVANA\t{kind}\t{first}\t{last}\t.\t{strand}\t.\t{more}\n"
        for chrom, kind, first, last, strand, more in rows
    )


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_gtf_has_a_start_for_each_transcript(genome: Genome, tmp_path: Path) -> None:
    a = 'gene_id "A.1"; gene_type "protein_coding"; level 2;'
    b = 'gene_id "B"; gene_biotype "lncRNA";'
    path = written(tmp_path, "g.gtf", gtf(
        ("chr1", "gene", 11, 90, "+", a),
        ("chr1", "transcript", 11, 90, "+", a),
        ("chr1", "exon", 11, 20, "+", a),
        ("1", "transcript", 31, 90, "+", a),
        ("chr2", "transcript", 1, 400, "-", b),
        ("chr9", "transcript", 5, 9, "+", b),
    ))  # fmt: skip
    found = read_gene_starts(path, genome)
    # 1-based 11 is base 10; the last base of 1..400 is 399.
    assert found.starts == (
        GeneStart("A.1", Interval("chr1", 10, 11), "protein_coding", 3),
        GeneStart("A.1", Interval("chr1", 30, 31), "protein_coding", 5),
        GeneStart("B", Interval("chr2", 399, 400), "lncRNA", 6),
    )
    assert found.lacking == (GeneStart("B", Interval("chr9", 4, 5), "lncRNA", 7),)
    assert found.has_kinds


def test_a_gff3_names_genes_by_gene_id_or_parent(genome: Genome, tmp_path: Path) -> None:
    path = written(tmp_path, "g.gff3", gtf(
        ("1", "gene", 11, 90, "+", "ID=gene:ENSG1;biotype=protein_coding;gene_id=ENSG1"),
        ("1", "mRNA", 11, 90, "-", "ID=transcript:T1;Parent=gene:ENSG1;biotype=other"),
        ("1", "transcript", 21, 90, "+", "ID=T2;gene_id=G2;gene_type=snoRNA"),
        ("1", "lincRNA_gene", 5, 9, "+", "ID=gene:ENSG3;biotype=lincRNA"),
        ("1", "lincRNA", 5, 9, "+", "ID=transcript:T3;Parent=gene:ENSG3"),
        ("1", "pseudogene", 6, 9, "+", "ID=transcript:T4;Parent=gene:ENSG3"),
        ("1", "exon", 5, 9, "+", "Parent=transcript:T3"),
        ("1", "CDS", 7, 9, "+", "ID=cds-1;Parent=gene-ND1"),
    ))  # fmt: skip
    assert read_gene_starts(path, genome).starts == (
        GeneStart("ENSG1", Interval("chr1", 89, 90), "protein_coding", 3),
        GeneStart("G2", Interval("chr1", 20, 21), "snoRNA", 4),
        GeneStart("ENSG3", Interval("chr1", 4, 5), "lincRNA", 6),
        GeneStart("ENSG3", Interval("chr1", 5, 6), "lincRNA", 7),
    )


def test_a_bed_has_single_bases(genome: Genome, tmp_path: Path) -> None:
    text = "track name=x\nchr1\t10\t11\tA\t0\t+\nchr2\t399\t400\tB\n"
    found = read_gene_starts(written(tmp_path, "g.bed", text), genome)
    assert found.starts == (
        GeneStart("A", Interval("chr1", 10, 11), "", 2),
        GeneStart("B", Interval("chr2", 399, 400), "", 3),
    )
    assert not found.has_kinds


@given(first=st.integers(1, 900), width=st.integers(1, 100), strand=st.sampled_from("+-"))
@settings(max_examples=50, deadline=None)
def test_the_base_read_is_the_base_that_1_based_positions_mean(
    genome: Genome, tmp_path_factory: pytest.TempPathFactory, first: int, width: int, strand: str
) -> None:
    last = first + width - 1
    path = tmp_path_factory.mktemp("g") / "g.gtf"
    path.write_text(gtf(("chr1", "transcript", first, last, strand, 'gene_id "A";')))
    (start,) = read_gene_starts(path, genome).starts
    # Base i (1-based) of the chromosome is the i-th of a list that begins with one.
    bases = list(range(1, LENGTHS["chr1"] + 1))
    (read,) = bases[start.base.start : start.base.end]
    assert read == (first if strand == "+" else last)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("g.bed", "chr1\t10\t12\tA\n", "10 to 12 is not one base"),
        ("g.bed", "chr1\t10\t11\n", "a start has no gene"),
        ("g.bed", "chr1\tx\t11\tA\n", "no whole numbers"),
        ("g.bed", "chr1\t1000\t1001\tA\n", "another assembly"),
        ("g.bed", "#\n", "has no lines"),
        ("g.gtf", gtf(("chr1", "exon", 1, 2, "+", 'gene_id "A"')), "has no lines of transcripts"),
        ("g.gtf", gtf(("chr1", "transcript", 1, 2, ".", 'gene_id "A"')), "neither + nor -"),
        ("g.gtf", gtf(("chr1", "transcript", 5, 2, "+", 'gene_id "A"')), "ends before it starts"),
        ("g.gtf", gtf(("chr1", "transcript", 0, 2, "+", 'gene_id "A"')), "positions count from 1"),
        ("g.gtf", gtf(("chr1", "transcript", 1, 2, "+", 'name "A"')), "names no gene"),
        ("g.gtf", gtf(("chr1", "transcript", 1, 1_001, "-", 'gene_id "A"')), "lies beyond chr1"),
        ("g.gtf", "chr1\ttranscript\n", "columns"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    genome: Genome, tmp_path: Path, name: str, text: str, told: str
) -> None:
    with pytest.raises(RegionsError, match=re.escape(told)) as caught:
        read_gene_starts(written(tmp_path, name, text), genome)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.realdata
def test_ensembl_s_transcripts_are_all_there(shared: Path, tmp_path: Path) -> None:
    """Ensembl 84, chromosome 21: its transcripts stand in lines of many types."""
    fasta = written(tmp_path, "21.fa", f">chr21\n{'N' * 46_709_983}\n")
    path = shared / "data" / "chr21_hg38" / "ensembl84_chr21.GRCh38.gff3.gz"
    found = read_gene_starts(path, Genome.open(fasta))
    by_hand = {}
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        columns = line.split("\t")
        if len(columns) == 9 and columns[8].startswith("ID=transcript:"):
            gene = columns[8].split("Parent=gene:")[1].split(";")[0]
            # Bases are counted from 1 there.
            base = int(columns[3]) if columns[6] == "+" else int(columns[4])
            by_hand[len(by_hand)] = (gene, base)
    assert [(s.gene, s.base.end) for s in found.starts] == list(by_hand.values())
    assert len(by_hand) > 2_000
    kinds = {s.gene: s.kind for s in found.starts}
    # The file has 233 lines of genes whose biotype is protein_coding.
    assert sum(kind == "protein_coding" for kind in kinds.values()) == 233
    assert all(kinds.values())
