"""The self-check of a run: what it samples and tells, and that a wrong fast path does not pass."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cisray.errors import SelfCheckFailed, StorageError
from cisray.genome.reference import Genome
from cisray.inference.fast import predictor as fast
from cisray.inference.predictor import PlainPredictor
from cisray.model.registry import load_model
from cisray.scoring.tiles import TileScorer
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray_jobs.config import load_config
from cisray_jobs.score_genome import ScoreGenome
from cisray_jobs.tile_check import SelfCheck, TileSample
from cisray_jobs.tile_task import planned_windows

TILES = 7  # of the fixtures' genome: chrA 5, chrB 2

Corrupt = Callable[[str, Callable], None]


@pytest.fixture
def corrupt(monkeypatch: pytest.MonkeyPatch) -> Corrupt:
    """Let one of the folding functions of the fast path return something else."""

    def patch(name: str, edit: Callable) -> None:
        whole = getattr(fast, name)
        monkeypatch.setattr(fast, name, lambda *given: edit(whole(*given)))

    return patch


def one_weight_of_the_trunk(levels):
    """Turn the sign of one weight of the second level's residual branch."""
    weight = levels[1].residual.weight.clone()
    weight[3, 2] = -weight[3, 2] + 0.1
    branch = replace(levels[1].residual, weight=weight)
    return (levels[0], replace(levels[1], residual=branch), *levels[2:])


def one_bias_of_the_head(value: float):
    """Move the bias of track 5 of the head."""

    def edit(tail):
        bias = tail.head.bias.clone()
        bias[5] += value
        return replace(tail, head=replace(tail.head, bias=bias))

    return edit


def commits(out: Path) -> dict[str, dict]:
    return {
        path.name.partition(".")[0]: json.loads(path.read_text())["info"]
        for path in sorted((out / "_commits").glob("*.json"))
    }


