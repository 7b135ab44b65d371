"""Reading files of variants: each line a record or a bad line, numbered, whatever stands in it."""

import gzip
import re
import struct
import tracemalloc
from pathlib import Path

import pysam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import VariantsError
from cisray.genome import lines
from cisray.genome.vcf import BadLine, Record, read_records

HEADER = "##fileformat=VCFv4.2\n##contig=<ID=chr2,length=1000000>\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
BGZF_END = 28  # bytes of the empty block


def row(pos: int | str, ref: str = "A", alt: str = "G", *, chrom: str = "chr2") -> str:
    return f"{chrom}\t{pos}\trs7\t{ref}\t{alt}\t.\tPASS\tAC=1\n"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "variants"  # no ending: the content decides
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def bgzf(path: Path, text: bytes) -> Path:
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(text)
    return path


def bcf_string(text: str) -> bytes:
    """A BCF typed string: its length, below 15, in the high half of a byte whose low half is 7."""
    assert len(text) < 15
    return bytes([len(text) << 4 | 7]) + text.encode()


def bcf_text(rows: list[tuple[int, str, list[str]]]) -> bytes:
    """A BCF file before compression, after section 6.3 of the VCF 4.3 specification."""
    header = (HEADER + COLUMNS).encode() + b"\0"
    records = []
    for pos, ref, alts in rows:
        alleles = 1 + len(alts)
        # CHROM 0, POS 0-based, length on the reference, QUAL missing, counts: no INFO, no sample.
        fixed = struct.pack("<iiiIII", 0, pos - 1, len(ref), 0x7F800001, alleles << 16, 0)
        shared = fixed + bcf_string("") + b"".join(map(bcf_string, [ref, *alts])) + b"\0"
        records.append(struct.pack("<II", len(shared), 0) + shared)
    return b"BCF\x02\x02" + struct.pack("<I", len(header)) + header + b"".join(records)


SMALL = HEADER + COLUMNS + row(5_010) + row(5_020, "AC", "A,ACC") + row(5_030)
EXPECTED = [
    Record(0, 4, "chr2", 5_010, "rs7", "A", ("G",)),
    Record(1, 5, "chr2", 5_020, "rs7", "AC", ("A", "ACC")),
    Record(2, 6, "chr2", 5_030, "rs7", "A", ("G",)),
]


def test_a_vcf_is_read_whatever_it_is_stored_in(tmp_path: Path) -> None:
    text = SMALL.encode()
    assert list(read_records(written(tmp_path, text))) == EXPECTED
    assert list(read_records(written(tmp_path, gzip.compress(text)))) == EXPECTED
    assert list(read_records(bgzf(tmp_path / "x", text))) == EXPECTED


def test_windows_line_ends_byte_order_marks_and_a_missing_last_line_end(tmp_path: Path) -> None:
    for text in (SMALL.replace("\n", "\r\n"), "\ufeff" + SMALL, SMALL[:-1]):
        assert list(read_records(written(tmp_path, text))) == EXPECTED


def test_a_bcf_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = bcf_text([(5_010, "A", ["G"]), (5_020, "AC", ["A", "<DEL>"]), (5_030, "A", [])])
    for path in (written(tmp_path, text), bgzf(tmp_path / "x", text)):
        assert list(read_records(path)) == [
            Record(0, None, "chr2", 5_010, "", "A", ("G",)),
            Record(1, None, "chr2", 5_020, "", "AC", ("A", "<DEL>")),
            Record(2, None, "chr2", 5_030, "", "A", (".",)),
        ]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("what is this\n", "It has 1 columns where the header has 8"),
        ("chr2\t5020\t.\tA\n", "It has 4 columns where the header has 8"),
        ("chr2\t5020\t.\tA\tG\n", "It has 5 columns where the header has 8"),
        (row(5_020)[:-1] + "\tGT\n", "It has 9 columns where the header has 8"),
        (row("x20"), "The position 'x20' is not a whole number"),
        (row("20.5"), "The position '20.5' is not a whole number"),
        (row("-5"), "The position '-5' is not a whole number"),
        (row("1e6"), "The position '1e6' is not a whole number"),
        (row("5_020"), "The position '5_020' is not a whole number"),
        (row("²"), "is not a whole number"),
        (row(""), "The position '' is not a whole number"),
        (row("9" * 19), "is not a whole number"),
        (row(5_020, ref=""), "is empty"),
        (row(5_020, alt=""), "is empty"),
        (row(5_020, chrom=""), "is empty"),
        (row(5_020, alt="Ä"), "It is not text"),
        ("#" + row(5_020), "begins with #"),
        ("##contig=<ID=chr3>\n", "begins with #"),
    ],
)
def test_a_malformed_line_is_told_and_shifts_nothing(
    tmp_path: Path, line: str, problem: str
) -> None:
    text = HEADER + COLUMNS + row(5_010) + line + row(5_030)
    first, bad, last = read_records(written(tmp_path, text))
    assert first == EXPECTED[0]
    assert isinstance(bad, BadLine)
    assert (bad.record, bad.line) == (1, 5)  # 3 lines of header and 1 record before it
    assert problem in bad.problem
    assert last == EXPECTED[2]


