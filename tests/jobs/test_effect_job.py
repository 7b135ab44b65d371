"""Jobs over variants: choices, shards that are kept, plans that tell the truth, rejects in time."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from effect_jobs import write_genome, write_model, write_vcf

from cisray.inference import precision
from cisray.scoring.variants import VariantScorer, VariantScores
from cisray.store.scan import open_run


@pytest.fixture(scope="module")
def text() -> str:
    """A chromosome of 1,400 bp with 500 A from base 400 on; windows have 512."""
    dice = random.Random(8)
    return "".join([*dice.choices("ACGT", k=399), "C", "A" * 500, "G", *dice.choices("CGT", k=499)])


@pytest.fixture(scope="module")
def given(text: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("effects")
    fasta = write_genome(folder / "g.fa", {"chr1": text})
    model = write_model(folder / "m.safetensors")
    records = [("chr1", pos, f"rs{pos}", text[pos - 1], "ACGT"["CGTA".index(text[pos - 1])])
               for pos in range(100, 340, 6)]  # fmt: skip
    vcf = write_vcf(folder / "v.vcf", records)
    here = ("--workers", 0, "--threads", 1, "--quiet")
    return ("score", "variants", "--model", model, "--fasta", fasta, "--vcf", vcf, *here)


def test_the_plain_way_is_float32_without_being_told(
    cisray, given, tmp_path: Path, monkeypatch
) -> None:
    """Also where the device multiplies bfloat16, which is what auto means for the fast way."""
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr("cisray_jobs.scoring_job.multiplies_bfloat16", lambda _: True)
    plain = (*given, "--out", tmp_path / "plain", "--predictor", "plain", "--device", "cpu")
    plan = json.loads(cisray(*plain, "--plan", "--json").out)
    assert plan["precision"] == "float32"
    assert "subtracts two predictions" in plan["precision_reason"]
    assert cisray(*plain).code == 0
    assert open_run(tmp_path / "plain").manifest.config["precision"] == "float32"
    # The way out of a failed self-check, from a run whose precision was another one.
    fast = (*given, "--out", tmp_path / "fast", "--device", "cpu")
    assert cisray(*fast).code == 0
    assert open_run(tmp_path / "fast").manifest.config["precision"] == "bfloat16"
    assert cisray(*fast, "--predictor", "plain", "--restart").code == 0
    asked = (*plain, "--precision", "bfloat16", "--out", tmp_path / "no")
    cisray(*asked).assert_one_paragraph("plain way was asked for", "bfloat16", "Use float32")
    assert not (tmp_path / "no").exists()


def test_a_repeat_that_a_shifted_window_does_not_leave_is_a_reject(
    cisray, given, text: str, tmp_path: Path
) -> None:
    """Before anything is scored, and not as an error in the middle of the run."""
    # The window of a record at `pos` (1-based) begins with base pos - 256. The A are 400 .. 900. If
    # it begins with 400, the right flank is in it, and what it shows first is a G moved in from the
    # left; with 401 that is out of sight. If it begins with 388, the left flank is in it and its
    # last base, 899, becomes a G; with 387 that is out of sight.
    places = range(640, 661)
    vcf = write_vcf(tmp_path / "v.vcf", [("chr1", pos, ".", "AA", "A") for pos in places])
    options = (*given, "--vcf", vcf, "--keep-alleles", "--precision", "float32")
    for shifts in ((0,), (0, 1), (2, -2), (-1, 0)):
        fitting = [pos for pos in places if all(388 <= pos - 256 + bp <= 400 for bp in shifts)]
        out = tmp_path / str(shifts)
        answer = cisray(*options, "--shifts", ",".join(map(str, shifts)), "--out", out, "--json")
        assert answer.code == 0, answer.err
        rejected = {"repeat_too_long": len(places) - len(fitting)}
        assert json.loads(answer.out)["rejected"] == rejected, shifts
        assert open_run(out).scan().collect()["pos"].to_list() == fitting


def test_a_run_keeps_its_shards(cisray, given, tmp_path: Path) -> None:
    """Resumed without saying their size, and with any other that it would choose by itself."""
    options = (*given, "--out", tmp_path / "run")
    assert cisray(*options, "--rows-per-shard", 10).code == 0
    (tmp_path / "run" / "_SUCCESS").unlink()
    (lost,) = (tmp_path / "run" / "_commits").glob("000002.*.json")
    lost.unlink()
    plan = json.loads(cisray(*options, "--plan", "--json", "--threads", 2).out)
    assert (plan["shards"], plan["shards_done"], plan["rows_left"]) == (4, 3, 10)
    assert cisray(*options).code == 0
    assert lost.exists()
    other = cisray(*options, "--rows-per-shard", 20)
    other.assert_one_paragraph("holds another run", "--restart")


def test_a_failed_attempt_leaves_nothing_in_the_record_of_checks(
    cisray, given, tmp_path: Path, monkeypatch
) -> None:
    """A shard that fails after some of its rows were checked, and is then tried again."""
    from cisray.inference.fast.effects import DeltaReference

    whole, calls = DeltaReference.differences, []

    def fail_once(self, alternates_BL):
        calls.append(len(alternates_BL))
        if len(calls) == 20:
            raise RuntimeError("a flaky device")
        return whole(self, alternates_BL)

    monkeypatch.setattr(DeltaReference, "differences", fail_once)
    # 40 SNVs, all of them checked.
    answer = cisray(*given, "--out", tmp_path / "run", "--self-check", 40, "--json")
    assert answer.code == 0, answer.err
    assert len(calls) > 40
    told = json.loads(answer.out)["self_check"]
    assert (told["checked"], told["sampled"], told["unchecked"]) == (40, 40, 0)


def others(text: str, pos: int) -> list[str]:
    return [base for base in "ACGT" if base != text[pos - 1]]


def invented_scores(self, rows, *, watch) -> VariantScores:
    """As real ones are: of either sign, over some powers of ten."""
    draw = np.random.default_rng(len(rows))
    shape = (len(self.predictor.tracks), len(rows))
    values = {name: draw.normal(size=shape) * np.exp(draw.normal(size=shape))
              for name in self.options.columns}  # fmt: skip
    as_float32 = {name: found.astype(np.float32) for name, found in values.items()}
    return VariantScores(np.zeros(len(rows), np.int32), as_float32)


@pytest.mark.parametrize(
    ("stats", "tracks", "shard"),
    [
        ("SAD", ("--tracks", "0"), 2_000),
        ("SAD", ("--tracks", "0"), 100),
        ("SAD,SADR,logSAD,JS", (), 2_000),
        ("SAD,SADR,logSAD,JS", (), 100),
    ],
)
def test_a_plan_tells_the_size_of_the_files(
    cisray, given, text: str, tmp_path: Path, monkeypatch, tracks, stats: str, shard: int
) -> None:
    """Within 20 %, also where most of a file is keys, and where most is what surrounds them."""
    monkeypatch.setattr(VariantScorer, "score", invented_scores)
    dice = random.Random(2)
    records = [
        ("chr1", pos, f"rs{dice.randrange(10**9)}", text[pos - 1], dice.choice(others(text, pos)))
        for pos in dice.choices(range(1, 1_401), k=2_000)
    ]
    vcf = write_vcf(tmp_path / "v.vcf", records)
    options = (*given, "--vcf", vcf, "--out", tmp_path / "run", "--stats", stats, *tracks)
    options = (*options, "--window-placement", "grid", "--rows-per-shard", shard)
    plan = json.loads(cisray(*options, "--plan", "--json").out)
    assert plan["rows"] == 2_000
    done = json.loads(cisray(*options, "--json").out)
    assert plan["estimated_bytes"] == pytest.approx(done["bytes"], rel=0.2)
