"""The self-check of runs over variants: what it samples and tells, and what does not pass it."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from effect_jobs import write_genome, write_model, write_vcf

from cisray.inference.fast import effects as fast
from cisray.inference.fast.effects import DeltaReference
from cisray.scoring.variants import VariantScorer
from cisray.store.scan import open_run

ROWS = 12


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("checked")
    dice = random.Random(8)
    text = "".join(dice.choices("ACGT", k=1_400))
    fasta = write_genome(folder / "g.fa", {"chr1": text})
    model = write_model(folder / "m.safetensors")
    records = [("chr1", pos, ".", text[pos - 1], "ACGT"["CGTA".index(text[pos - 1])])
               for pos in range(100, 1_300, 100)]  # fmt: skip
    assert len(records) == ROWS
    vcf = write_vcf(folder / "v.vcf", records)
    here = ("--workers", 0, "--threads", 1, "--quiet", "--rows-per-shard", 3)
    named = ("--model", model, "--fasta", fasta, "--vcf", vcf)
    return ("score", "variants", *named, *here, "--precision", "float32")


def receipts(out: Path) -> dict[str, dict]:
    return {
        path.name.partition(".")[0]: json.loads(path.read_text())["info"]
        for path in sorted((out / "_commits").glob("*.json"))
    }


@pytest.mark.parametrize(
    ("options", "rows", "note"),
    [
        ((), 3, "the worst track of a variant is"),
        (("--self-check", "off"), 0, "none checked"),
        (("--self-check", "5"), 5, "tolerated 0.005"),
        (("--self-check", "1000"), ROWS, "tolerated 0.005"),
        (("--self-check", "4", "--precision", "bfloat16"), 4, "tolerated 0.1"),
        (("--predictor", "plain"), 0, "nothing to be checked against"),
        (("--predictor", "plain", "--self-check", "5"), 0, "nothing to be checked against"),
    ],
)
def test_samples(cisray, given, tmp_path: Path, options, rows: int, note: str) -> None:
    out = tmp_path / "run"
    answer = cisray(*given, "--out", out, *options, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)["self_check"]
    assert (told["checked"], told["sampled"], told["unchecked"]) == (rows, rows, 0)
    assert note in told["note"]
    found = [info["self_check"] for info in receipts(out).values() if "self_check" in info]
    assert sum(fact["checked"] for fact in found) == rows
    assert told["worst"] == max((fact["worst"] for fact in found), default=None)
    if rows:
        assert 0 <= told["worst"] < found[0]["tolerance"]


def test_the_sample_is_no_part_of_the_identity(cisray, given, tmp_path: Path) -> None:
    options = (*given, "--out", tmp_path / "run")
    assert cisray(*options, "--self-check", "off").code == 0
    before = open_run(tmp_path / "run").manifest.digest
    told = json.loads(cisray(*options, "--self-check", 4, "--json").out)["self_check"]
    assert (told["checked"], told["unchecked"]) == (0, 4)
    assert open_run(tmp_path / "run").manifest.digest == before


def a_differing_head(value: float) -> Callable:
    """Turn one weight of the head, of track 3: differences and reference are both wrong."""

    def edit(tail):
        weight = tail.head.weight.clone()
        weight.select(tail.head.weight.shape.index(5), 3)[0] += value
        return replace(tail, head=replace(tail.head, weight=weight))

    return edit


def times(factor: float) -> Callable:
    """Let differences alone be wrong by a factor; the reference is right."""
    whole = DeltaReference._carry
    return lambda self, alternates_BL: whole(self, alternates_BL) * factor


def one_bin_aside() -> Callable:
    whole = DeltaReference._carry
    return lambda self, alternates_BL: whole(self, alternates_BL).roll(1, dims=1)


@pytest.mark.parametrize(
    ("precision", "wrong"),
    [
        ("float32", times(1.01)),
        ("float32", times(float("nan"))),
        ("float32", one_bin_aside()),
        ("bfloat16", times(1.3)),
        ("bfloat16", times(-1)),
    ],
)
def test_wrong_differences_do_not_pass(
    cisray, given, tmp_path: Path, monkeypatch, precision: str, wrong
) -> None:
    out = tmp_path / "run"
    options = (*given, "--out", out, "--precision", precision)
    with monkeypatch.context() as patch:
        patch.setattr(DeltaReference, "_carry", wrong)
        answer = cisray(*options)
    answer.assert_one_paragraph(
        *("self-check failed", "of the variant chr1:", "in shard", "the difference in track t000"),
        *("the plain one", "Nothing of the shard is stored", "--predictor plain --restart"),
        code=1,
    )
    assert receipts(out) == {}
    assert not list((out / "data").rglob("*.parquet"))
    assert not (out / "_SUCCESS").exists()
    (record,) = (out / "_failed").glob("*.json")
    told = json.loads(record.read_text())
    assert (told["kind"], told["attempts"], f"{told['shard']:06}") == (
        "self-check",
        1,
        record.name.partition(".")[0],
    )
    # Not to be finished without a check, nor planned so.
    words = ("self-check of shard", str(record), "--restart --predictor plain")
    for more in ((), ("--plan",)):
        cisray(*options, "--self-check", "off", *more).assert_one_paragraph(*words)
    # Checked again, and right this time; and the way out that was named.
    assert cisray(*options).code == 0
    assert not record.exists()
    plain = (*given, "--out", out, "--precision", "auto", "--predictor", "plain", "--restart")
    assert cisray(*plain).code == 0


def test_a_wrong_reference_does_not_pass(cisray, given, tmp_path: Path, monkeypatch) -> None:
    """It makes SADR wrong, and differences a little; either is enough."""
    whole = fast.fold_tail
    monkeypatch.setattr(fast, "fold_tail", lambda *x: a_differing_head(0.05)(whole(*x)))
    answer = cisray(*given, "--out", tmp_path / "run", "--self-check", ROWS)
    answer.assert_one_paragraph("self-check failed", "in track t0003", code=1)


def test_a_wrong_reference_alone_is_called_so(cisray, given, tmp_path: Path, monkeypatch) -> None:
    whole = fast.DeltaEffects._open

    def raised(self, *given):
        window = whole(self, *given)
        window.prediction_NT = window.prediction_NT * 1.001
        return window

    monkeypatch.setattr(fast.DeltaEffects, "_open", raised)
    answer = cisray(*given, "--out", tmp_path / "run")
    answer.assert_one_paragraph(
        "the reference's prediction in track", "lies 0.001 from", "0.0001 is tolerated", code=1
    )


def test_sampled_shards_are_scored_first(cisray, given, tmp_path: Path, monkeypatch) -> None:
    """And the order changes no bit."""
    scored: list[int] = []
    whole = VariantScorer.score

    def note(self, rows, *, watch):
        scored.append(rows[0].variant.pos)
        return whole(self, rows, watch=watch)

    options = (*given, "--self-check", 1)
    with monkeypatch.context() as patch:
        patch.setattr(VariantScorer, "score", note)
        assert cisray(*options, "--out", tmp_path / "one").code == 0
    (checked,) = (n for n, info in receipts(tmp_path / "one").items() if "self_check" in info)
    firsts = [pos for pos in scored if pos in (100, 400, 700, 1_000)]
    # The check scores its row anew, after the shard's first row was.
    assert firsts[0] == (100, 400, 700, 1_000)[int(checked)]
    assert cisray(*given, "--self-check", "off", "--out", tmp_path / "off").code == 0
    frames = [open_run(tmp_path / name).scan().collect() for name in ("one", "off")]
    assert frames[0].equals(frames[1])
