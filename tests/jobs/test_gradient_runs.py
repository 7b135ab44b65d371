"""`score saturation --method gradient`: what a run holds, what is exact in it, what is refused.

The tiny model reads 4,096 bases and predicts 16 bins of 128. Windows on the grid serve the bases
128 k - 64 to 128 k + 63: a region of 60 bases from 1,000 on lies in two of them.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.inference.fast import effects
from cisray.inference.fast import gradients as fast
from cisray.inference.gradients import PlainGradients
from cisray.model.registry import load_model
from cisray.scoring.contribution import first_order
from cisray.store.manifest import manifest_differences
from cisray.store.scan import open_run
from cisray_jobs.effect_task import EffectScoring

LENGTHS = {"chrA": 9_000, "chrB": 3_000}  # of the fixtures' genome
TRACKS = ("t0002", "t0005")
# The first two overlap in the bases 1,050 to 1,059; the last lies at the very end of its
# chromosome.
REGIONS = {"a": ("chrA", 1000, 1060), "b": ("chrA", 1050, 1080), "c": ("chrB", 2990, 3000)}
N_BASES = (1010, 1011)  # of chrA


@pytest.fixture(scope="session")
def fasta(tmp_path_factory: pytest.TempPathFactory, inputs) -> Path:
    """The fixtures' genome, with two bases unknown."""
    path = tmp_path_factory.mktemp("unknown") / "genome.fa"
    with Genome.open(inputs.fasta) as genome:
        texts = {chrom: bytearray(letters_of(genome, chrom)) for chrom in LENGTHS}
    for base in N_BASES:
        texts["chrA"][base] = ord("N")
    path.write_text("".join(f">{name}\n{text.decode()}\n" for name, text in texts.items()))
    return path


def letters_of(genome: Genome, chrom: str) -> bytes:
    return genome.letters(Interval(chrom, 0, LENGTHS[chrom]))


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("regions") / "regions.bed"
    path.write_text("".join(f"{c}\t{s}\t{e}\t{n}\n" for n, (c, s, e) in REGIONS.items()))
    return path


@pytest.fixture
def options(inputs, fasta: Path, bed: Path):
    """What a run in this process needs, in full precision, of two tracks."""

    def of(out: Path, *more: object) -> tuple[str, ...]:
        given = ("--model", inputs.model, "--fasta", fasta, "--bed", bed, "--out", out)
        given += ("--tracks", "2,5", "--mantissa-bits", 23, "--precision", "float32")
        return tuple(
            map(str, ("score", "saturation", *given, "--workers", 0, "--threads", 1, *more))
        )

    return of


GRADIENT = ("--method", "gradient")


def scored(cisray, given: tuple[str, ...]) -> pl.DataFrame:
    answer = cisray(*given, "--quiet")
    assert answer.code == 0, answer.err
    out = Path(given[given.index("--out") + 1])
    return open_run(out).scan().collect()


def receipts(out: Path) -> list[dict]:
    return [json.loads(path.read_text())["info"] for path in sorted((out / "_commits").iterdir())]


def test_gradient_columns_are_plain_gradients_of_each_window(
    cisray, options, fasta, inputs, tmp_path: Path
) -> None:
    frame = scored(cisray, options(tmp_path / "run", *GRADIENT, "--stats", "SAD,SADR"))
    assert [name for name in frame.columns if "_t" in name] == [
        f"grad{stat}_{track}" for stat in ("SAD", "SADR") for track in TRACKS
    ]
    known = sum(end - start for _, start, end in REGIONS.values()) - len(N_BASES)
    assert frame.height == 3 * known
    model = load_model(inputs.model).double()
    tracks = model.tracks["human"].select(["2", "5"])
    plain = PlainGradients(model, tracks, device=torch.device("cpu"), dtype=torch.float64)
    with Genome.open(fasta) as genome:
        whole = {
            chrom: np.array(["ACGT".find(chr(one)) % 5 for one in letters_of(genome, chrom)])
            for chrom in LENGTHS
        }
    found = {}
    for chrom, start, k in {
        (row["chrom"], *window_of(row["pos"] - 1)) for row in frame.iter_rows(named=True)
    }:
        codes = [
            whole[chrom][at] if 0 <= at < LENGTHS[chrom] else 4 for at in range(start, start + 4096)
        ]
        codes_L = np.array(codes, np.uint8)
        gradient = plain.gradient(codes_L, lambda pred: pred.sum(0))
        sums_T = gradient.prediction_NT.sum(0, dtype=np.float64)
        found[chrom, k] = (start, first_order(codes_L, gradient.gradient_BRA), sums_T)
    for row in frame.iter_rows(named=True):
        start, effects_TLA, sums_T = found[row["chrom"], window_of(row["pos"] - 1)[1]]
        effects_T = effects_TLA[:, row["pos"] - 1 - start, "ACGT".index(row["alt"])]
        for lane, track in enumerate(TRACKS):
            assert row[f"gradSAD_{track}"] == pytest.approx(effects_T[lane], rel=1e-3, abs=3e-8)
            expected = effects_T[lane] / (sums_T[lane] + 1) / np.log(2)
            assert row[f"gradSADR_{track}"] == pytest.approx(expected, rel=1e-3, abs=3e-9)
    assert frame["gradSAD_t0002"].abs().max() > 1e-4


