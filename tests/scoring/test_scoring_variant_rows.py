"""From files of variants to plans: every entry becomes one row or one reject, in its order."""

import gzip
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import cutting_of, files_in, rejects_of, rows_of, small_genome

from cisray.errors import InputError, RejectsRefused, ResultsError
from cisray.genome.alleles import AlleleChecker, Tally, read_alleles
from cisray.genome.encode import decode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.windows import Window, WindowSpec
from cisray.scoring import variant_rows
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.shards import Cutting
from cisray.scoring.variant_rows import plan_variants
from cisray.store.sorting import RowSorter
from cisray_schemas import REJECTS, VARIANTS, Reason

# chr10 stands before chr2, as in many FASTA files.
SEQUENCES = {
    "chr10": "GATTACACCTGAAAACGTNNRCATCATGGCTTAGACCATGCAAGTCCGA" * 3,
    "chr2": "TTGACCATGCAAGTCCGATCAGGCTAACGT" * 4,
}
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    return small_genome(tmp_path_factory.mktemp("genome"), SEQUENCES)


def vcf(rows: list[tuple[str, int, str, str, str]], newline: str = "\n") -> str:
    lines = ["\t".join([c, str(p), i, r, a, ".", "PASS", "."]) for c, p, i, r, a in rows]
    return (HEADER + "".join(f"{line}\n" for line in lines)).replace("\n", newline)


def plan(
    path: Path,
    genome: Genome,
    files: PlanFiles,
    *,
    cutting: Cutting | None = None,
    fits: Callable[[Variant], bool] = lambda _: True,
    strict: bool = False,
) -> Planned:
    checker = AlleleChecker(genome, path.name, max_allele_bp=10)
    entries = read_alleles(path, checker, Tally())
    return plan_variants(entries, files, cutting or cutting_of(genome), fits=fits, strict=strict)


def plan_text(
    text: str | bytes, genome: Genome, folder: Path, **options
) -> tuple[Planned, PlanFiles]:
    folder.mkdir(exist_ok=True)
    path = folder / "variants"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    files = files_in(folder, "sites.vcf")
    return plan(path, genome, files, **options), files


# Positions 11 to 16 of chr10 are GAAAAC, and 1 to 3 of chr2 TTG.
UNSORTED = [
    ("chr2", 3, "rs1", "G", "T"),
    ("10", 15, ".", "A", "AA,C"),  # an insertion, which moves left to position 11, and a SNV
    ("chr10", 15, "rs2", "A", "C"),  # a duplicate of the SNV
    ("chr10", 1, ".", "A", "C"),  # the FASTA has G
    ("chr10", 1, "rs3", "g", "c"),
    ("chrZ", 5, ".", "A", "C,<DEL>"),
]


def test_rows_are_sorted_and_rejects_keep_the_order_of_the_input(
    genome: Genome, tmp_path: Path
) -> None:
    planned, files = plan_text(vcf(UNSORTED), genome, tmp_path)
    shown = ("variant", "chrom", "pos", "ref", "alt", "id", "record", "line", "alt_index")
    assert [tuple(row[name] for name in shown) for row in rows_of(planned)] == [
        (5, "chr10", 1, "G", "C", "rs3", 4, 7, 0),
        (1, "chr10", 11, "G", "GA", "", 1, 4, 0),
        (2, "chr10", 15, "A", "C", "", 1, 4, 1),
        (3, "chr10", 15, "A", "C", "rs2", 2, 5, 0),
        (0, "chr2", 3, "G", "T", "rs1", 0, 3, 0),
    ]
    source = ("source_chrom", "source_pos", "source_ref", "source_alt")
    assert [tuple(row[name] for name in source) for row in rows_of(planned)] == [
        ("chr10", 1, "g", "c"),
        ("10", 15, "A", "AA"),
        ("10", 15, "A", "C"),
        ("chr10", 15, "A", "C"),
        ("chr2", 3, "G", "T"),
    ]
    rejects = rejects_of(files)
    shown = ("file", "record", "line", "alt_index", "chrom", "pos", "ref", "alt", "reason")
    assert [tuple(row[name] for name in shown) for row in rejects] == [
        ("sites.vcf", 3, 6, 0, "chr10", 1, "A", "C", "reference_mismatch"),
        ("sites.vcf", 5, 8, 0, "chrZ", 5, "A", "C", "unknown_chromosome"),
        ("sites.vcf", 5, 8, 1, "chrZ", 5, "A", "<DEL>", "unknown_chromosome"),
    ]
    assert (planned.entries, planned.scored) == (8, 5)
    assert planned.rejected == {Reason.REFERENCE_MISMATCH: 1, Reason.UNKNOWN_CHROMOSOME: 2}
    # Cells are [8 k, 8 k + 8): base 0 has one on chr10, bases 10 and 14 share one; another on chr2.
    assert (planned.windows, planned.alternates) == (3, 4)
    assert planned.plan.plan is VARIANTS
    assert pq.read_schema(files.rejects).equals(REJECTS.schema)


