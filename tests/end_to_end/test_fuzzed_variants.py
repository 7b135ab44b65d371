"""Ten thousand fuzzed records through the whole job: nothing crashes, nothing is lost, all is true.

Records are drawn so that most are nearly right: repeats in which an indel has many spellings, the
ends of chromosomes, gaps, odd letters, several alleles. What comes out is held against the text.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from effect_jobs import HEADER, score, values, write_genome, write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from string_scores import Look, StringScores, assert_canonical

from cisray.model.enformer.config import EnformerConfig
from cisray_schemas import Reason

# 16 tokens of 8 bp, the middle 8 predicted: windows of 128 bp, alleles of up to 32 bp.
SMALLEST = EnformerConfig(
    channels=12,
    num_transformer_layers=1,
    num_heads=1,
    key_size=4,
    num_downsamples=3,
    channels_divisible_by=2,
    input_bp=128,
    target_bins=8,
    heads={"human": 2},
)
ODD_ALTS = (".", "*", "<DEL>", "<CN0>", "N", "R", "G]chr1:9]", ".A", "A.", "", "acgtn", "-")
ODD_LINES = (
    "", "\t", "# a comment", "chr1\t5", "chr1\tx\t.\tA\tC\t.\t.\t.", "chr1\t-3\t.\tA\tC\t.\t.\t.",
    "chr1\t5\t.\t\tC\t.\t.\t.", "chr1\t99999999999999999999\t.\tA\tC\t.\t.\t.", "\x00\x01",
    "chr1\t5\t.\tA\tC\t.\t.\t.\textra", "chr1\t5.0\t.\tA\tC\t.\t.\t.", "é\t5\t.\tA\tC\t.\t.\t.",
)  # fmt: skip


def repetitive_genome() -> dict[str, str]:
    dice = random.Random(12)
    text = []
    while sum(map(len, text)) < 1_500:
        unit = "".join(dice.choices("ACGT", k=dice.choice((1, 1, 2, 3, 7))))
        text.append(unit * dice.randint(1, 200 // len(unit) if dice.random() < 0.1 else 12))
        text.append("".join(dice.choices("ACGT", k=dice.randint(0, 40))))
        if dice.random() < 0.05:
            text.append("N" * dice.randint(1, 150))
    whole = "".join(text)
    return {"chr1": whole, "chr2": "A" * 60 + whole[300:420].lower(), "chrM": "ACG" * 11}


def lines(texts: dict[str, str], count: int, seed: int) -> Iterator[str]:
    """Draw records of which most are right."""
    dice = random.Random(seed)

    def bases(most: int) -> str:
        return "".join(dice.choices("ACGT", k=dice.randint(1, most)))

    for number in range(count):
        if dice.random() < 0.02:
            yield dice.choice(ODD_LINES)
            continue
        name = dice.choice(("chr1", "chr1", "chr1", "chr2", "chrM"))
        text = texts[name]
        pos = dice.choice(
            (dice.randint(1, len(text)), dice.randint(1, 5), len(text) - dice.randint(-1, 4))
        )
        size = dice.choice((1, 1, 1, 1, 2, 3, dice.randint(1, 40)))
        ref = text[max(pos, 1) - 1 : pos - 1 + size] or "A"
        if dice.random() < 0.02:
            ref = bases(3)
        alts = [
            dice.choice(
                (
                    bases(1), bases(1), bases(1), ref[0], ref + ref[-1] * dice.randint(1, 4),
                    ref[: -1] or bases(2), ref[0] + bases(6), bases(3) + ref[1:], bases(40),
                    ref * 2,
                )
            )
            if dice.random() < 0.95
            else dice.choice(ODD_ALTS)
            for _ in range(dice.choice((1, 1, 1, 2, 3)))
        ]  # fmt: skip
        if dice.random() < 0.05:
            ref, alts = ref.lower(), [alt.lower() for alt in alts]
        shown = dice.choice((name, name, name.removeprefix("chr"), name.replace("chrM", "MT")))
        shown = "chrUn" if dice.random() < 0.01 else shown
        yield f"{shown}\t{pos}\tid{number}\t{ref}\t{','.join(alts)}\t.\tPASS\tAC=1"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("fuzz")
    texts = repetitive_genome()
    model = write_model(folder / "m.safetensors", SMALLEST)
    fasta = write_genome(folder / "g.fa", texts)
    return model, fasta, {name: text.upper() for name, text in texts.items()}


def entries_of(file: Path) -> int:
    """Count alleles and bad lines, by counting commas."""
    body = [line for line in file.read_text().removeprefix(HEADER).split("\n") if line.strip()]
    count = 0
    for line in body:
        columns = line.split("\t")
        right = len(columns) == 8 and columns[1].isdigit() and len(columns[1]) < 19
        whole = right and all((columns[0], columns[3], columns[4])) and not line.startswith("#")
        count += columns[4].count(",") + 1 if whole and columns[4].isascii() else 1
    return count


def check_file(inputs, folder: Path, file: Path, *options: object, sampled: int) -> int:
    """Score a file; hold its keys, counts and a sample of its scores against the text."""
    model, fasta, texts = inputs
    run = score(
        "variants",
        folder / "run",
        *("--model", model, "--fasta", fasta, "--vcf", file, "--precision", "float32"),
        *("--mantissa-bits", 23, "--stats", "SAD,D2", "--max-mismatches", 1, *options),
    )
    frame, rejects = values(run), run.rejects.collect()
    assert frame.height + rejects.height == entries_of(file)
    assert set(rejects["reason"]) <= {str(reason) for reason in Reason}
    assert frame["variant"].is_unique().all()
    keep = "--keep-alleles" in options
    for row in frame.iter_rows(named=True):
        scored = (row["pos"], row["ref"], row["alt"])
        given = (row["source_pos"], row["source_ref"].upper(), row["source_alt"].upper())
        if keep:
            assert scored == given
        else:
            assert_canonical(texts[row["chrom"]], scored, given)
    for reject in rejects.filter(pl.col("reason") == "reference_mismatch").iter_rows(named=True):
        (text,) = (texts[n] for n in texts if n[3:] == reject["chrom"].replace("MT", "M")[-1])
        first = reject["pos"] - 1
        assert text[first : first + len(reject["ref"])] != reject["ref"].upper()
    truth = StringScores(texts, model)
    look = Look(
        placement="grid" if "grid" in options else "centered",
        policy="left" if "left" in options else "stitch",
        rc="--rc" in options,
        shifts=(0, -3) if "0,-3" in options else (0,),
    )
    columns = run.tracks.columns
    for row in frame.sample(min(sampled, frame.height), seed=1).iter_rows(named=True):
        variant = (row["chrom"], row["pos"], row["ref"], row["alt"])
        expected = truth.scores(variant, look)
        for name in ("SAD", "D2"):
            for track, column in enumerate(columns):
                # A share of the effect, and of the signal: see test_score_variants.
                assert row[f"{name}_{column}"] == pytest.approx(
                    expected[name][track], rel=1e-3, abs=2e-6 * expected["REF"][track]
                ), (variant, name)
    return frame.height


OPTIONS = [
    ("--window-placement", "grid"),
    ("--window-placement", "grid", "--indels", "left"),
    ("--window-placement", "grid", "--keep-alleles"),
    ("--window-placement", "grid", "--rc", "--shifts", "0,-3"),
    ("--window-placement", "grid", "--keep-alleles", "--shifts", "0,-3", "--max-allele-bp", 200),
]


@pytest.mark.parametrize("number", [0, 4])
def test_fuzzed_records(inputs, tmp_path: Path, number: int) -> None:
    file = tmp_path / "v.vcf"
    file.write_text(HEADER + "\n".join(lines(inputs[2], 200, seed=number)) + "\n")
    assert check_file(inputs, tmp_path, file, *OPTIONS[number], sampled=25) > 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(10))
def test_ten_thousand_fuzzed_records(inputs, tmp_path: Path, number: int) -> None:
    file = tmp_path / "v.vcf"
    file.write_text(HEADER + "\n".join(lines(inputs[2], 1_000, seed=100 + number)) + "\n")
    options = OPTIONS[number % len(OPTIONS)]
    options = options[2:] if number > 7 else options
    assert check_file(inputs, tmp_path, file, *options, sampled=60) > 500


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=60)))
def test_any_text_after_a_header(inputs, tmp_path_factory, body: list[str]) -> None:
    """Every line that is not blank is a reject, but for one that happens to be a record."""
    model, fasta, _ = inputs
    folder = tmp_path_factory.mktemp("text")
    file = folder / "v.vcf"
    file.write_bytes((HEADER + "\n".join(body)).encode())
    run = score("variants", folder / "r", "--model", model, "--fasta", fasta, "--vcf", file)
    blank = sum(not line.encode() or line.encode().isspace() for line in body)
    assert run.manifest.config["entries"] >= len(body) - blank
    assert run.rejects.collect().height + run.scan().collect().height >= len(body) - blank
