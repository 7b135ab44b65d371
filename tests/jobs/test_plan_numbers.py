"""What a plan says a run will cost: the spread of the work, time, tiles that are left, memory."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from cisray.inference.fast.costs import copied_bytes, tile_flops
from cisray.model.enformer.config import EnformerConfig
from cisray_jobs import plan
from cisray_jobs.models import SIZES
from cisray_jobs.plan import Resources, fit_memory, plain_bytes, speed, spread, worker_bytes


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch):
    def have(number: int) -> None:
        monkeypatch.setattr(plan.os, "sched_getaffinity", lambda _: set(range(number)))

    return have


def chosen(device: str = "cpu", **given: float | None) -> Resources:
    nothing = dict.fromkeys(("workers", "threads", "num_gpus", "batch"))
    return spread(device=device, **{**nothing, **given})


@pytest.mark.parametrize(
    ("number", "given", "workers", "threads"),
    [
        (16, {}, 4, 4),  # four threads each
        (2, {}, 2, 1),  # two workers where there are two cores
        (1, {}, 1, 1),
        (6, {}, 2, 3),
        (16, {"workers": 0}, 0, 16),  # this process takes all
        (16, {"threads": 8}, 2, 8),
        (2, {"threads": 8}, 1, 8),
        (16, {"workers": 3}, 3, 4),
    ],
)
def test_the_spread_over_cores(cores, number, given, workers: int, threads: int) -> None:
    cores(number)
    resources = chosen(**given)
    assert (resources.workers, resources.threads, resources.num_gpus) == (workers, threads, 0)
    assert resources.batch_size is None


@pytest.mark.parametrize(("share", "workers"), [(None, 2), (1.0, 2), (0.5, 4), (2.0, 1), (4.0, 1)])
def test_the_spread_over_gpus(cores, monkeypatch, share: float | None, workers: int) -> None:
    cores(16)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    resources = chosen("cuda", num_gpus=share)
    assert (resources.workers, resources.num_gpus) == (workers, 1.0 if share is None else share)
    # Workers that share a GPU would measure each other's memory.
    assert resources.batch_size == (1 if share == 0.5 else None)
    assert chosen("cuda", num_gpus=share, batch=7).batch_size == 7


def test_the_speed_of_a_worker() -> None:
    one, four = Resources("cpu", 1, 1, 0, 1), Resources("cpu", 9, 4, 0, 1)
    for method in ("plain", "fast"):
        for precision in ("float32", "bfloat16"):
            assert speed(four, method, precision) == 4 * speed(one, method, precision)
    assert speed(one, "plain", "float32") < speed(one, "fast", "float32")
    assert speed(one, "fast", "float32") < speed(one, "fast", "bfloat16")
    # A GPU's does not depend on the threads that feed it.
    on_gpu = [Resources("cuda:1", 1, threads, 1, 1) for threads in (1, 4)]
    assert speed(on_gpu[0], "fast", "float32") == speed(on_gpu[1], "fast", "float32") > 1e12


def test_the_memory_of_a_worker() -> None:
    # The published model: 4 x 251,251,002 of weights, 5 x 4 x 196,608 x 768 of activations and
    # 0.4e9 are 4.42e9; benchmarks/results measured 4.0e9.
    def of(weights: int, channels: int, *, batch: int = 1, copied: int = 0, rows: int = 0) -> int:
        passing = plain_bytes(batch=batch, input_bp=196_608, base_channels=channels)
        return worker_bytes(weights=weights, copied=copied, passing=passing, shard_values=rows)

    one = of(251_251_002, 768)
    assert one == pytest.approx(4.0e9, rel=0.15)
    # The small one, of 48 channels after the stem: 0.59e9, and 0.66e9 were measured.
    assert of(500_000, 48) == pytest.approx(0.66e9, rel=0.15)
    # A window more in a batch costs 5 x 4 bytes per value after the stem; a shard's values 4 each.
    two = of(251_251_002, 768, batch=2, copied=77, rows=1000)
    assert two - one == 20 * 196_608 * 768 + 4000 + 77


def test_no_pass_runs_while_values_are_encoded() -> None:
    def of(passing: int, values: int) -> int:
        return worker_bytes(weights=0, copied=0, passing=passing, shard_values=values) - 400_000_000

    # A pass of 1000 bytes beside one copy of 100 x 4; two copies of 300 x 4 without it.
    assert of(1000, 100) == 1000 + 400
    assert of(1000, 250) == 1000 + 1000 == 2 * 1000
    assert of(1000, 300) == 2 * 1200


@pytest.mark.parametrize("method", ["plain", "fast"])
def test_bfloat16_without_instructions_is_slow(method: str) -> None:
    one = Resources("cpu", 1, 3, 0, None)
    emulated = speed(one, method, "bfloat16", native=False)
    assert emulated == pytest.approx(0.1 * speed(one, method, "bfloat16"))
    assert emulated < speed(one, method, "float32")


@pytest.mark.parametrize(
    ("memory", "workers"), [(100e9, 8), (51e9, 8), (49e9, 7), (10e9, 1), (1e9, 1)]
)
def test_workers_fit_into_memory(monkeypatch, memory: float, workers: int) -> None:
    # 80 % of 51e9 is 8.2 times 5e9; of 49e9 7.8 times; of 10e9 1.6 times.
    monkeypatch.setattr(plan, "physical_memory", lambda: int(memory))
    assert fit_memory(Resources("cpu", 8, 4, 0, 1), 5_000_000_000).workers == workers


def contigs(path: Path, count: int) -> Path:
    path.write_text("".join(f">c{n}\n{'ACGTTGCAAC' * 30}\n" for n in range(count)))
    return path


def told(cisray, *options: object) -> dict:
    answer = cisray(*options, "--plan", "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_short_contigs_cost_a_tile_each(cisray, inputs, tmp_path: Path) -> None:
    # Twenty contigs of 300 bp: 3 bins of 128 bp and a forward pass for each of them. By its 16
    # bins to a tile the work would look like 60 / 16, four tiles.
    fasta = contigs(tmp_path / "contigs.fa", 20)
    options = inputs.options(tmp_path / "run", "--fasta", fasta)
    options = (*options, "--self-check", "off")
    every = told(cisray, *options)
    one = told(cisray, *options, "--chromosomes", "c7")
    assert (every["rows_left"], one["rows_left"]) == (60, 3)
    assert every["teraflop"] == pytest.approx(20 * one["teraflop"])
    assert every["estimated_seconds"] == pytest.approx(20 * one["estimated_seconds"])
    assert cisray(*options, "--quiet").code == 0
    after = told(cisray, *options)
    assert (after["rows_left"], after["teraflop"], after["estimated_seconds"]) == (0, 0, 0)


def test_the_memory_is_told(cisray, inputs, tmp_path: Path) -> None:
    options = inputs.options(tmp_path / "run", "--plan", "--predictor", "plain")
    # The tiny model reads 4,096 bp and has 24 channels after the stem: 20 x 98,304 bytes for each
    # window of a batch.
    one, nine = (told(cisray, *options, "--batch-size", size)["worker_bytes"] for size in (1, 9))
    assert nine - one == 8 * 20 * 4096 * 24
    assert "about 40" in cisray(*options).out
    assert " MB per worker" in cisray(*options).out


def test_auto_workers_fit_into_memory(cisray, inputs, tmp_path, cores, monkeypatch) -> None:
    cores(64)
    options = inputs.options(tmp_path / "run", "--device", "cpu", "--threads", 4)
    assert told(cisray, *options, "--workers", "auto")["resources"]["workers"] > 2
    # Two workers of some 0.4e9 fit into 80 % of 1.2e9.
    monkeypatch.setattr(plan, "physical_memory", lambda: 1_200_000_000)
    assert told(cisray, *options, "--workers", "auto")["resources"]["workers"] == 2
    # Who says a number gets it.
    assert told(cisray, *options, "--workers", 9)["resources"]["workers"] == 9


def test_a_plan_counts_what_neighbours_share(cisray, inputs, tmp_path: Path) -> None:
    """The first tile of a shard costs its whole trunk, the others what is new of theirs."""
    options = inputs.options(tmp_path / "run", "--chromosomes", "chrA", "--self-check", "off")
    single, five, plain = (
        told(cisray, *options, *more)["teraflop"]
        for more in (
            ("--tiles-per-shard", 1),
            ("--tiles-per-shard", 5),
            ("--predictor", "plain"),
        )
    )
    costs = tile_flops(SIZES["tiny"], tracks=8)
    # chrA has 5 tiles.
    assert single * 1e12 == pytest.approx(5 * costs.first)
    assert five * 1e12 == pytest.approx(costs.first + 4 * costs.following)
    assert plain * 1e12 == pytest.approx(5 * SIZES["tiny"].forward_flops("human"))
    assert five < single < plain


def test_a_plan_counts_stretches(cisray, inputs, tmp_path: Path) -> None:
    """A shard of tiles that lie apart shares nothing: each costs its whole trunk."""
    # 20,480 bp are 10 tiles of 2,048; tile 0 reads up to base 3,072, tile 6 from 11,264 on.
    fasta = tmp_path / "long.fa"
    fasta.write_text(f">chrC\n{'ACGTTGCAAC' * 2048}\n")
    bed = tmp_path / "apart.bed"
    bed.write_text("chrC\t100\t200\nchrC\t12400\t12500\nchrC\t14400\t14500\n")
    options = inputs.options(tmp_path / "run", "--fasta", fasta, "--bed", bed)
    found = told(cisray, *options, "--tiles-per-shard", 5, "--self-check", "off")
    assert (found["shards"], found["tiles"]) == (1, 3)
    costs = tile_flops(SIZES["tiny"], tracks=8)
    assert found["teraflop"] * 1e12 == pytest.approx(2 * costs.first + costs.following)


def test_a_plan_counts_the_self_check(cisray, inputs, tmp_path: Path) -> None:
    """Tiles that are predicted both ways, in time and memory; none of finished shards."""
    options = inputs.options(tmp_path / "run", "--tiles-per-shard", 1)
    off, auto, seven = (
        told(cisray, *options, "--self-check", wanted) for wanted in ("off", "auto", 99)
    )
    # chrA and chrB have 7 tiles.
    assert [plan["tiles_to_check"] for plan in (off, auto, seven)] == [0, 3, 7]
    plain = SIZES["tiny"].forward_flops("human") / 1e12
    assert auto["teraflop"] - off["teraflop"] == pytest.approx(3 * plain)
    assert seven["teraflop"] - off["teraflop"] == pytest.approx(7 * plain)
    assert off["estimated_seconds"] < auto["estimated_seconds"] < seven["estimated_seconds"]
    assert cisray(*options).code == 0
    assert told(cisray, *options)["tiles_to_check"] == 0


def test_the_memory_of_a_fast_worker() -> None:
    """At the published size: what is added to 0.4e9 and the weights, in words of the passes."""
    config = EnformerConfig()
    # Trunk: the stem's 4 x 15 x 768 and two squares of 768 for its other layers; then
    # 5 a b + 2 b b for the tower's widths 768, 768, 896, 1024, 1152, 1280, 1536.
    widths = [768, 768, 896, 1024, 1152, 1280, 1536]
    trunk = 60 * 768 + 2 * 768**2
    trunk += sum(5 * a * b + 2 * b * b for a, b in pairwise(widths))
    # Keys of 3,071 distances for 8 heads of 64 in 11 blocks; rows of the head for 2 tracks, which
    # stay float32 in bfloat16; the pointwise layer is the model's own.
    folded, head = trunk + 11 * 512 * 3072, 3072 * 2
    assert copied_bytes(config, 2, "float32") == 4 * (folded + head)
    # bfloat16 rounds the blocks as well: q and k, v and out, and twice 1536 x 3072 between.
    blocks = 11 * (2 * 512 * 1536 + 2 * 1536**2 + 2 * 1536 * 3072)
    assert copied_bytes(config, 2, "bfloat16") == 2 * (folded + blocks) + 4 * head


def test_a_plan_says_why(cisray, inputs, tmp_path: Path) -> None:
    options = inputs.options(tmp_path / "run", "--plan", "--device", "cpu")
    fast = cisray(*options).out
    for words in (
        "fast: Enformer has a fast form",
        "float32: auto, for tracks: bfloat16 has to be asked for",
    ):
        assert words in fast
    assert "3 tiles left to predict both ways" in fast
    plain = cisray(*options, "--predictor", "plain", "--precision", "bfloat16").out
    for words in ("plain: the plain way was asked for", "bfloat16: as asked for", "0 tiles left"):
        assert words in plain
