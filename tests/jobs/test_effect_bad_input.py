"""Every mistake with `score variants` and `saturation`: one paragraph, and nothing begun."""

import gzip
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pysam
import pytest
from effect_jobs import HEADER, write_genome, write_model, write_vcf

from cisray.store.scan import open_run


@dataclass(frozen=True)
class Given:
    model: Path
    fasta: Path
    vcf: Path
    text: str

    def options(self, kind: str, out: Path, *more: object) -> tuple[object, ...]:
        inputs = {"variants": ("--vcf", self.vcf), "saturation": ("--region", "chr1:100-103")}
        shared = ("--model", self.model, "--fasta", self.fasta, "--out", out)
        here = ("--workers", 0, "--threads", 1, "--quiet")
        return ("score", kind, *shared, *inputs[kind], *here, *more)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("bad")
    text = "".join(random.Random(8).choices("ACGT", k=1_400))
    records = [("chr1", pos, ".", text[pos - 1], turned(text[pos - 1])) for pos in (300, 301, 900)]
    return Given(
        write_model(folder / "m.safetensors"),
        write_genome(folder / "g.fa", {"chr1": text, "chr2": text[::-1]}),
        write_vcf(folder / "v.vcf", records),
        text,
    )


def turned(base: str) -> str:
    return "ACGT"["CGTA".index(base)]


Refused = Callable[..., None]


@pytest.fixture
def refused(cisray, given: Given, tmp_path: Path) -> Refused:
    """Run with these options, expect a refusal with these words, and no run directory."""

    def check(*options: object, words: tuple[object, ...], kind: str = "variants", code: int = 2):
        out = tmp_path / "out" / "run"
        for plan in ((), ("--plan",)):
            answer = cisray(*given.options(kind, out, *options, *plan))
            answer.assert_one_paragraph(*map(str, words), code=code)
            assert not out.parent.exists()

    return check


BOTH = [
    (("--stats", "SADD"), ("'SADD'", "Did you mean SAD", "REF, ALT, SAD")),
    (("--stats", "sad"), ("'sad'", "Did you mean SAD?")),
    (("--stats", "SAR"), ("SAR names two statistics", "SADR", "logSAD")),
    (("--stats", "SAD,SAD"), ("asked for twice",)),
    (("--stats", ","), ("--stats", "names none")),
    (("--bins", "3"), ("3 bins", "even number from 2 to 24")),
    (("--bins", "26"), ("26 bins", "even number from 2 to 24")),
    (("--bins", "0"), ("0 bins", "even number")),
    (("--bins", "some"), ("--bins", "'some'", "or all")),
    (("--bins", "-2"), ("--bins", "'-2'")),
    (("--shifts", "0,5"), ("shift of 5 bp", "at most 4 bp")),
    (("--shifts", "0,x"), ("--shifts", "whole numbers", "'0,x'")),
    (("--shifts", "1.5"), ("--shifts", "'1.5'")),
    (("--shifts", ","), ("--shifts", "','")),
    (("--shifts", "1,1"), ("different numbers of bases", "(1, 1)")),
    (("--std",), ("one member", "add the other strand or shifts")),
    (("--indels", "stitched"), ("'stitched'", "stitch/1, left/1", "Did you mean")),
    (("--indels", "stitch/2"), ("'stitch/2'",)),
    (("--window-placement", "centred"), ("--window-placement", "'centered' or 'grid'")),
    (("--rows-per-shard", "0"), ("--rows-per-shard", "at least 1")),
    (("--rows-per-shard", "65537"), ("--rows-per-shard", "65536")),
    (("--rows-per-shard", "few"), ("--rows-per-shard", "whole number or auto")),
    (("--predictor", "plain", "--precision", "bfloat16"), ("plain way", "Use float32")),
    (("--self-check", "0"), ("--self-check", "at least 1, or auto, or off")),
    (("--mantissa-bits", "24"), ("--mantissa-bits", "23")),
    (("--head", "humna"), ("Did you mean human?",)),
    (("--tracks", "FOO:*"), ("FOO:*",)),
    (("--num-gpus", "1"), ("--num-gpus 1", "--workers 0")),
    (("--model", "no.safetensors"), ("no.safetensors",)),
    (("--fasta", "no.fa"), ("no.fa",)),
]


@pytest.mark.parametrize(("options", "words"), BOTH, ids=" ".join)
def test_options_of_both(refused: Refused, options, words) -> None:
    refused(*options, words=words)


