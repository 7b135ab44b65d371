"""Nets and chains read: which stretch lies where, and what is refused at which line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.dataset.alignments import Alignment
from cisray.dataset.synteny import read_alignments
from cisray.errors import SyntenyError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

NET = """\
# a net
net chr1 1000
 fill 100 300 chrA + 50 280 id 1 score 5 ali 200 syn
  gap 150 20 chrA + 90 10
   fill 152 10 chrB - 5 9 id 2 score 1 ali 9 nonSyn
 fill 600 400 chrUnplaced + 0 90 id 3 score 1 ali 9
net chrUn_1 70
 fill 0 70 chrA + 0 70 id 4 score 1 ali 9
net chr2 500
 fill 0 500 chrB - 0 400 id 5 score 1 ali 9
"""
CHAIN = """\
chain 900 chr1 1000 + 100 400 chrA 900 + 50 330 1
200 10 20
90

chain 800 chr2 500 + 0 500 chrB 400 - 30 400 2
500

"""


def write_fasta(path: Path, lengths: dict[str, int]) -> Genome:
    path.write_text(
        "".join(
            f">{name}\n{'ACGT' * (size // 4 + 1)}"[: len(name) + 2 + size] + "\n"
            for name, size in lengths.items()
        )
    )
    return Genome.open(path)


@pytest.fixture
def first(tmp_path: Path) -> Genome:
    return write_fasta(tmp_path / "first.fa", {"1": 1000, "2": 500})


@pytest.fixture
def second(tmp_path: Path) -> Genome:
    return write_fasta(tmp_path / "second.fa", {"chrA": 900, "chrB": 400})


def alignment(*place: str | int) -> Alignment:
    return Alignment(Interval(*place[:3]), Interval(*place[3:]))


def test_fills_of_a_net(tmp_path: Path, first: Genome, second: Genome) -> None:
    """In both genomes from the beginning of the chromosome, whatever the strand."""
    path = tmp_path / "net"
    path.write_text(NET)
    nested = alignment("1", 152, 162, "chrB", 5, 14)
    top = [alignment("1", 100, 400, "chrA", 50, 330), alignment("2", 0, 500, "chrB", 0, 400)]
    found = read_alignments(path, first, second)
    assert list(found) == [top[0], nested, top[1]]
    assert found.sizes.tolist() == [280, 9, 400]
    assert list(found.at_least(280)) == top
    assert list(read_alignments(path, first, second, levels="top")) == top
    # A fill on a chromosome that the second FASTA lacks, and one of a net that the first lacks.
    assert found.left_out.chromosomes == {"chrUn_1": 1, "chrUnplaced": 1}
    assert sorted(found.left_out.sizes.tolist()) == [70, 90]


def test_a_name_that_fits_two_chromosomes_is_an_error(tmp_path: Path, second: Genome) -> None:
    """It is not left out as if it were unknown."""
    first = write_fasta(tmp_path / "two.fa", {"1": 1000, "Chr1": 1000})
    path = tmp_path / "net"
    path.write_text("net chr1 1000\n fill 0 9 chrA + 0 9 id 1\n")
    with pytest.raises(SyntenyError, match=r"net:1: .*could mean any of 1, Chr1"):
        read_alignments(path, first, second)


def test_a_net_of_windows_and_gzip_is_the_same(tmp_path: Path, first, second) -> None:
    plain, packed = tmp_path / "net", tmp_path / "net.gz"
    plain.write_text(NET)
    packed.write_bytes(gzip.compress(NET.replace("\n", "\r\n").encode()))
    read = [list(read_alignments(one, first, second)) for one in (packed, plain)]
    assert read[0] == read[1]
    assert len(read[0]) == 3


def test_chains_count_from_the_strand(tmp_path: Path, first: Genome, second: Genome) -> None:
    path = tmp_path / "chain"
    path.write_text(CHAIN)
    assert list(read_alignments(path, first, second)) == [
        alignment("1", 100, 400, "chrA", 50, 330),
        alignment("2", 0, 500, "chrB", 0, 370),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("net chr1 1001\n fill 0 9 chrA + 0 9 id 1\n", ":1: chr1 has 1,001 bases here and 1,000"),
        ("net chr1 1000\n fill 0 9 chrA +\n", ":2: ' fill 0 9 chrA +' has fewer than 7"),
        ("net chr1 1000\n fill 0 x chrA + 0 9 id 1\n", ":2: invalid literal"),
        ("net chr1 1000\n fill 995 9 chrA + 0 9 id 1\n", ":2: 995 to 1,004"),
        ("net chr1 1000\n fill 0 9 chrA + 895 9 id 1\n", ":2: 895 to 904"),
        ("net chr1 1000\n fill 0 9 chrA 0 0 9 id 1\n", ":2: '0' stands where a strand must"),
        ("chain 9 chr1 1000 + 0 9 chrA 900 x 0 9 1\n", ":1: 'x' stands where a strand must"),
        ("net chr1 1000\n", "has no alignment"),
        ("net\n", ":1: 'net' is no line"),
        ("", "begins neither"),
        ("@SQ\n", ":1: '@SQ' begins neither"),
        ("chain 9 chr1 1000 + 0 9 chrA 800 + 0 9 1\n", ":1: chrA has 800 bases here and 900"),
        ("chain 9 chr1 1000 + 0 9 chrA 900 + 0\n", "has fewer than 12"),
        ("chain 9 chr1 1000 + 9 9 chrA 900 + 0 9 1\n", ":1: 9 to 9"),
        ("chain 9 chr1 1000 + 0 9 chrA 900 + 0 9 1\nx 3\n", ":2: 'x 3' is neither"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_line(
    tmp_path: Path, first: Genome, second: Genome, text: str, told: str
) -> None:
    path = tmp_path / "alignments"
    path.write_text(text)
    with pytest.raises(SyntenyError) as caught:
        read_alignments(path, first, second)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


@settings(deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            [*NET.splitlines(), *CHAIN.splitlines(), "", " fill", "gap 1", "net chr1", "\tfill 1 2"]
        ),
        max_size=12,
    )
)
def test_any_lines_give_alignments_or_one_error(tmp_path_factory, text: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed_alignments"
    if not folder.exists():
        folder.mkdir()
        write_fasta(folder / "first.fa", {"1": 1000, "2": 500})
        write_fasta(folder / "second.fa", {"chrA": 900, "chrB": 400})
    path = folder / "lines"
    path.write_text("\n".join(text))
    genomes = Genome.open(folder / "first.fa"), Genome.open(folder / "second.fa")
    told = str(path)
    try:
        assert len(read_alignments(path, *genomes))
    except SyntenyError as error:
        told = str(error)
    assert str(path) in told
