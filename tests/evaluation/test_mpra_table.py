"""Rows of a reporter assay: which count, and how a deleted base becomes a VCF allele."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import AssemblyMismatch, ConfigError, EvaluationError
from cisray.evaluation.mpra_table import AssayFilter, anchor, read_assay, write_vcf
from cisray.genome.reference import Genome

HEADER = "Chrom\tPos\tRef\tAlt\tBarcodes\tDNA\tRNA\tCoefficient\tpValue\tElement\tRelease\n"
SEQUENCE = "ACGTTTGCA"


def assay_file(folder: Path, *rows: tuple[object, ...]) -> Path:
    """Rows of Chrom, Pos, Ref, Alt, Barcodes, Coefficient, Element, Release."""
    path = folder / "assay.tsv"
    lines = ["\t".join(map(str, (*r[:5], 1, 1, r[5], 0.5, *r[6:]))) + "\n" for r in rows]
    path.write_text(HEADER + "".join(lines))
    return path


def snv(pos: int, ref: str, alt: str, barcodes: object = 50, effect: object = 0.5) -> tuple:
    return ("1", pos, ref, alt, barcodes, effect, "E", "GRCh38")


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">chr0\nTTTT\n>chr1\n{SEQUENCE.lower()}\n")
    return Genome.open(path)


def read(path: Path, **changes: object) -> pl.DataFrame:
    return read_assay(path, AssayFilter(**changes))


def test_every_row_stays_with_one_reason(tmp_path: Path) -> None:
    path = assay_file(
        tmp_path,
        snv(1, "A", "c"),
        snv(1, "A", "G", barcodes=9),
        snv(1, "A", "T", effect="NA"),
        snv(1, "A", "T", effect="inf"),
        ("NA", "NA", "NA", "NA", 50, 0.1, "E", "GRCh38"),
        ("1", 1, "A", "C", 50, 0.5, "E", "GRCh37"),
        ("1", 1, "A", "C", 50, 0.5, "F", "GRCh38"),
        snv(1, "A", "C", effect=0.7),
        snv(1, "A", "G", barcodes="NA"),
        snv(1, "A", "G", barcodes=10),
    )
    frame = read(path, elements=("E",))
    assert frame["left_out"].to_list() == [
        "", "fewer than 10 barcodes", "no effect", "no effect", "no position or alleles",
        "other release", "element not asked for", "stated before", "fewer than 10 barcodes", "",
    ]  # fmt: skip
    assert frame["row"].to_list() == list(range(1, 11))
    assert frame.row(0)[1:8] == ("E", "1", 1, "A", "C", 50, 0.5)
    # Elements are judged apart: the same allele in another one is no repetition.
    assert read(path)["left_out"][6] == ""


def test_missing_columns_and_values_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("Chrom\tPosition\tRef\tAlt\tBarcodes\tCoefficient\tElement\n")
    with pytest.raises(EvaluationError, match="lacks the columns Pos, Release"):
        read(path)
    path = assay_file(tmp_path, snv(1, "A", "C"))
    with pytest.raises(EvaluationError, match=r"no row whose Release is 'hg38'.* It has GRCh38"):
        read(path, release="hg38")
    with pytest.raises(EvaluationError, match="no row whose Element is 'LDLR'"):
        read(path, elements=("LDLR",))
    with pytest.raises(EvaluationError, match="lacks the columns Set"):
        read_assay(path, AssayFilter(), "Set")


def test_alleles_are_written_as_a_vcf_does(tmp_path: Path, genome: Genome) -> None:
    path = assay_file(
        tmp_path,
        snv(3, "G", "-"),
        snv(1, "A", "-"),
        snv(9, "A", "-"),
        snv(9, "A", "G"),
        snv(5, "T", "-"),
        snv(2, "CG", "-"),
        *[snv(2, "C", base) for base in "AGT"],
        snv(2, "A", "G"),
        snv(10, "A", "G"),
        snv(4, "-", "G"),
        ("chr7", 3, "G", "A", 50, 0.5, "E", "GRCh38"),
        *[snv(p, r, a) for p, r in ((3, "G"), (4, "T"), (5, "T"), (6, "T")) for a in "AC"],
        *[snv(p, r, a) for p, r in ((7, "G"), (8, "C"), (9, "A")) for a in "T"],
        *[snv(1, "A", base) for base in "CGT"],
        *[snv(p, "T", "G") for p in (4, 5, 6)],
        *[snv(7, "G", base) for base in "AC"],
        *[snv(8, "C", base) for base in "AG"],
        snv(9, "A", "C"),
        *[snv(p, base, "-") for p, base in ((4, "T"), (6, "T"), (7, "G"), (8, "C"))],
        *[snv(p, SEQUENCE[p - 1 : p + 1], "-") for p in (1, 3, 4, 5, 6, 7)],
    )
    frame = anchor(read(path), genome)
    rows = [tuple(row) for row in frame.select("chrom", "pos", "ref", "alt").iter_rows()]
    assert rows[:6] == [
        ("chr1", 2, "CG", "C"),
        ("chr1", 1, "AC", "C"),
        ("chr1", 8, "CA", "C"),
        ("chr1", 9, "A", "G"),
        ("chr1", 4, "TT", "T"),
        ("chr1", 1, "ACG", "A"),
    ]
    told = frame.filter(pl.col("left_out") != "").select("pos", "left_out").rows()
    assert told == [
        (2, "reference mismatch"),
        (10, "position out of range"),
        (4, "insertion without a place"),
        (3, "unknown chromosome"),
    ]


@settings(max_examples=50, deadline=None)
@given(pos=st.integers(1, 9), size=st.integers(1, 3))
def test_an_anchored_deletion_gives_the_sequence_without_the_bases(
    genome: Genome, pos: int, size: int
) -> None:
    size = min(size, len(SEQUENCE) - pos + 1)
    gone = SEQUENCE[pos - 1 : pos - 1 + size]
    frame = pl.DataFrame(
        {"row": [1], "chrom": ["1"], "pos": [pos], "ref": [gone], "alt": ["-"], "left_out": [""]}
    )
    _, chrom, at, ref, alt, reason = anchor(frame, genome).row(0)
    assert (chrom, reason) == ("chr1", "")
    assert SEQUENCE[at - 1 : at - 1 + len(ref)] == ref
    edited = SEQUENCE[: at - 1] + alt + SEQUENCE[at - 1 + len(ref) :]
    assert edited == SEQUENCE[: pos - 1] + SEQUENCE[pos - 1 + size :]


def test_another_assembly_is_noticed(tmp_path: Path, genome: Genome) -> None:
    path = assay_file(tmp_path, *[snv(p, SEQUENCE[p], "N") for p in range(1, 9)])
    with pytest.raises(AssemblyMismatch, match=r"of 8 rows contradict .* with C at 1:1: "):
        anchor(read(path), genome)


def test_a_vcf_has_each_allele_once_in_the_order_of_the_fasta(
    tmp_path: Path, genome: Genome
) -> None:
    path = assay_file(
        tmp_path,
        snv(3, "G", "A"),
        ("1", 3, "G", "A", 50, 0.1, "F", "GRCh38"),
        ("0", 2, "T", "A", 50, 0.1, "E", "GRCh38"),
        snv(1, "A", "T"),
    )
    frame, out = anchor(read(path), genome), tmp_path / "out.vcf"
    assert write_vcf(frame, genome, out) == 3
    assert out.read_text().splitlines() == [
        "##fileformat=VCFv4.2",
        "##contig=<ID=chr0,length=4>",
        "##contig=<ID=chr1,length=9>",
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
        "chr0\t2\tE\tT\tA\t.\t.\t.",
        "chr1\t1\tE\tA\tT\t.\t.\t.",
        "chr1\t3\tE;F\tG\tA\t.\t.\t.",
    ]
    with pytest.raises(ConfigError, match="exists already"):
        write_vcf(frame, genome, out)
    with pytest.raises(EvaluationError, match="no row of the table counts"):
        write_vcf(frame.with_columns(left_out=pl.lit("x")), genome, tmp_path / "none.vcf")
