"""The fast engine's benchmark does the work that it says, and counts its products rightly.

No time is judged. The peer library is not needed here.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from counting import CountProducts
from fast_cases import CASES, Ledger, Workload
from fast_report import (
    Measured,
    Results,
    agreement,
    flops_per_unit,
    largest_relative,
    per_unit,
    report,
    summary,
)
from worker_memory import worker_peak_bytes

from cisray.inference.fast.costs import tile_flops
from cisray.inference.fast.products import linear
from cisray.inference.precision import arithmetic
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray.scoring.plan import tiles_per_shard
from cisray_jobs.models import SIZES, init_model
from cisray_jobs.plan import Resources, speed

LOAD = Workload(tiles=3, compared_tiles=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Enformer:
    path = Path(tmp_path_factory.mktemp("model")) / "tiny.safetensors"
    init_model(path, "tiny", seed=1, randomise_all=True)
    return load_model(path)


def done(case: str, model, **options) -> Ledger:
    ledger = Ledger(**options)
    CASES[case](model, LOAD)(ledger)
    return ledger


def test_products_are_counted_once_however_they_are_called() -> None:
    x, weight, bias = torch.randn(2, 5, 3), torch.randn(7, 3), torch.randn(7)
    image, kernel = torch.randn(1, 3, 10), torch.randn(7, 3, 4)
    with arithmetic(torch.device("cpu"), "float32"), CountProducts() as counter:
        for multiply in (
            lambda: torch.nn.functional.linear(x, weight, bias),
            lambda: linear(x, weight, bias),
            lambda: x @ weight.T,
            lambda: torch.einsum("bkd,od->bko", x, weight),
        ):
            before = counter.flops["float32"]
            multiply()
            assert counter.flops["float32"] - before == 2 * 10 * 7 * 3  # 10 rows
        before = counter.flops["float32"]
        torch.conv1d(image, kernel, bias[:7])
        # 10 - 4 + 1 = 7 places, 7 channels out of 3, 4 wide.
        assert counter.flops["float32"] - before == 2 * 7 * 7 * 3 * 4
        x.bfloat16() @ weight.bfloat16().T
        x.softmax(dim=-1) + x
    assert set(counter.flops) == {"float32", "bfloat16"}
    assert counter.flops["bfloat16"] == 2 * 10 * 7 * 3


def test_the_plain_pass_executes_what_the_model_says(tiny) -> None:
    flops = flops_per_unit(done("tiles_plain", tiny, count=True).parts)
    # The formula counts 2K distances where there are 2K - 1: of K = 32, up to a 64th of them.
    assert flops["first tile"]["float32"] == pytest.approx(tiny.forward_flops("human"), rel=0.01)
    assert flops["next tile"] == flops["first tile"]


def test_fast_tiles_execute_less_and_share_with_their_neighbours(tiny) -> None:
    plain = tiny.forward_flops("human")
    for case, dtype in (("tiles_float32", "float32"), ("tiles_bfloat16", "bfloat16")):
        flops = flops_per_unit(done(case, tiny, count=True).parts)
        of_next, of_first = (sum(flops[f"{which} tile"].values()) for which in ("next", "first"))
        assert flops["next tile"][dtype] > 0.9 * of_next
        # 16 of the 32 tokens are new, and some at the ends of each window, of a trunk that makes
        # up most of the pass.
        assert 0.4 * plain < of_next < 0.9 * of_first
        # Blocks overlap where they meet, which weighs more in 32 tokens than in 1,536. The plain
        # pass saves the same half of pooling's logits: 1.2 times what it was before is 1.31 times.
        assert of_first < 1.25 * plain


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ("tiles_float32", {"first tile": 1, "next tile": 2}),
        ("tiles_plain", {"first tile": 1, "next tile": 1}),
        ("saturation", {"reference": 1, "alternate": 8 * 3}),
        ("centred", {"reference": 2, "alternate": 2}),
        # 20 variants, of which the first cell holds 4.
        ("grid", {"first reference": 4, "first alternate": 4,
                  "next reference": 16, "next alternate": 16}),
    ],
)  # fmt: skip
def test_each_case_does_what_is_divided_by(tiny, case: str, parts: dict[str, int]) -> None:
    found = done(case, tiny).parts
    assert {p.name: sum(q.units for q in found if q.name == p.name) for p in found} == parts
    assert all(part.seconds > 0 for part in found)
    if case == "grid":
        assert [p.units for p in found if p.name.endswith("reference")] == [4, 3, 3, 3, 3, 4]


def test_tiles_of_both_ways_are_compared(tiny, tmp_path: Path) -> None:
    for case in ("tiles_float32", "tiles_bfloat16", "tiles_plain"):
        done(case, tiny, keep=tmp_path / case)
    fast, rounded, plain = (tmp_path / f"tiles_{k}" for k in ("float32", "bfloat16", "plain"))
    assert [p.name for p in sorted(plain.iterdir())] == ["0.npy", "1.npy"]
    assert 0 < largest_relative(fast, plain) < 1e-4
    found = agreement(rounded, fast)
    a, b = (np.concatenate([np.load(x / f"{i}.npy") for i in range(3)]) for x in (rounded, fast))
    np.testing.assert_allclose(
        found.pearson, [np.corrcoef(a[:, t], b[:, t])[0, 1] for t in range(8)], rtol=1e-9
    )
    a, b = a.astype(np.float64), b.astype(np.float64)
    error = np.sqrt(((a - b) ** 2).sum(axis=0) / (b**2).sum(axis=0))
    np.testing.assert_allclose(found.error, error, rtol=1e-9)
    np.testing.assert_allclose(found.variation, (b.var(axis=0) / b.mean(axis=0) ** 2) ** 0.5)
    assert largest_relative(plain, plain) == 0


def test_the_report_divides_medians(tiny) -> None:
    ledger = done("saturation", tiny)
    assert per_unit(ledger.parts).keys() == {"reference", "alternate"}
    # Medians of three rounds: 0.5 s an alternate, 30 s a reference; 40 s a pass of the peer.
    seconds = [{"reference": 30.0, "alternate": x} for x in (0.5, 0.1, 9.0)]
    flops = {"reference": {"float32": 3e12}, "alternate": {"float32": 1e9, "bfloat16": 2e11}}
    measured = Measured(seconds, flops, [40.0, 10.0, 90.0], 3 * 10**9)
    products = {f"{t}, products.linear": 4e11 for t in ("float32", "bfloat16")}
    results = Results({"saturation": measured}, {}, products, 4 * 10**9, 35 * 10**8)
    ratios = [(line["ratio"], line["goal"]) for line in summary(results, Workload())]
    # 40 / 0.5 = 80; with 30 / 300 = 0.1 s of the reference 40 / 0.6; of two passes twice that.
    assert ratios == [
        (80.0, 10.0), (pytest.approx(40 / 0.6), 10.0), (pytest.approx(80 / 0.6), 20.0)
    ]  # fmt: skip
    text = report(results, Workload(), "tiny", peer="peer", peer_flops=3.2e12)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    # 2.01e11 / 4e11 = 0.5025 s of 0.5 s; 3e12 / 4e11 = 7.5 s of 30 s; 3.2e12 / 4e11 = 8 of 40 s.
    assert ["saturation: alternate", "0.0010", "0.2000", "0.500", "402", "100%"] in rows
    assert ["saturation: reference", "3.0000", "0.0000", "30.000", "100", "25%"] in rows
    assert ["peer: pass", "3.2000", "0.0000", "40.000", "80", "20%"] in rows
    assert ["saturation", "3.00", "5"] in rows
    assert ["worker of a run, 3 tiles a shard, self-check and writing", "3.50", "5"] in rows
    assert ["peer", "4.00", ""] in rows


def test_goals_of_tiles_stand_on_the_mean_of_a_shard_as_planned() -> None:
    two_threads = Resources(device="cpu", workers=1, threads=2, num_gpus=0, batch_size=1)
    full = SIZES["enformer"]
    flops, rate = tile_flops(full, full.heads["human"]), speed(two_threads, "fast", "float32")
    assert Workload().tiles == tiles_per_shard(lambda tiles: flops.of(tiles) / rate)
    # (9 + 7 x 1) / 8 = 2 s for a tile; 8 s a pass of the peer.
    measured = Measured([{"first tile": 9.0, "next tile": 1.0}], {}, [8.0], 0)
    cases = {"tiles_float32": measured, "tiles_bfloat16": measured}
    found = summary(Results(cases, {}, {}, 0), Workload())
    assert [(line["ratio"], line["goal"]) for line in found] == [
        (4.0, 2.0), (8.0, None), (4.0, 6.0), (8.0, None)
    ]  # fmt: skip


def test_the_grid_tells_its_first_window() -> None:
    parts = {"first reference": 10.0, "first alternate": 1.0,
             "next reference": 2.0, "next alternate": 1.0}  # fmt: skip
    cases = {"grid": Measured([parts], {}, [33.0], 0)}
    found = summary(Results(cases, {}, {}, 0), Workload())
    # Two passes take 66 s: 66 / (2 + 1) and 66 / (10 + 1).
    assert [(line["ratio"], line["goal"]) for line in found] == [(22.0, 15.0), (6.0, None)]


@pytest.mark.long
def test_the_worker_of_a_run_tells_its_memory(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.safetensors"
    init_model(weights, "tiny", seed=1, randomise_all=True)
    peak = worker_peak_bytes(weights, threads=1, tiles=2)
    assert 1e8 < peak < 4e9  # Python with torch and Ray, and a toy