@pytest.mark.parametrize(("options", "words"), BOTH[::4], ids=" ".join)
def test_saturation_says_the_same(refused: Refused, options, words) -> None:
    refused(*options, words=words, kind="saturation")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-allele-bp", "0"), ("--max-allele-bp", "greater than or equal to 1", "0")),
        (("--max-mismatches", "0"), ("--max-mismatches", "greater than 0")),
        (("--max-mismatches", "1.1"), ("--max-mismatches", "less than or equal to 1")),
        (("--max-mismatches", "nan"), ("--max-mismatches",)),
        (("--vcf", ""), ("--vcf",)),
    ],
)
def test_options_of_variants(refused: Refused, options, words) -> None:
    refused(*options, words=words)


def test_what_is_required(cisray) -> None:
    every = ("--model is required", "--fasta is required", "--out is required")
    cisray("score", "variants").assert_one_paragraph(*every, "--vcf is required")
    cisray("score", "saturation").assert_one_paragraph(*every)


def test_files_that_cannot_be_read(refused: Refused, given: Given, tmp_path: Path) -> None:
    file = tmp_path / "v.vcf"
    refused("--vcf", file, words=("there is no file of variants", file))
    refused("--vcf", tmp_path, words=(tmp_path, "is a folder"))
    os.mkfifo(tmp_path / "pipe")
    refused("--vcf", tmp_path / "pipe", words=("pipe", "store the variants in a file"))
    for content, words in (
        (b"dear diary\nI\n", (f"{file}:1", "no file of variants")),
        (b"\x00\x01\x02\xff" * 50, (f"{file}:1", "no file of variants")),
        (b"##fileformat=VCFv4.2\n", (f"{file}:1", "ends within the header")),
        (b"##fileformat=VCFv4.2\nchr1\t5\t.\tA\tG\n", (f"{file}:2", "#CHROM")),
    ):
        file.write_bytes(content)
        refused("--vcf", file, words=words)


def test_files_cut_short(refused: Refused, given: Given, tmp_path: Path) -> None:
    """At the edge of a BGZF block, within one, and within gzip: nothing is scored."""
    bases = enumerate(given.text, start=1)
    lines = [f"chr1\t{pos}\t.\t{ref}\t{turned(ref)}\t.\t.\t{pos:050}" for pos, ref in bases]
    content = (HEADER + "\n".join(lines) + "\n").encode()
    packed = tmp_path / "v.vcf.gz"
    with pysam.BGZFile(str(packed), "wb") as file:
        file.write(content)
    whole = packed.read_bytes()
    # The empty block at the end has 28 bytes.
    for kept, words in ((whole[:-28], ("ends a BGZF file",)), (whole[:-200], ("cut short",))):
        packed.write_bytes(kept)
        refused("--vcf", packed, words=(packed, *words))
    packed.write_bytes(gzip.compress(content)[:-500])
    refused("--vcf", packed, words=(packed, "damaged or cut short"))
    packed.write_bytes(whole)
    bcf = tmp_path / "v.bcf"
    with (
        pysam.VariantFile(str(packed)) as text,
        pysam.VariantFile(str(bcf), "wb", header=text.header),
    ):
        pass
    bcf.write_bytes(bcf.read_bytes()[:-28])
    refused("--vcf", bcf, words=(bcf, "cut short"))


def test_the_wrong_assembly(refused: Refused, given: Given, tmp_path: Path) -> None:
    """Told after a few records, with the likely cause, and not after the whole file."""
    text = given.text

    def records(pos_shift: int, swap: bool):
        for pos in range(200, 1_200):
            ref, alt = text[pos - 1], turned(text[pos - 1])
            yield ("chr1", pos + pos_shift, ".", *((alt, ref) if swap else (ref, alt)))

    vcf = tmp_path / "v.vcf"
    for shift, swap, cause in (
        (-1, False, "the positions look 0-based"),
        (0, True, "REF and ALT look swapped"),
        (57, False, "another assembly"),
    ):
        write_vcf(vcf, records(shift, swap))
        refused("--vcf", vcf, words=(f"{vcf}:", "has REF", cause))
        refused("--vcf", vcf, "--strict", words=(cause,))