def window_of(at: int) -> tuple[int, int]:
    """The start of the window that serves a base, and its number."""
    k = (at + 64) // 128
    return 128 * k - 2048, k


def test_exact_columns_are_those_of_ism(cisray, options, tmp_path: Path, record_property) -> None:
    stats = ("--stats", "SADR,SAD")
    ism = scored(cisray, options(tmp_path / "ism", *stats))
    few = scored(cisray, options(tmp_path / "few", *stats, *GRADIENT, "--rank-then-exact", 40))
    assert [name for name in few.columns if "_t" in name] == [
        f"{stat}_{track}" for stat in ("gradSADR", "gradSAD", "SADR", "SAD") for track in TRACKS
    ]
    keys = ["variant", "region", "chrom", "pos", "ref", "alt"]
    assert few.select(keys).equals(ism.select(keys))
    exact = [f"{stat}_{track}" for stat in ("SADR", "SAD") for track in TRACKS]
    there = few[exact[0]].is_not_null()
    for name in exact:
        assert few[name].is_not_null().equals(there)
        assert few[name].is_nan().sum() == 0
        np.testing.assert_allclose(
            few.filter(there)[name], ism.filter(there)[name], rtol=1e-3, atol=1e-8
        )
    # The largest in any track of the first statistic; the region of 10 bases has no 40.
    size = few.with_columns(
        size=pl.max_horizontal(pl.col(f"gradSADR_{track}").abs() for track in TRACKS)
    )
    for region, count in ((0, 40), (1, 40), (2, 30)):
        rows = size.with_columns(there=there).filter(pl.col("region") == region)
        ranked = rows.sort("size", "variant", descending=[True, False])
        assert ranked["there"].to_list() == [True] * count + [False] * (rows.height - count)
    for track in TRACKS:
        both = np.corrcoef(few[f"gradSAD_{track}"], ism[f"SAD_{track}"])[0, 1]
        record_property(f"correlation of first order and effect, {track}", round(float(both), 3))


def test_a_region_without_rows_and_more_than_there_are(
    cisray, options, inputs, tmp_path: Path
) -> None:
    fasta, bed = tmp_path / "g.fa", tmp_path / "r.bed"
    fasta.write_text(f">chrC\n{'ACGTTGCAAC' * 40}{'N' * 50}\n")
    bed.write_text("chrC\t400\t440\nchrC\t100\t102\n")
    given = ("--fasta", fasta, "--bed", bed, *GRADIENT, "--rank-then-exact", 99, "--stats", "SAD")
    frame = scored(cisray, options(tmp_path / "run", *given))
    assert frame.height == 6
    assert frame["SAD_t0002"].null_count() == 0


def test_what_is_checked_is_on_record(cisray, options, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = options(out, *GRADIENT, "--rank-then-exact", 2, "--self-check", 5, "--json")
    answer = cisray(*given)
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)["self_check"]
    assert (told["checked"], told["sampled"], told["unchecked"]) == (5, 5, 0)
    assert "of a window's gradients is" in told["note"]
    facts = receipts(out)
    assert sum(one.get("self_check", {}).get("checked", 0) for one in facts) == 5
    # As many exact rows of a shard, or all that it has.
    exact = [one["self_check_exact"]["checked"] for one in facts if "self_check_exact" in one]
    assert 0 < sum(exact) <= 5
    kept = open_run(out).manifest.provenance["self_check"]
    assert (kept["tolerance"], kept["tolerance_exact"]) == (0.05, 0.005)