def test_bytes_that_are_no_text_spoil_their_own_line_only(tmp_path: Path) -> None:
    good = (HEADER + COLUMNS + row(5_010)).encode()
    text = good + b"chr\xff2\t5020\t.\tA\tG\t.\t.\t.\n" + row(5_030).encode()
    first, bad, last = read_records(written(tmp_path, text))
    assert (first, last) == (EXPECTED[0], EXPECTED[2])
    assert isinstance(bad, BadLine)
    assert "'chr\\\\xff2" in bad.problem


def test_blank_lines_count_as_lines_and_not_as_records(tmp_path: Path) -> None:
    text = HEADER + COLUMNS + row(5_010) + "\n \t\n" + row(5_030) + "\n"
    assert list(read_records(written(tmp_path, text))) == [
        EXPECTED[0],
        Record(1, 7, "chr2", 5_030, "rs7", "A", ("G",)),
    ]


def test_what_is_read_but_impossible_is_left_to_the_checks(tmp_path: Path) -> None:
    text = HEADER + COLUMNS + row(0) + row(5_020, "a", "<DEL>,*,.,,N[chr3:7[")
    zero, odd = read_records(written(tmp_path, text))
    assert isinstance(zero, Record)
    assert isinstance(odd, Record)
    assert zero.pos == 0
    assert (odd.ref, odd.alts) == ("a", ("<DEL>", "*", ".", "", "N[chr3:7["))


def test_genotypes_are_counted_and_not_read(tmp_path: Path) -> None:
    columns = COLUMNS[:-1] + "\tFORMAT\tNA1\tNA2\n"
    good, short = row(5_010)[:-1] + "\tGT\t0|1\t1|1\n", row(5_020)[:-1] + "\tGT\t0|1\n"
    first, second = read_records(written(tmp_path, HEADER + columns + good + short))
    assert first == EXPECTED[0]
    assert isinstance(second, BadLine)
    assert "It has 10 columns where the header has 11" in second.problem


def test_a_header_with_the_five_columns_alone_is_enough(tmp_path: Path) -> None:
    text = "#CHROM\tPOS\tID\tREF\tALT\nchr2\t5010\t.\tA\tG\n"
    assert list(read_records(written(tmp_path, text))) == [
        Record(0, 2, "chr2", 5_010, "", "A", ("G",))
    ]


LISTED = """#CHROM\tPOS\tREF\tALT
chr2\t5010\tA\tG
chr2\t5020\tac\tA,ACC\tmine

chr2 5030 A <DEL> .
chr2:5040:A:G
  chr2_5050_a_G_b38
2-5060-A-G
HLA-A*01:01:77:R:G
chr2:0:A:G
rs123
chr2\t5070\tA
#chr2\t5080\tA\tG
chrom pos ref alt
chr2\t5090\tA\tG\r
"""


def test_a_list_is_read_line_by_line(tmp_path: Path) -> None:
    records = list(read_records(written(tmp_path, LISTED)))
    assert [r.record for r in records] == list(range(12))
    assert [r for r in records if isinstance(r, Record)] == [
        Record(0, 2, "chr2", 5_010, "", "A", ("G",)),
        Record(1, 3, "chr2", 5_020, "mine", "ac", ("A", "ACC")),
        Record(2, 5, "chr2", 5_030, "", "A", ("<DEL>",)),
        Record(3, 6, "chr2", 5_040, "", "A", ("G",)),
        Record(4, 7, "chr2", 5_050, "", "a", ("G",)),
        Record(5, 8, "2", 5_060, "", "A", ("G",)),
        Record(6, 9, "HLA-A*01:01", 77, "", "R", ("G",)),
        Record(7, 10, "chr2", 0, "", "A", ("G",)),
        Record(11, 15, "chr2", 5_090, "", "A", ("G",)),
    ]
    bad = [r for r in records if isinstance(r, BadLine)]
    assert [r.line for r in bad] == [11, 12, 14]
    assert "an rs number does not say the alleles" in bad[0].problem
    assert "It has 3 columns" in bad[1].problem
    assert "The position 'pos' is not a whole number" in bad[2].problem


def test_bad_lines_before_the_first_good_one_of_a_list_are_kept(tmp_path: Path) -> None:
    records = list(read_records(written(tmp_path, "rs1\n" * 19 + "chr2:5040:A:G\nrs2\n")))
    # 19 bad ones are fewer than the 20 that make the file no list.
    assert [r.record for r in records] == list(range(21))
    assert [r.line for r in records if isinstance(r, Record)] == [20]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", HEADER + COLUMNS])