def test_names_that_the_fasta_does_not_know(
    refused: Refused, cisray, given: Given, tmp_path: Path
) -> None:
    """Refused before anything is scored; a few of them are rejects, and all if one says so."""
    records = [(f"NC_{n}", 300, ".", "A", "C") for n in range(1, 7)]
    vcf = write_vcf(tmp_path / "v.vcf", records)
    names = ("'NC_1', 'NC_2', 'NC_3'", "the FASTA has chr1, chr2.", "--rename-chrs")
    refused("--vcf", vcf, words=("none of the 6 records", vcf, *names))
    refused("--vcf", vcf, "--strict", words=names)
    passed = cisray(*given.options("variants", tmp_path / "a", "--vcf", vcf, "--max-mismatches", 1))
    assert passed.code == 0, passed.err
    write_vcf(vcf, records[:5])
    assert cisray(*given.options("variants", tmp_path / "b", "--vcf", vcf)).code == 0
    assert open_run(tmp_path / "b").rejects.collect().height == 5


def test_what_is_not_scored_is_told(cisray, given: Given, tmp_path: Path) -> None:
    """With its reasons, the most frequent first, where they are listed, and a warning."""
    right = (given.text[299], turned(given.text[299]))
    wrong = [("chr1", 400, ".", "A", alt) for alt in ("<DEL>", "*", "<DUP>", "<INV>")]
    vcf = write_vcf(tmp_path / "v.vcf", [("chr9", 5, ".", "A", "C"), *wrong])
    reasons = {"symbolic_alt": 3, "unknown_chromosome": 1, "spanning_deletion": 1}
    told = "(3 symbolic_alt, 1 unknown_chromosome, 1 spanning_deletion)"
    out = tmp_path / "run"
    for more in ((), ("--plan",)):
        answer = cisray(*given.options("variants", out, "--vcf", vcf, *more))
        assert f"5: 0 scored, 5 rejected {told}\n" in answer.out
        assert "WARNING  " in answer.out
        assert "none of the 5 entries is scored\n" in answer.out
        assert (f"{out}/rejects.parquet" in answer.out) == (not more)
        answer = cisray(*given.options("variants", out, "--vcf", vcf, *more, "--json"))
        assert list(json.loads(answer.out)["rejected"].items()) == list(reasons.items())
    # One of three is little, two of three are most.
    for count, warned in ((1, False), (2, True)):
        write_vcf(vcf, [("chr1", 300, ".", *right)] * (3 - count) + wrong[:1] * count)
        answer = cisray(*given.options("variants", tmp_path / f"{count}", "--vcf", vcf))
        assert f"({count} symbolic_alt)" in answer.out
        assert ("WARNING" in answer.out) == warned
        assert ("only 1 of the 3 entries is scored" in answer.out) == warned
        assert f"{tmp_path / str(count)}/rejects.parquet" in answer.out
    answer = cisray(*given.options("variants", tmp_path / "all"))
    assert "3: 3 scored, none rejected" in answer.out
    assert "rejects" not in answer.out
    assert "WARNING" not in answer.out


def test_rejects_where_none_may_be(refused: Refused, cisray, given: Given, tmp_path: Path) -> None:
    right = (given.text[299], turned(given.text[299]))
    vcf = write_vcf(
        tmp_path / "v.vcf", [("chr1", 300, "rs7", *right), ("chr1", 400, "sv9", "A", "<DEL>")]
    )
    refused("--vcf", vcf, "--strict", words=("1", "symbolic_alt", "v.vcf", "--strict"))
    assert cisray(*given.options("variants", tmp_path / "run", "--vcf", vcf)).code == 0
    assert cisray(*given.options("variants", tmp_path / "all", "--strict")).code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--region", "chr1:1,399-1,401"), ("1,399-1,401", "1,400 bases", "another assembly")),
        (("--region", "chrZ:5-9"), ("'chrZ'", "chr1, chr2")),
        (("--region", "chr1:9-5"), ("chr1:9-5",)),
        (("--region", "chr1:0-5"), ("chr1:0-5",)),
        (("--region", "chr1:five"), ("chr1:five",)),
        (("--bed", "regions.bed"), ("--bed", "--region", "not with both")),
    ],
)
def test_regions(refused: Refused, options, words) -> None:
    refused(*options, words=words, kind="saturation")