@pytest.mark.parametrize("placement", ["grid", "centered"])
def test_missing_bases_are_those_of_the_rows_window(
    genome: Genome, tmp_path: Path, placement: str
) -> None:
    cutting = cutting_of(genome, placement)
    planned, _ = plan_text(vcf(UNSORTED), genome, tmp_path, cutting=cutting)
    for row in rows_of(planned):
        place = Variant(row["chrom"], row["pos"], row["ref"], row["alt"]).interval
        window = Window.placed(place, cutting.spec, placement)
        bases = range(window.input.start, window.input.end)
        on_chromosome = range(len(SEQUENCES[row["chrom"]]))
        assert row["missing_bp"] == sum(base not in on_chromosome for base in bases)


@pytest.mark.parametrize("text", ["", HEADER, "# a list without entries\n"])
def test_nothing_to_score_is_a_plan_without_shards(
    genome: Genome, tmp_path: Path, text: str
) -> None:
    planned, files = plan_text(text, genome, tmp_path, strict=True)
    assert (planned.entries, planned.scored, planned.plan.num_shards) == (0, 0, 0)
    assert (planned.rejected, planned.windows, planned.alternates) == ({}, 0, 0)
    assert pq.read_table(files.rejects).schema.equals(REJECTS.schema)
    assert rejects_of(files) == []


def test_line_ends_and_bcf_give_the_same_rows(genome: Genome, tmp_path: Path) -> None:
    rows = [row for row in UNSORTED if row[0].startswith("chr") and row[0] != "chrZ"]
    unix, _ = plan_text(vcf(rows), genome, tmp_path / "unix")
    windows, _ = plan_text(vcf(rows, "\r\n"), genome, tmp_path / "windows")
    assert windows.plan.sha256 == unix.plan.sha256
    assert windows.rejects_sha256 == unix.rejects_sha256
    contigs = "".join(f"##contig=<ID={name}>\n" for name in SEQUENCES)
    source = tmp_path / "with_contigs.vcf"
    source.write_text(vcf(rows).replace("#CHROM", f"{contigs}#CHROM"))
    bcf = tmp_path / "variants.bcf"
    with (
        pysam.VariantFile(str(source)) as text,
        pysam.VariantFile(str(bcf), "wb", header=text.header) as binary,
    ):
        for record in text:
            binary.write(record)
    files = files_in(tmp_path, "sites.vcf")
    binary_rows = rows_of(plan(bcf, genome, files))
    assert [row | {"line": None} for row in rows_of(unix)] == binary_rows
    assert [row["line"] for row in rejects_of(files)] == [None]
    with pytest.raises(RejectsRefused, match=r"sites.vcf, record 3 at chr10:1: reference_mismatch"):
        plan(bcf, genome, files, strict=True)