def test_wrong_gradients_do_not_pass(cisray, options, tmp_path: Path, monkeypatch) -> None:
    whole = fast.lead_to_bases
    monkeypatch.setattr(fast, "lead_to_bases", lambda *given: whole(*given).roll(1, dims=1))
    out = tmp_path / "run"
    answer = cisray(*options(out, *GRADIENT, "--self-check", 4, "--quiet"))
    answer.assert_one_paragraph(
        *("self-check failed", "in the window of chr", "gradSAD", "promises a change of"),
        *("0.05 is tolerated", "--predictor plain --restart", "report"),
        code=1,
    )
    assert not (out / "_commits").exists()
    again = cisray(*options(out, *GRADIENT, "--self-check", "off", "--quiet"))
    again.assert_one_paragraph("has failed", "--restart --predictor plain")


def test_wrong_exact_effects_do_not_pass(cisray, options, tmp_path: Path, monkeypatch) -> None:
    whole = effects.DeltaEffects.open_along

    def louder(self, *given):
        for window in whole(self, *given):
            real = window.differences
            window.differences = lambda codes_BL, real=real: 1.5 * real(codes_BL)
            yield window

    monkeypatch.setattr(effects.DeltaEffects, "open_along", louder)
    given = (*GRADIENT, "--rank-then-exact", 5, "--self-check", 30, "--bins", 2, "--quiet")
    answer = cisray(*options(tmp_path / "run", *given))
    answer.assert_one_paragraph("self-check failed", "the difference in track", code=1)


def test_a_run_that_was_interrupted_is_finished(
    cisray, options, tmp_path: Path, monkeypatch
) -> None:
    given = (*GRADIENT, "--rank-then-exact", 3, "--rows-per-shard", 300, "--stats", "SAD")
    whole = scored(cisray, options(tmp_path / "whole", *given))
    assert len(open_run(tmp_path / "whole").files) == 2
    out = tmp_path / "run"
    real, calls = EffectScoring.score, []

    def failing(self, shard: int, keys):
        calls.append(shard)
        if len(calls) > 1:
            raise RuntimeError("the light went out")
        return real(self, shard, keys)

    with monkeypatch.context() as patch:
        patch.setattr(EffectScoring, "score", failing)
        assert cisray(*options(out, *given, "--quiet")).code == 1
    assert len(receipts(out)) == 1
    told = json.loads(cisray(*options(out, *given, "--plan", "--json")).out)
    assert (told["shards"], told["shards_done"]) == (2, 1)
    assert scored(cisray, options(out, *given)).equals(whole)


def test_methods_are_runs_of_their_own(cisray, options, tmp_path: Path) -> None:
    outs = {name: tmp_path / name for name in ("ism", "gradient", "ranked", "more")}
    extra = {
        "ism": (),
        "gradient": GRADIENT,
        "ranked": (*GRADIENT, "--rank-then-exact", 1),
        "more": (*GRADIENT, "--rank-then-exact", 2),
    }
    manifests = {}
    for name, out in outs.items():
        given = ("--stats", "SAD", "--self-check", "off", "--quiet")
        assert cisray(*options(out, *given, *extra[name])).code == 0
        manifests[name] = open_run(out).manifest
    assert len({one.digest for one in manifests.values()}) == 4
    assert [one.config["method"] for one in manifests.values()] == ["ism"] + 3 * ["gradient"]
    assert manifest_differences(manifests["ranked"], manifests["more"]) == [
        "config.rank_then_exact: 1 there, 2 now"
    ]
    assert manifests["ranked"].config["statistics"] == ["gradSAD", "SAD"]
    assert manifests["ranked"].config["partial"] == ["SAD"]
    answer = cisray(*options(outs["ism"], "--stats", "SAD", *GRADIENT))
    answer.assert_one_paragraph('config.method: "ism" there, "gradient" now', "--restart")