def test_neither_bed_nor_region(cisray, given: Given, tmp_path: Path) -> None:
    named = ("--model", given.model, "--fasta", given.fasta, "--out", tmp_path / "run")
    answer = cisray("score", "saturation", *named)
    answer.assert_one_paragraph("--bed", "--region", "for example")
    assert not (tmp_path / "run").exists()
    bed = tmp_path / "regions.bed"
    for line, words in (
        ("chr1\t1399\t1401\n", (f"{bed}:1", "1,400 bases")),
        ("chrZ\t1\t2\n", (f"{bed}:1", "'chrZ'")),
        ("chr1\t5\t5\n", (f"{bed}:1", "no bases")),
        ("", ("holds no regions",)),
    ):
        bed.write_text(line)
        answer = cisray("score", "saturation", *named, "--bed", bed)
        answer.assert_one_paragraph(*words)
        assert not (tmp_path / "run").exists()


def test_strict_saturation_takes_no_n(cisray, given: Given, tmp_path: Path) -> None:
    fasta = write_genome(tmp_path / "n.fa", {"chr1": given.text[:700] + "N" + given.text[700:]})
    options = given.options("saturation", tmp_path / "run", "--fasta", fasta)
    asked = ("--region", "chr1:700-702")
    cisray(*options, *asked, "--strict").assert_one_paragraph("non_acgt_allele", "chr1:701")
    assert not (tmp_path / "run").exists()
    answer = cisray(*options, *asked, "--json")
    # Of chr1:100-103 and 700-702 six bases are known, one is none.
    assert json.loads(answer.out)["entries"] == 6 * 3 + 1


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("variants", "vfc: a.vcf\n", ("'vfc'", "Did you mean vcf")),
        ("variants", "window-placment: grid\n", ("'window_placment'", "window_placement")),
        ("variants", "regions: chr1:1-2\n", ("'regions'",)),
        ("variants", "keep-alleles: 3\n", ("--keep-alleles", "3")),
        ("variants", "shifts: [0, x]\n", ("--shifts", "'x'")),
        ("variants", "bins: yes\n", ("--bins",)),
        ("saturation", "vcf: a.vcf\n", ("'vcf'",)),
        ("saturation", "regoin: chr1:1-2\n", ("'regoin'", "Did you mean region")),
    ],
)
def test_configurations(refused: Refused, tmp_path: Path, kind: str, text: str, words) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    refused("--config", file, words=(file, *words), kind=kind)


def test_a_configuration_says_what_options_say(cisray, given: Given, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "stats: [SAD, JS]\nbins: 4\nwindow-placement: grid\nrc: true\nshifts: [0, -2]\nstd: true\n"
        "indels: left\nmax-mismatches: 1\nself-check: off\nprecision: float32\n"
    )
    options = ("--stats", "SAD,JS", "--bins", 4, "--window-placement", "grid", "--rc", "--std")
    options = (*options, "--shifts", "0,-2", "--indels", "left", "--precision", "float32")
    assert cisray(*given.options("variants", tmp_path / "a", "--config", file)).code == 0
    assert cisray(*given.options("variants", tmp_path / "b", *options)).code == 0
    one, other = (open_run(tmp_path / name) for name in "ab")
    assert one.manifest.config == other.manifest.config
    assert one.scan().collect().equals(other.scan().collect())


def test_another_question_in_the_same_folder(cisray, given: Given, tmp_path: Path) -> None:
    """A sealed run, and one that is begun, stay as they are."""
    out = tmp_path / "run"
    options = given.options("variants", out)
    assert cisray(*options).code == 0
    longer = tmp_path / "longer.vcf"
    longer.write_text(given.vcf.read_text() + "chr1\t5\t.\tA\t<DEL>\t.\tPASS\t.\n")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for more, words in (
        (("--vcf", longer), ("rejects_sha256", "entries")),
        (("--stats", "SAD"), ("statistics", '["SAD"] now')),
        (("--indels", "left"), ("indels", '"left/1" now')),
        (("--bins", 2), ("bins",)),
        (("--rc",), ("reverse_complement",)),
        (("--shifts", "1"), ("shifts",)),
        (("--window-placement", "grid"), ("window_placement",)),
        (("--mantissa-bits", 11), ("mantissa_bits",)),
        (("--tracks", "1"), ("tracks",)),
    ):
        for plan in ((), ("--plan",)):
            answer = cisray(*options, *more, *plan)
            answer.assert_one_paragraph("holds another run", "--restart", *words)
    answer = cisray(*given.options("saturation", out))
    answer.assert_one_paragraph("holds another run", "score-saturation")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert cisray(*options, "--stats", "SAD", "--restart").code == 0
    assert open_run(out).statistics == ["SAD"]
