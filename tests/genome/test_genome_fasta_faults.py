"""Ways in which a FASTA or its index can be wrong: one paragraph with the file and the remedy."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from Bio import bgzf

from cisray.errors import FastaError
from cisray.genome.encode import decode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

FastaMaker = Callable[..., Path]
BASES = "ACGTTGCANNACGTAGCTAA" * 40  # 800 bases


def refusal(path: Path) -> str:
    with pytest.raises(FastaError) as caught:
        Genome.open(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def index_of(path: Path) -> Path:
    return path.with_name(path.name + ".fai")


@pytest.fixture
def plain(make_fasta: FastaMaker) -> Path:
    return make_fasta({"chr1": BASES, "chr2": BASES[:130]})


@pytest.fixture
def packed(make_fasta: FastaMaker) -> Path:
    return make_fasta({"chr1": BASES, "chr2": BASES[:130]}, block=100)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no FASTA file" in refusal(tmp_path / "none.fa")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fa")
    assert "pipe" in refusal(tmp_path / "pipe.fa")


@pytest.mark.parametrize("content", [b"", bgzf._bgzf_eof])
def test_an_empty_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.fa.gz"
    path.write_bytes(content)
    assert "is empty" in refusal(path)


@pytest.mark.parametrize("content", [b"chr1\t1\t2\n", b"\nACGT\n", b"\xef\xbb\xbf>chr1\nACGT\n"])
def test_not_a_fasta(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "genome.fa"
    path.write_bytes(content)
    assert "not a FASTA file" in refusal(path)
    assert not index_of(path).exists()


def test_gzip_that_is_not_bgzf(plain: Path) -> None:
    path = plain.with_name("plain.fa.gz")
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert "bgzip" in refusal(path)


def test_bgzf_cut_between_blocks(packed: Path) -> None:
    Genome.open(packed).close()
    packed.write_bytes(packed.read_bytes()[: -len(bgzf._bgzf_eof)])
    assert "cut short" in refusal(packed)


@pytest.mark.parametrize("cut", [1, 5, 17, 27, 29, 60])
def test_bgzf_cut_within_a_block(packed: Path, cut: int) -> None:
    Genome.open(packed).close()
    packed.write_bytes(packed.read_bytes()[:-cut])
    message = refusal(packed)
    assert "damaged" in message
    assert "Fetch the file again" in message


def test_bgzf_with_a_damaged_block_is_found_when_read(packed: Path) -> None:
    Genome.open(packed).close()
    stored = bytearray(packed.read_bytes())
    with packed.open("rb") as handle:
        starts = [start for start, _, _, _ in bgzf.BgzfBlocks(handle)]
    stored[starts[3] + 25] ^= 0xFF  # text bytes 300 to 399: bases of chr1 from about 278 on
    packed.write_bytes(stored)
    with Genome.open(packed) as genome:
        assert decode(genome.fetch(Interval("chr1", 100, 200))) == BASES[100:200]
        with pytest.raises(FastaError, match=f"damaged at its byte {starts[3]}"):
            genome.fetch(Interval("chr1", 100, 400))


def test_a_plain_file_cut_short(plain: Path) -> None:
    Genome.open(plain).close()
    plain.write_bytes(plain.read_bytes()[:-20])
    message = refusal(plain)
    assert "chr2 end at byte" in message
    assert "truncated" in message


@pytest.mark.parametrize("block", [None, 100])
def test_an_index_of_another_version_of_the_file(make_fasta: FastaMaker, block: int | None) -> None:
    old = make_fasta({"chr1": BASES, "chr2": BASES[:130]}, block=block)
    Genome.open(old).close()
    for sequences in (
        {"chr1": BASES[1:], "chr2": BASES[:130]},  # one base less: everything after it is shifted
        {"chr1": BASES, "chr2": BASES[:131]},
        {"chr1": BASES, "chr2": BASES[:130], "chr3": BASES},  # a chromosome more
        {"chr1": BASES},
        {"chr1": BASES, "chr4": BASES[:130]},  # another name
        {"chr2": BASES[:130], "chr1": BASES},  # another order
    ):
        new = make_fasta(sequences, block=block)
        shutil.copy(index_of(old), index_of(new))
        before = index_of(new).read_bytes()
        message = refusal(new)
        assert "does not fit" in message
        assert "delete the index" in message
        assert index_of(new).read_bytes() == before
    new = make_fasta({"chr1": BASES, "chr2": BASES[:130]}, line=50, block=block)
    shutil.copy(index_of(old), index_of(new))
    assert "does not fit" in refusal(new)


def test_an_old_index_that_fits_is_used_as_it_is(plain: Path) -> None:
    Genome.open(plain).close()
    os.utime(index_of(plain), (1_000_000, 1_000_000))
    with Genome.open(plain) as genome:
        assert genome.chromosomes == {"chr1": 800, "chr2": 130}
    assert index_of(plain).stat().st_mtime == 1_000_000


@pytest.mark.parametrize(
    "line",
    [
        "chr1\t800\t22\t60",  # a column short, as a truncated index ends
        "chr1\t800\t22\t60\t61\t9",
        "chr1\t800\t22\t60\tx",
        "chr1\t-800\t22\t60\t61",
        "chr1\t800\t22\t0\t1",
        "chr1\t800\t22\t60\t60",
        "chr1\t800\t22\t61\t60",
        "\t800\t22\t60\t61",
        "",
        "chr1 800 22 60 61",
    ],
)
def test_a_malformed_index(plain: Path, line: str) -> None:
    index_of(plain).write_text(line + "\n")
    message = refusal(plain)
    assert f"{index_of(plain)}:1:" in message
    assert "Delete it" in message


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("block", [None, 100])
@pytest.mark.parametrize(("name", "length"), [("chr1", 800), ("chr2", 130)])
@pytest.mark.parametrize("change", [-60, -1, 1, 2])
def test_an_index_with_a_wrong_length(
    make_fasta: FastaMaker, newline: str, block: int | None, name: str, length: int, change: int
) -> None:
    path = make_fasta({"chr1": BASES, "chr2": BASES[:130]}, newline=newline, block=block)
    Genome.open(path).close()
    right = index_of(path).read_text()
    wrong = right.replace(f"{name}\t{length}\t", f"{name}\t{length + change}\t")
    assert wrong != right
    index_of(path).write_text(wrong)
    assert "does not fit" in refusal(path)


def test_an_index_cut_after_a_line(plain: Path) -> None:
    Genome.open(plain).close()
    first = index_of(plain).read_text().splitlines(keepends=True)[0]
    index_of(plain).write_text(first)
    assert "goes on after chr1" in refusal(plain)


def test_an_empty_index(plain: Path) -> None:
    index_of(plain).write_text("")
    assert "no sequence" in refusal(plain)


def test_a_binary_index(plain: Path) -> None:
    index_of(plain).write_bytes(b"\xff\xfe\x00")
    assert "cannot read the index" in refusal(plain)


@pytest.mark.parametrize("block", [None, 100])
def test_one_name_twice(make_fasta: FastaMaker, block: int | None) -> None:
    path = make_fasta({"chr1": BASES, "chr2": BASES}, block=block)
    if block is None:
        path.write_bytes(path.read_bytes().replace(b">chr2", b">chr1"))
    else:
        text = gzip.decompress(path.read_bytes()).replace(b">chr2", b">chr1")
        with bgzf.BgzfWriter(str(path)) as writer:
            writer.write(text)
    assert "chr1" in refusal(path)
    assert not index_of(path).exists()


def test_one_name_twice_in_the_index(plain: Path) -> None:
    Genome.open(plain).close()
    index_of(plain).write_text(index_of(plain).read_text().replace("chr2", "chr1"))
    message = refusal(plain)
    assert "'chr1' is there twice" in message
    assert f"{index_of(plain)}:2:" in message


def test_lines_of_unequal_length(tmp_path: Path) -> None:
    path = tmp_path / "ragged.fa"
    path.write_text(">chr1\nACGTACGT\nACG\nACGTACGT\n")
    message = refusal(path)
    assert "cannot index" in message
    assert "equal length" in message
    assert os.listdir(tmp_path) == ["ragged.fa"]


def test_names_without_sequence(tmp_path: Path) -> None:
    path = tmp_path / "names.fa"
    path.write_text(">chr1\n>chr2\n")
    assert "no sequence with any bases" in refusal(path)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.fa"
    path.write_bytes(b">chr1\n\xff\xfe\x00\n")
    assert "cannot index" in refusal(path)


def test_lines_that_break_elsewhere_than_indexed(tmp_path: Path) -> None:
    # As many bytes from the first base to the last: only reading the bases can tell.
    path = tmp_path / "moved.fa"
    path.write_text(">c\nACGT\nACGT\nACGT\nACGT\nACGT\n")
    Genome.open(path).close()
    path.write_text(">c\nACGTACGT\nACGT\nACGT\nAC\nGT\n")
    with Genome.open(path) as genome:
        # Bases 4 to 14 should be bytes 5 to 17 after the name, with breaks at 9 and 14. The moved
        # breaks are at 8 and 13: as many letters as asked for, but those of bases 5 to 15.
        with pytest.raises(FastaError, match="breaks the lines of c:5-15 elsewhere"):
            genome.fetch(Interval("c", 4, 15))
        with pytest.raises(FastaError, match="breaks the lines"):
            genome.fetch(Interval("c", 0, 20))


def test_a_folder_that_cannot_be_written(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    message = refusal(plain)
    assert "samtools faidx" in message
    assert "Permission denied" in message


@pytest.mark.parametrize("block", [None, 100])
def test_a_missing_index_is_made_as_samtools_would(
    make_fasta: FastaMaker, block: int | None
) -> None:
    path = make_fasta({"chr1": BASES, "empty": "", "chr2": BASES[:130]}, block=block)
    Genome.open(path).close()
    made = [line.split("\t") for line in index_of(path).read_text().splitlines()]
    # ">chr1 a description\n" is 20 bytes; 800 bases are 13 lines of 60 and one of 20.
    assert made[0] == ["chr1", "800", "20", "60", "61"]
    # 20 + 800 + 14 = 834; ">empty a description\n" is 21; ">chr2 a description\n" is 20.
    assert made[2] == ["chr2", "130", "875", "60", "61"]
    assert sorted(os.listdir(path.parent)) == [path.name, path.name + ".fai"]


@pytest.mark.parametrize("gzi", [None, b"", b"\x05\x00", b"\xff" * 24])
def test_the_gzi_is_neither_needed_nor_believed(packed: Path, gzi: bytes | None) -> None:
    Genome.open(packed).close()
    gzi_path, index = packed.with_name(packed.name + ".gzi"), index_of(packed).read_bytes()
    if gzi is not None:
        gzi_path.write_bytes(gzi)
    with Genome.open(packed) as genome:
        assert decode(genome.fetch(Interval("chr2", 7, 130))) == BASES[7:130]
    assert index_of(packed).read_bytes() == index
    assert (gzi_path.read_bytes() if gzi_path.exists() else None) == gzi


def test_the_ending_of_the_name_does_not_matter(packed: Path) -> None:
    path = packed.with_name("genome.fasta")
    shutil.move(packed, path)
    with Genome.open(path) as genome:
        assert decode(genome.fetch(Interval("chr1", 333, 444))) == BASES[333:444]


def test_a_file_cut_while_open(plain: Path) -> None:
    with Genome.open(plain) as genome:
        os.truncate(plain, 300)
        with pytest.raises(FastaError, match="truncated or was changed"):
            genome.fetch(Interval("chr1", 200, 700))


def test_an_empty_last_record_without_a_line_break_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "genome.fa"
    path.write_text(">chr1\nACGTA\n>chr2")
    with Genome.open(path) as genome:
        assert genome.chromosomes == {"chr1": 5, "chr2": 0}