def test_three_tiles_are_checked_by_default(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = cisray(*inputs.options(out, "--tiles-per-shard", 1, "--json"))
    assert answer.code == 0
    told = json.loads(answer.out)["self_check"]
    found = [info["self_check"] for info in commits(out).values() if "self_check" in info]
    assert [fact["checked"] for fact in found] == [1, 1, 1]
    assert (told["checked"], told["sampled"], told["unchecked"]) == (3, 3, 0)
    assert told["worst"] == max(fact["worst"] for fact in found)
    # Two ways of summing float32 are not the same, and near.
    assert 0 < told["worst"] < 1e-5
    assert 0 < told["largest_relative"] < 1e-4
    kept = open_run(out).manifest.provenance["self_check"]
    assert kept.keys() == {"seed", "tolerance"}
    assert kept["tolerance"] == 1e-4
    assert set(kept["seed"]) <= set("0123456789abcdef")


def test_the_result_tells_people(cisray, inputs, tmp_path: Path) -> None:
    answer = cisray(*inputs.options(tmp_path / "run"))
    assert "self-check  3 of 3 sampled tiles: the worst track of a tile is off by " in answer.out
    assert "tolerated 0.0001" in answer.out


@pytest.mark.parametrize(
    ("options", "tiles", "note"),
    [
        (("--self-check", "off"), 0, "none checked"),
        (("--predictor", "plain"), 0, "plain predictor has nothing to be checked against"),
        (("--predictor", "plain", "--self-check", "5"), 0, "nothing to be checked"),
        (("--self-check", "2"), 2, "is off by"),
        (("--self-check", "1000"), TILES, "is off by"),
        (("--self-check", "5", "--precision", "bfloat16"), 5, "tolerated 0.1"),
    ],
)
def test_other_samples(cisray, inputs, tmp_path: Path, options, tiles: int, note: str) -> None:
    told = json.loads(cisray(*inputs.options(tmp_path / "run", *options, "--json")).out)
    assert told["self_check"]["checked"] == tiles
    assert note in told["self_check"]["note"]
    assert (told["self_check"]["worst"] is None) == (tiles == 0)


def test_the_sample_is_no_part_of_the_identity(cisray, inputs, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cisray(*inputs.options(out, "--self-check", "off")).code == 0
    before = open_run(out).manifest.digest
    assert cisray(*inputs.options(out, "--self-check", "4")).code == 0
    assert open_run(out).manifest.digest == before


@pytest.mark.parametrize(
    ("precision", "name", "edit", "track"),
    [
        ("float32", "fold_trunk", one_weight_of_the_trunk, "track t000"),
        ("float32", "fold_tail", one_bias_of_the_head(0.01), "track t0005 "),
        ("float32", "fold_tail", one_bias_of_the_head(float("nan")), "track t0005 "),
        # What is smaller than its rounding hides behind it.
        ("bfloat16", "fold_tail", one_bias_of_the_head(0.2), "track t0005 "),
        ("bfloat16", "fold_tail", one_bias_of_the_head(float("inf")), "track t0005 "),
    ],
)
def test_a_wrong_fast_path_does_not_pass(
    cisray, inputs, tmp_path: Path, corrupt, precision: str, name: str, edit, track: str
) -> None:
    corrupt(name, edit)
    out = tmp_path / "run"
    given = ("--self-check", TILES, "--tiles-per-shard", 3, "--precision", precision, "--quiet")
    tolerance = {"float32": "0.0001", "bfloat16": "0.1"}[precision]
    answer = cisray(*inputs.options(out, *given))
    answer.assert_one_paragraph(
        *("self-check failed", "chrA:1-2,048 of shard 0", track, f"and {tolerance} is tolerated"),
        *("chrA:", "Nothing of the shard is stored", "--predictor plain --restart", "report"),
        code=1,
    )
    assert commits(out) == {}
    assert not list((out / "data").rglob("*.parquet"))
    assert not (out / "_SUCCESS").exists()
    # The way out that was named.
    plain = inputs.options(out, "--predictor", "plain", "--restart", "--quiet")
    assert cisray(*plain).code == 0


def test_both_values_are_told(cisray, inputs, tmp_path: Path, corrupt) -> None:
    """Of the bin that is off most: what the message says is what the two predictors say there."""
    corrupt("fold_tail", one_bias_of_the_head(0.01))
    answer = cisray(*inputs.options(tmp_path / "run", "--self-check", TILES, "--quiet"))
    words = answer.told.partition(" it says ")[2].split()
    ours, theirs = float(words[0].rstrip(",")), float(words[4].rstrip("."))
    # softplus has a slope below 1: a bias moved by 0.01 moves a value by at most that.
    assert 0 < ours - theirs <= 0.0101


def test_a_failed_check_is_not_tried_again(
    cisray, inputs, tmp_path: Path, corrupt, monkeypatch
) -> None:
    """It stands on record instead, and nothing of its shard is committed."""
    corrupt("fold_tail", one_bias_of_the_head(0.01))
    checked: list[int] = []
    whole = SelfCheck.check

    def note(self, shard, tiles, scores):
        checked.append(shard)
        return whole(self, shard, tiles, scores)

    monkeypatch.setattr(SelfCheck, "check", note)
    out = tmp_path / "run"
    given = ("--self-check", 1, "--tiles-per-shard", 1, "--quiet")
    assert cisray(*inputs.options(out, *given)).code == 1
    # The shard of the only sampled tile is scored first, whatever its number.
    (shard,) = checked
    assert commits(out) == {}
    (kept,) = (out / "_failed").iterdir()
    record = json.loads(kept.read_text())
    assert (record["shard"], record["attempts"], record["kind"]) == (shard, 1, "self-check")
    assert "self-check failed" in record["reason"]


def test_what_failed_its_check_is_not_finished_without_one(
    cisray, inputs, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "run"
    options = inputs.options(out, "--tiles-per-shard", 1, "--quiet")
    with monkeypatch.context() as patch:
        whole = fast.fold_tail
        patch.setattr(fast, "fold_tail", lambda *x: one_bias_of_the_head(0.01)(whole(*x)))
        assert cisray(*options, "--self-check", 2).code == 1
    (record,) = (out / "_failed").glob("*.json")
    words = ("self-check of shard", str(record), "--restart --predictor plain")
    cisray(*options, "--self-check", "off").assert_one_paragraph(*words)
    cisray(*options, "--self-check", "off", "--plan").assert_one_paragraph(*words)
    assert record.exists()
    # Checked again, and right this time, as on another machine.
    assert cisray(*options, "--self-check", 2).code == 0
    assert cisray(*options, "--self-check", "off").code == 0


def test_a_record_of_other_failures_refuses_nothing(
    cisray, inputs, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "run"
    options = inputs.options(out, "--tiles-per-shard", 1, "--self-check", "off", "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(TileScorer, "score", lambda *_: 1 / 0)
        assert cisray(*options).code == 1
    assert len(list((out / "_failed").glob("*.json"))) == TILES
    assert cisray(*options).code == 0


def test_a_record_that_cannot_be_kept_does_not_hide_the_failure(
    cisray, inputs, tmp_path: Path, corrupt, monkeypatch
) -> None:
    def refuse(*given, **more):
        raise StorageError("no space for a note")

    corrupt("fold_tail", one_bias_of_the_head(0.01))
    monkeypatch.setattr(ShardSink, "record_failure", refuse)
    answer = cisray(*inputs.options(tmp_path / "run", "--self-check", 1, "--quiet"))
    assert answer.code == 1
    assert "The self-check failed" in answer.told


def test_sampled_tiles_are_scored_first(cisray, inputs, tmp_path: Path, monkeypatch) -> None:
    """And whatever the order, the values are those of another one, bit for bit."""
    scored: list[tuple[str, int]] = []
    whole = TileScorer.score

    def note(self, tiles):
        scored.extend((window.target.chrom, window.target.start) for window, _ in tiles)
        return whole(self, tiles)

    monkeypatch.setattr(TileScorer, "score", note)
    options = ("--tiles-per-shard", 1, "--quiet", "--self-check")
    assert cisray(*inputs.options(tmp_path / "two", *options, 2)).code == 0
    assert cisray(*inputs.options(tmp_path / "off", *options, "off")).code == 0
    sampled_first, in_turn = scored[:TILES], scored[TILES:]
    # Tiles of 2,048 bp.
    assert in_turn == [("chrA", 2048 * tile) for tile in range(5)] + [("chrB", 0), ("chrB", 2048)]
    assert sorted(sampled_first) == in_turn
    checked = [n for n, info in commits(tmp_path / "two").items() if "self_check" in info]
    assert sampled_first[:2] == [in_turn[int(name)] for name in checked]
    assert sampled_first[2:] == [tile for tile in in_turn if tile not in sampled_first[:2]]
    frames = [open_run(tmp_path / name).scan().collect() for name in ("two", "off")]
    assert frames[0].equals(frames[1])


@pytest.mark.parametrize(
    ("before", "now", "counts", "words"),
    [
        # Nested samples: three of seven tiles, then all; everything was finished by then.
        ("3", "7", (3, 7, 4), "; 4 in shards finished before without a check"),
        ("off", "3", (0, 3, 3), "3 in shards finished before without a check"),
        ("3", "2", (3, 3, 0), "tolerated 0.0001"),
        ("3", "off", (3, 3, 0), "tolerated 0.0001"),
    ],
)
def test_what_was_finished_without_a_check_is_told(
    cisray, inputs, tmp_path: Path, before: str, now: str, counts, words: str
) -> None:
    options = inputs.options(tmp_path / "run", "--tiles-per-shard", 1)
    assert cisray(*options, "--self-check", before).code == 0
    told = json.loads(cisray(*options, "--self-check", now, "--json").out)["self_check"]
    assert (told["checked"], told["sampled"], told["unchecked"]) == counts
    assert told["note"].endswith(words)
    text = cisray(*options, "--self-check", now).out
    assert f"self-check  {counts[0]} of {counts[1]} sampled tiles: " in text


def test_a_resumed_run_checks_the_tiles_of_an_undisturbed_one(
    cisray, inputs, tmp_path: Path, monkeypatch
) -> None:
    options = ("--tiles-per-shard", 1, "--self-check", 3, "--quiet")
    straight, torn = tmp_path / "straight", tmp_path / "torn"
    assert cisray(*inputs.options(straight, *options)).code == 0
    whole = TileScorer.score

    def fail_on_chrb(self, tiles):
        if tiles[0][0].target.chrom == "chrB":
            raise ValueError("the tape is torn")
        return whole(self, tiles)

    with monkeypatch.context() as patch:
        patch.setattr(TileScorer, "score", fail_on_chrb)
        assert cisray(*inputs.options(torn, *options)).code == 1
    assert cisray(*inputs.options(torn, *options)).code == 0

    def checked(out: Path) -> dict[str, object]:
        return {n: info["self_check"] for n, info in commits(out).items() if "self_check" in info}

    assert checked(torn) == checked(straight)
    assert len(checked(straight)) == 3


def test_another_plan_or_model_draws_another_sample(inputs) -> None:
    given = {"model": inputs.model, "fasta": inputs.fasta, "out": "run", "workers": 0}
    plans = [load_config(ScoreGenome, {**given, "tiles_per_shard": n}).prepare() for n in (1, 2)]
    samples = [
        TileSample.draw(plan.plan, model, 3, "float32")
        for plan in plans
        for model in ("a" * 64, "b" * 64)
    ]
    assert len({sample.seed for sample in samples}) == 4
    assert plans[0].sample == TileSample.draw(
        plans[0].plan, plans[0].costs.checkpoint.digest, "auto", "float32"
    )


def test_values_are_compared_where_they_stand(inputs, tmp_path: Path) -> None:
    """A single value of the second of three tiles, the last bin of a chromosome included."""
    job = load_config(
        ScoreGenome,
        {"model": inputs.model, "fasta": inputs.fasta, "out": tmp_path / "r", "workers": 0},
    )
    prepared = job.prepare()
    plain = PlainPredictor(load_model(inputs.model), prepared.tracks, device=torch.device("cpu"))
    genome = Genome.open(inputs.fasta)
    # chrA: five tiles, of which the last has 9,000 - 8,192 = 808 bp and 7 bins.
    windows = planned_windows(prepared.plan.tiles(0), prepared.plan.bin_bp)
    assert [bins for _, bins in windows] == [16, 16, 16, 16, 7]
    every = TileSample.draw(prepared.plan, "", 99, "float32")
    check = SelfCheck(plain, genome, every)
    scores = TileScorer(plain, genome).score(windows)
    assert check.check(0, windows, scores)["self_check"]["worst"] == 0
    for row, tile in ((20, "chrA:2,049-4,096"), (70, "chrA:8,193-10,240")):
        wrong = replace(scores, values_TM=scores.values_TM.copy())
        wrong.values_TM[2, row] *= np.float32(1.1)
        start = 128 * row + 1
        with pytest.raises(SelfCheckFailed, match=f"{tile} of shard 0, track t0002") as caught:
            check.check(0, windows, wrong)
        assert f"at chrA:{start:,}-{start + 127:,} it says" in str(caught.value)