def test_the_order_of_a_file_does_not_matter(genome: Genome, tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = [
        (chrom, at + 1, ".", bases[at], draw.choice("ACGT"))
        for chrom, bases in SEQUENCES.items()
        for at in draw.choices(range(len(bases)), k=60)
    ]
    shown = ("chrom", "pos", "ref", "alt", "missing_bp")
    seen = set()
    for number in range(3):
        planned, _ = plan_text(vcf(rows), genome, tmp_path / str(number))
        spans = tuple(planned.plan.spans.values())
        seen.add((tuple(tuple(row[name] for name in shown) for row in rows_of(planned)), spans))
        draw.shuffle(rows)
    (one,) = seen
    order = list(SEQUENCES)
    assert list(one[0]) == sorted(one[0], key=lambda row: (order.index(row[0]), *row[1:]))


def test_neither_pieces_nor_batches_change_a_plan(
    genome: Genome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = vcf(UNSORTED * 7)
    whole, _ = plan_text(text, genome, tmp_path / "whole")
    monkeypatch.setattr(variant_rows, "_BATCH_ENTRIES", 3)
    batches, _ = plan_text(text, genome, tmp_path / "batches")
    monkeypatch.setattr(variant_rows, "RowSorter", partial(RowSorter, piece_bytes=1, block_bytes=1))
    pieces, _ = plan_text(text, genome, tmp_path / "pieces")
    for other in (batches, pieces):
        assert other.plan.sha256 == whole.plan.sha256
        assert other.rejects_sha256 == whole.rejects_sha256
    assert {path.name for path in (tmp_path / "pieces").iterdir()} == {
        "variants", "plan.parquet", "rejects.parquet",
    }  # fmt: skip


def test_what_does_not_fit_its_window_is_a_reject(genome: Genome, tmp_path: Path) -> None:
    rows = [("chr10", 2, ".", "A", "AC,G"), ("chr10", 2, ".", "ATT", "GTC")]
    asked = []

    def fits(variant: Variant) -> bool:
        asked.append(str(variant))
        return False

    planned, files = plan_text(vcf(rows), genome, tmp_path, fits=fits)
    assert asked == ["chr10:2:A:AC", "chr10:2:ATT:GTC"]
    assert [(row["variant"], row["alt"]) for row in rows_of(planned)] == [(1, "G")]
    shown = ("record", "alt_index", "ref", "alt", "reason")
    assert [tuple(row[name] for name in shown) for row in rejects_of(files)] == [
        (0, 0, "A", "AC", "repeat_too_long"),
        (1, 0, "ATT", "GTC", "too_long"),
    ]


def test_strict_tells_the_first_rejects_and_all_counts(genome: Genome, tmp_path: Path) -> None:
    rows = [*UNSORTED, ("chrZ", 5, ".", "A", "C"), ("chr2", 3, ".", "C", "T")]
    with pytest.raises(RejectsRefused) as caught:
        plan_text(vcf(rows), genome, tmp_path, strict=True)
    message = str(caught.value)
    assert isinstance(caught.value, InputError)
    assert "5 of 10 entries cannot be scored" in message
    assert "(3 unknown_chromosome, 2 reference_mismatch)" in message
    assert "sites.vcf:6: reference_mismatch (REF is A, but genome.fa has G there)" in message
    assert "sites.vcf:8: unknown_chromosome" in message
    assert "and 2 more" in message
    assert not (tmp_path / "plan.parquet").exists()
    assert len(rejects_of(files_in(tmp_path))) == 5


def test_a_lost_row_is_an_error(
    genome: Genome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = variant_rows.cut
    monkeypatch.setattr(variant_rows, "cut", lambda *given: list(cut(*given))[1:])
    with pytest.raises(ResultsError, match=r"8 entries, but 1 are planned and 3 rejected"):
        plan_text(vcf(UNSORTED), genome, tmp_path)


alleles = st.sampled_from(["A", "C", "G", "T", "AC", "CCT", "N", "<DEL>", "*", ".", "A" * 12, "a"])
records = st.tuples(
    st.sampled_from(["chr10", "10", "chr2", "chrZ"]),
    st.integers(0, 150),
    st.sampled_from([".", "rs1"]),
    st.one_of(st.integers(1, 3), st.sampled_from(["A", "N", "<X>"])),
    st.lists(alleles, min_size=1, max_size=3),
)
lines = st.one_of(records, st.sampled_from(["no record", "chr2\t5\t.\tA", "#chr2\t1\t.\tA\tC"]))


def written(line) -> tuple[str, int]:
    """A line of a VCF, and how many entries it is; a number as REF is so many right bases."""
    if isinstance(line, str):
        return line, 1
    chrom, pos, known_as, ref, alts = line
    if isinstance(ref, int):
        bases = SEQUENCES.get({"10": "chr10"}.get(chrom, chrom), "")
        ref = bases[max(pos - 1, 0) : max(pos - 1, 0) + ref] or "A"
    columns = [chrom, str(pos), known_as, ref, ",".join(alts), ".", ".", "."]
    return "\t".join(columns), len(alts)


@settings(max_examples=120, deadline=None)
@given(st.lists(lines, max_size=25), st.integers(1, 9))
def test_no_entry_is_lost(
    genome: Genome, tmp_path_factory: pytest.TempPathFactory, found: list, max_rows: int
) -> None:
    # A file that begins with #CHROM is a VCF; garbage alone would be no list.
    text = HEADER + "".join(written(line)[0] + "\n" for line in found)
    entries = [(n, alt) for n, line in enumerate(found) for alt in range(written(line)[1])]
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    cutting = cutting_of(genome, max_rows=max_rows)
    planned, files = plan_text(
        text, genome, folder, cutting=cutting, fits=lambda variant: variant.pos % 3 > 0
    )
    rows, rejects = rows_of(planned), rejects_of(files)
    assert [entries[row["variant"]] for row in rows] == [
        (row["record"], row["alt_index"]) for row in rows
    ]
    told = [(row["record"], row["alt_index"]) for row in [*rows, *rejects]]
    assert sorted(told) == entries
    assert [row["record"] for row in rejects] == sorted(row["record"] for row in rejects)
    assert planned.rejected == Counter(Reason(row["reason"]) for row in rejects)
    order = list(SEQUENCES)
    keys = [(order.index(r["chrom"]), r["pos"], r["ref"], r["alt"], r["variant"]) for r in rows]
    assert keys == sorted(keys)
    for row in rows:
        at = row["pos"] - 1
        as_read = SEQUENCES[row["chrom"]].replace("R", "N")
        assert as_read[at : at + len(row["ref"])] == row["ref"]


def real_plan(
    shared: Path, tmp_path: Path, fasta: str, path: Path
) -> tuple[Planned, PlanFiles, list[dict]]:
    """Plan with Enformer's windows; every row's REF is what the FASTA holds."""
    files = files_in(tmp_path)
    with Genome.open(shared / fasta) as genome:
        cutting = Cutting(
            genome.chromosomes, WindowSpec(), "grid", lambda w, a, _: 0.1 * w + 0.01 * a
        )
        checker = AlleleChecker(genome, "sites", max_allele_bp=1000)
        entries = read_alleles(path, checker, Tally())
        planned = plan_variants(entries, files, cutting, fits=lambda _: True)
        (chrom,) = genome.chromosomes
        rows = rows_of(planned)
        first, last = rows[0]["pos"], rows[-1]["pos"] + 1000
        bases = decode(genome.fetch(Interval(chrom, first - 1, last)))
    for row in rows:
        at = row["pos"] - first
        assert bases[at : at + len(row["ref"])] == row["ref"]
    keys = [(row["pos"], row["ref"], row["alt"], row["variant"]) for row in rows]
    assert keys == sorted(keys)
    return planned, files, rows


@pytest.mark.realdata
def test_all_sites_of_1000_genomes_are_planned(shared: Path, tmp_path: Path) -> None:
    folder = "data/chr20_hg19"
    sites = shared / folder / "1000g_phase3_sites_chr20_1000001-2000000.hg19.vcf.gz"
    planned, files, rows = real_plan(shared, tmp_path, f"{folder}/hg19_chr20.whole.fa.gz", sites)
    # 28,998 records of 29,144 alleles, 24 of them symbolic (tests/genome/test_vcf_real.py).
    assert (planned.entries, planned.scored) == (29_144, 29_120)
    assert planned.rejected == {Reason.SYMBOLIC_ALT: 24}
    assert len(rejects_of(files)) == 24
    with gzip.open(sites, "rt") as text:
        stated = [line.split("\t")[4] for line in text if not line.startswith("#")]
    alts = ",".join(stated).split(",")
    scored = [number for number, alt in enumerate(alts) if "<" not in alt]
    assert sorted(row["variant"] for row in rows) == scored
    # Cells [128 k - 64, 128 k + 64) of the first bases, one window each, and no allele twice.
    assert planned.windows == len({(row["pos"] - 1 + 64) // 128 for row in rows})
    assert planned.alternates == len({(row["pos"], row["ref"], row["alt"]) for row in rows})
    assert {row["missing_bp"] for row in rows} == {0}
    spans = list(planned.plan.spans.values())
    assert len(spans) > 10
    shards = [planned.plan.entries(span.shard)["pos"].to_pylist() for span in spans]
    for one, after in pairwise(shards):
        assert (one[-1] - 1 + 64) // 128 < (after[0] - 1 + 64) // 128


@pytest.mark.realdata
def test_variants_of_na12878_are_planned(shared: Path, tmp_path: Path) -> None:
    """The FASTA is a slice that begins at base 24,985,581 of chr21: positions are moved to it."""
    source = shared / "data/chr21_hg38/NA12878_platinum_chr21_24985581-26000306.hg38.vcf.gz"
    with gzip.open(source, "rt") as text:
        found = [line.split("\t") for line in text if not line.startswith("#")]
    moved = [
        ("chr21_24985581_26000306", int(pos) - 24_985_580, ".", ref, alts)
        for _, pos, _, ref, alts, *_ in found
    ]
    path = tmp_path / "moved.vcf"
    path.write_text(vcf(moved))
    fasta = "data/chr21_hg38/GRCh38_chr21_24985581-26000306.fa.gz"
    planned, files, rows = real_plan(shared, tmp_path, fasta, path)
    assert len(found) == 1_610
    assert planned.entries == sum(len(row[4].split(",")) for row in moved)
    assert planned.entries == len(rows) + len(rejects_of(files))
    assert (rows[0]["pos"], rows[0]["alt"]) == (1_791, "ATT")  # 24,987,371 - 24,985,580
