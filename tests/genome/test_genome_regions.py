import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import LocusError, RegionsError, UnknownChromosome
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.regions import read_bed, read_features, region_of

FastaMaker = Callable[..., Path]


@pytest.fixture(scope="module")
def genome(make_fasta: FastaMaker) -> Genome:
    return Genome.open(make_fasta({"chr1": "ACGT" * 250, "chr2": "ACGT" * 50}))


def refusal(bed: Path, genome: Genome) -> str:
    with pytest.raises(RegionsError) as caught:
        read_bed(bed, genome)
    message = str(caught.value)
    assert str(bed) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("compressed", [False, True])
def test_regions_keep_file_order(
    tmp_path: Path, genome: Genome, newline: str, compressed: bool
) -> None:
    lines = [
        "browser position chr1:1-100",
        'track name="mine" description="chr1 1 2"',
        "# a comment",
        "chr2\t5\t200\tname\t0\t-",
        "",
        "1\t999\t1000",  # the last base, by an alias
        "chr1 10 20 spaces",
        "chr1\t10\t20",
    ]
    content = newline.join(lines).encode("utf-8-sig")
    bed = tmp_path / "regions.bed"
    bed.write_bytes(gzip.compress(content) if compressed else content)
    assert read_bed(bed, genome) == [
        Interval("chr2", 5, 200),
        Interval("chr1", 999, 1000),
        Interval("chr1", 10, 20),
        Interval("chr1", 10, 20),
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 1003), st.integers(-2, 1003)), min_size=1, max_size=8))
def test_every_line_is_a_region_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, genome: Genome, places: list[tuple[int, int]]
) -> None:
    bed = tmp_path_factory.mktemp("bed") / "regions.bed"
    bed.write_text("".join(f"chr1\t{start}\t{end}\n" for start, end in places))
    wrong = [
        number
        for number, (start, end) in enumerate(places, start=1)
        if not (0 <= start < end <= 1000)
    ]
    if not wrong:
        assert read_bed(bed, genome) == [Interval("chr1", start, end) for start, end in places]
        return
    message = refusal(bed, genome)
    assert message.startswith(f"{bed}:{wrong[0]}: ")
    assert (f"({len(wrong) - 1} more lines are wrong.)" in message) == (len(wrong) > 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("chr1\t20\t20", "holds no bases"),
        ("chr1\t20\t10", "holds no bases"),
        ("chr1\t-1\t10", "negative"),
        ("chr1\t990\t1001", "chr1, which has 1,000 bases"),
        ("chr3\t1\t10", "no chromosome 'chr3'"),
        ("chrom\tstart\tend", "begins with '#'"),
        ("chr1\t1,000\t2,000", "'1,000' is not a whole number"),
        ("chr1\t1_0\t20", "'1_0' is not a whole number"),
        ("chr1\t1.0\t20", "not a whole number"),
        ("chr1\t\t20", "not a whole number"),
        (f"chr1\t1\t{'9' * 5000}", "not a whole number"),
        ("chr1\t10", "2 columns"),
        ("chr1:10-20", "1 columns"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, genome: Genome, line: str, message: str) -> None:
    bed = tmp_path / "regions.bed"
    bed.write_text(f"# header\nchr1\t1\t2\n{line}\n")
    found = refusal(bed, genome)
    assert found.startswith(f"{bed}:3: ")
    assert message in found


def test_files_that_cannot_be_read(tmp_path: Path, genome: Genome) -> None:
    assert "cannot read" in refusal(tmp_path / "none.bed", genome)
    assert "is a folder, a pipe or a device" in refusal(tmp_path, genome)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is a folder, a pipe or a device" in refusal(pipe, genome)
    bed = tmp_path / "regions.bed"
    bed.write_text("# nothing\n\n")
    assert "holds no regions" in refusal(bed, genome)
    bed.write_bytes(b"chr1\t1\t2\n\xff\xff\n")
    assert "not text" in refusal(bed, genome)
    whole = gzip.compress(b"chr1\t1\t2\n" * 5000)
    bed.write_bytes(whole[:-9])
    assert "cut short" in refusal(bed, genome)
    bed.write_bytes(whole[:20] + b"\xff\xff\xff\xff" + whole[24:])
    refusal(bed, genome)


@pytest.mark.realdata
def test_the_gap_table_is_the_unknown_bases_of_chr20(shared: Path, tmp_path: Path) -> None:
    gaps = (shared / "data/annotation/hg19_gaps.bed").read_text().splitlines(keepends=True)
    bed = tmp_path / "gaps.bed"
    bed.write_text("".join(line for line in gaps if line.startswith("chr20\t")))
    with Genome.open(shared / "data/chr20_hg19/hg19_chr20.whole.fa.gz") as genome:
        regions = read_bed(bed, genome)
        assert {region.chrom for region in regions} == {"20"}  # named as the FASTA names it
        in_gap = np.zeros(63_025_520, dtype=bool)
        for region in regions:
            in_gap[region.start : region.end] = True
        assert np.count_nonzero(in_gap) == 3_520_000  # the widths in the table, summed
        assert np.array_equal(genome.fetch(Interval("20", 0, 63_025_520)) == 4, in_gap)


def test_a_locus_is_a_region(genome: Genome) -> None:
    assert region_of("1:101-200", genome) == Interval("chr1", 100, 200)
    assert region_of("chr2:200", genome) == Interval("chr2", 199, 200)
    assert region_of("chr2", genome) == Interval("chr2", 0, 200)


@pytest.mark.parametrize(
    ("locus", "kind", "problem"),
    [
        ("chr2:150-201", RegionsError, "chr2:150-201.*leaves chr2, which has 200 bases"),
        ("chr2:201", RegionsError, "leaves chr2"),
        ("chr3:1-2", UnknownChromosome, "chr3"),
        ("chr2:9-3", LocusError, "ends before it starts"),
    ],
)
def test_a_locus_that_is_no_region_is_refused(
    genome: Genome, locus: str, kind: type[Exception], problem: str
) -> None:
    with pytest.raises(kind, match=problem):
        region_of(locus, genome)


def test_features_have_the_name_of_column_four(tmp_path: Path, genome: Genome) -> None:
    bed = tmp_path / "tss.bed"
    lines = ["# gene", "1\t5\t6\tMYH7 B\t0\t-", "", "chr1\t5\t6", "chr2 7 9 GATA1", "chr1\t1\t2\t"]
    bed.write_text("\n".join(lines))
    assert read_features(bed, genome) == [
        (Interval("chr1", 5, 6), "MYH7 B"),
        (Interval("chr1", 5, 6), ""),
        (Interval("chr2", 7, 9), "GATA1"),
        (Interval("chr1", 1, 2), ""),
    ]
    assert read_bed(bed, genome) == [feature.interval for feature in read_features(bed, genome)]


def test_a_feature_that_a_check_refuses_is_named_by_its_line(
    tmp_path: Path, genome: Genome
) -> None:
    def check(interval: Interval) -> None:
        if interval.width > 10:
            raise RegionsError(f"{interval} is wide.")

    bed = tmp_path / "genes.bed"
    bed.write_text("# genes\nchr1\t0\t10\nchr1\t0\t11\nchr9\t0\t10\n")
    with pytest.raises(RegionsError) as caught:
        read_features(bed, genome, check=check)
    assert str(caught.value) == f"{bed}:3: chr1:1-11 is wide. (1 more lines are wrong.)"