def test_bfloat16_of_another_run_is_not_taken_over(cisray, options, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ("--stats", "SAD", "--self-check", "off", "--quiet")
    assert cisray(*options(out, *given, "--precision", "bfloat16")).code == 0
    answer = cisray(*options(out, *given, *GRADIENT, "--precision", "auto"))
    answer.assert_one_paragraph("config.method", "config.precision")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--rank-then-exact", 5), "--rank-then-exact ranks substitutions by their gradients"),
        ((*GRADIENT, "--stats", "SAD,D2"), "D2 cannot be approximated by a gradient: choose"),
        ((*GRADIENT, "--rc", "--std"), "--std goes with --method ism only"),
        ((*GRADIENT, "--precision", "bfloat16"), "gradients are computed in float32"),
        ((*GRADIENT, "--rank-then-exact", 0), "--rank-then-exact"),
        (("--method", "guess"), "--method"),
        (
            (*GRADIENT, "--rank-then-exact", 1, "--rows-per-shard", 200),
            "chrA:1,001-1,080 is a region, or several that overlap, of 270 rows",
        ),
    ],
)
def test_what_does_not_go_together(cisray, options, tmp_path: Path, given, words: str) -> None:
    cisray(*options(tmp_path / "run", *given)).assert_one_paragraph(words)
    assert not (tmp_path / "run").exists()


def test_a_plan_counts_gradients(cisray, options, tmp_path: Path) -> None:
    def told(*more: object) -> dict:
        given = options(tmp_path / "run", *more, "--plan", "--json", "--self-check", "off")
        answer = cisray(*given)
        assert answer.code == 0, answer.err
        return json.loads(answer.out)

    one = told(*GRADIENT, "--stats", "SAD")
    two = told(*GRADIENT, "--stats", "SAD,SADR")
    logs = told(*GRADIENT, "--stats", "SAD,logSAD")
    # SADR follows from SAD. Windows: those of the bases 960 to 1,087 of chrA, and of 2,990 of chrB.
    assert (one["windows"], one["gradients"]) == (2, {"per_window": 2, "exact_rows": None})
    assert two["gradients"]["per_window"] == 2
    assert logs["gradients"]["per_window"] == 4
    assert one["teraflop"] == two["teraflop"] < logs["teraflop"] < 2 * one["teraflop"]
    assert told(*GRADIENT, "--stats", "SAD", "--rc")["teraflop"] == pytest.approx(
        2 * one["teraflop"]
    )
    ranked = told(*GRADIENT, "--stats", "SAD", "--rank-then-exact", 40)
    # At most 40, 40 and 30 of the rows.
    assert ranked["gradients"]["exact_rows"] == 110
    assert ranked["teraflop"] > one["teraflop"]
    assert ranked["worker_bytes"] > one["worker_bytes"]
    assert ranked["rows_to_check"] == 0
    # Seven times the activations of a plain pass of 4,096 bases and 24 channels, five at a time.
    plain = told(*GRADIENT, "--predictor", "plain")["worker_bytes"]
    assert plain - 4e8 > 7 * 5 * 4 * 4096 * 24
    text = cisray(*options(tmp_path / "run", *GRADIENT, "--rank-then-exact", 40, "--plan")).out
    assert "2 of each window; at most 110 rows exact as well" in text


def test_the_figure_of_first_orders(cisray, options, tmp_path: Path) -> None:
    out, figure = tmp_path / "run", tmp_path / "map.png"
    scored(cisray, options(out, *GRADIENT, "--stats", "SAD", "--self-check", "off"))
    given = ("--format", "png", "--out", figure, "--stats", "gradSAD")
    answer = cisray("runs", "export", out, *given, "--region", "chrB:2991-3000")
    assert answer.code == 0, answer.err
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_what_is_only_partly_there_is_refused(cisray, options, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = (*GRADIENT, "--stats", "SAD", "--self-check", "off", "--rank-then-exact", 29)
    scored(cisray, options(out, *given))
    shown = ("--format", "png", "--out", tmp_path / "map.png", "--region", "chrB:2991-3000")
    answer = cisray("runs", "export", out, *shown, "--stats", "SAD")
    answer.assert_one_paragraph("29 of 30 substitutions", "gradSAD")
    assert cisray("runs", "export", out, *shown, "--stats", "gradSAD").code == 0