def test_an_empty_file_has_no_records(tmp_path: Path, text: str) -> None:
    assert list(read_records(written(tmp_path, text))) == []
    assert list(read_records(written(tmp_path, gzip.compress(text.encode())))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (row(5_010) + row(5_020), ":1: this is no file of variants"),
        ("rs1\n" * 20 + "chr2:5040:A:G\n", "none of its first 20 lines is a variant"),
        (">chr2\nACGT\n", "none of its first 2 lines"),
        (SMALL.encode("utf-16"), ":1: this is no file of variants"),
        (b"BAM\x01\x00\x00\x00\x00", ":1: this is no file of variants"),
        (HEADER, ":2: the file ends within the header"),
        (HEADER + row(5_010), ":3: 'chr2\\\\t5010"),
        (HEADER + COLUMNS.replace("\t", " "), ":3: '#CHROM POS ID"),
    ],
)
def test_what_is_no_file_of_variants_is_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(VariantsError, match=re.escape(str(path)) + ".*" + message):
        list(read_records(path))


def test_missing_files_and_folders_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(VariantsError, match="there is no file of variants"):
        read_records(tmp_path / "none.vcf")
    with pytest.raises(VariantsError, match="is a folder"):
        read_records(tmp_path)


LARGE = (HEADER + COLUMNS + "".join(row(pos) for pos in range(5_000, 45_000))).encode()


def test_a_bgzf_file_cut_at_a_block_is_refused_at_once(tmp_path: Path) -> None:
    """htslib reads it with a warning: the rest of the rows would be lost."""
    whole = bgzf(tmp_path / "x", LARGE).read_bytes()
    size_of_first = int.from_bytes(whole[16:18], "little") + 1
    for end in (size_of_first, len(whole) - BGZF_END, len(whole) // 2, len(whole) - 1):
        with pytest.raises(VariantsError, match="lacks the empty block that ends a BGZF file"):
            read_records(written(tmp_path, whole[:end]))


def test_damage_is_met_where_it_is(tmp_path: Path) -> None:
    whole = bytearray(bgzf(tmp_path / "x", LARGE).read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path = written(tmp_path, bytes(whole))
    with pytest.raises(VariantsError, match="cannot be read from about this line on") as caught:
        list(read_records(path))
    named = re.search(r"variants:(\d+):", str(caught.value))
    assert named is not None
    # Half of 40,003 lines, give or take a block of 256 kB, 7,700 lines of 34 bytes.
    assert 10_000 < int(named[1]) < 28_000


def test_a_gzip_file_cut_short_is_refused(tmp_path: Path) -> None:
    cut = gzip.compress(LARGE)[:-200]
    with pytest.raises(VariantsError, match="damaged or cut short"):
        list(read_records(written(tmp_path, cut)))


def test_a_bcf_that_is_damaged_or_cut_short_is_refused(tmp_path: Path) -> None:
    text = bcf_text([(pos, "A", ["G"]) for pos in range(5_000, 25_000)])
    whole = bgzf(tmp_path / "x", text).read_bytes()
    with pytest.raises(VariantsError, match="lacks the empty block"):
        read_records(written(tmp_path, whole[:-BGZF_END]))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    with pytest.raises(VariantsError, match=r"record [0-9,]+: the file is damaged"):
        list(read_records(written(tmp_path, bytes(damaged))))
    with pytest.raises(VariantsError, match="record 20,000: the file is damaged"):
        list(read_records(written(tmp_path, text[:-5])))
    with pytest.raises(VariantsError, match="begins as BCF, but cannot be opened"):
        read_records(written(tmp_path, b"BCF\x02\x02 and then nothing"))
    with pytest.raises(VariantsError, match="begins as BCF, but cannot be opened"):
        read_records(written(tmp_path, gzip.compress(text)))  # gzip, where BCF is in BGZF


@given(
    parts=st.lists(st.text("ab\t", max_size=9), max_size=12),
    ends=st.lists(st.sampled_from(["\n", "\r\n"]), min_size=12, max_size=12),
    block=st.integers(1, 9),
)
def test_lines_do_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], ends: list[str], block: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x"
    path.write_bytes("".join(p + e for p, e in zip(parts, ends, strict=False)).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK", block)
        found = list(lines.numbered_lines(path))
    assert found == [(n, part.encode()) for n, part in enumerate(parts, start=1)]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_LONGEST_LINE", 1000)
    monkeypatch.setattr(lines, "_BLOCK", 100)
    path = written(tmp_path, "chr2:50:A:G\n" + "A" * 5000)
    with pytest.raises(VariantsError, match=":2: this line is longer than 1,000 bytes"):
        list(read_records(path))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Records of 10 and of 80 blocks of 256 kB, most of it INFO, have the same peak."""
    peaks = []
    for blocks in (10, 80):
        info = "AC=1;" * 200  # 1,000 bytes, so that 256 records are a block
        rows = "".join(f"chr2\t{5000 + i}\t.\tA\tG\t.\t.\t{info}\n" for i in range(blocks * 256))
        path = bgzf(tmp_path / "x", (HEADER + COLUMNS + rows).encode())
        del rows
        tracemalloc.start()
        count = sum(1 for _ in read_records(path))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == blocks * 256
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 3_000_000  # a few blocks; the text of the larger file has 21 million bytes
