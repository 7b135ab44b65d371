"""How many alternates are carried at once is settled with the predictor that carries them."""

import numpy as np
import pytest
import torch

from cisray.inference import batching, effect_batch
from cisray.inference.batching import Choice
from cisray.inference.effect_batch import settle_effect_batch, settle_gradient_batch
from cisray.inference.effects import PlainEffects
from cisray.inference.fast.costs import lane_bytes
from cisray.inference.fast.effects import DeltaEffects
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.gradients import PlainGradients

CPU = torch.device("cpu")


@pytest.fixture
def effects(tiny) -> DeltaEffects:
    return DeltaEffects(tiny, tiny.tracks["human"], device=CPU)


def test_a_number_that_is_wanted_is_taken(effects) -> None:
    assert settle_effect_batch(effects, CPU, 7).batch_size == 7
    assert effects.batch_size == 7


def test_a_cpu_carries_a_few_or_what_its_memory_holds(effects, tiny, monkeypatch) -> None:
    assert settle_effect_batch(effects, CPU, None).batch_size == batching.CPU_LANES["effects"]
    assert effects.batch_size == batching.CPU_LANES["effects"]
    # Four fifths of what is free hold two and a half alternates of four bins.
    free = int(2.5 * lane_bytes(tiny.config, 8, 4) / batching.SHARE)
    monkeypatch.setattr(batching, "host_free_bytes", lambda: free)
    assert settle_effect_batch(effects, CPU, None, bins=range(6, 10)).batch_size == 2
    assert settle_effect_batch(effects, CPU, None, bins=range(6, 10), limit=1).batch_size == 1


def test_a_gpu_is_measured_with_alternates_of_the_costly_kind(effects, monkeypatch) -> None:
    """What is run for n alternates: a window is opened, and n insertions carried together."""
    carried: list[tuple[int, int]] = []
    differences = effects.delta.differences

    def watched(reference, d_BKD):
        # All tokens from the middle of the window on have changed.
        carried.append((len(d_BKD), int(d_BKD.any(dim=-1).sum(dim=1).min())))
        return differences(reference, d_BKD)

    def choose(device, purpose, run, *, sequence_bytes, limit):
        assert (device, purpose, limit) == (torch.device("cuda"), "effects", 5)
        for size in (1, 3):
            run(size)
        return Choice(3, "measured")

    monkeypatch.setattr(effects.delta, "differences", watched)
    monkeypatch.setattr(effect_batch, "choose_batch_size", choose)
    choice = settle_effect_batch(effects, torch.device("cuda"), None, limit=5)
    assert choice == Choice(3, "measured")
    assert effects.batch_size == 3
    assert [lanes for lanes, _ in carried] == [1, 3]
    assert min(tokens for _, tokens in carried) >= 16


def test_the_plain_way_has_no_batches(tiny) -> None:
    plain = PlainEffects(tiny, tiny.tracks["human"], device=CPU)
    assert settle_effect_batch(plain, CPU, 7).batch_size == 1


@pytest.mark.gpu
def test_on_a_gpu_the_size_is_found_by_trying(tiny) -> None:
    cuda = torch.device("cuda")
    try:
        effects = DeltaEffects(tiny.to(cuda), tiny.tracks["human"], device=cuda)
        assert settle_effect_batch(effects, cuda, None, limit=6).batch_size == 6
        codes_L = np.zeros(4096, np.uint8)
        assert effects.open(codes_L).differences(codes_L[None]).shape == (1, 16, 8)
    finally:
        tiny.to(CPU)


def test_gradients_are_led_back_some_at_a_time(tiny, monkeypatch) -> None:
    gradients = FastGradients(tiny, tiny.tracks["human"], device=CPU)

    def settled(wanted: int | None, objectives: int, bins: range | None = None) -> int:
        choice = settle_gradient_batch(gradients, CPU, wanted, objectives=objectives, bins=bins)
        assert gradients.batch_size == choice.batch_size
        return choice.batch_size

    assert settled(5, 3) == 5
    assert settled(None, 16) == batching.CPU_LANES["gradients"]
    # No more than a window has.
    assert settled(None, 3) == 3
    free = int(2.5 * lane_bytes(tiny.config, 8, 4) / batching.SHARE)
    monkeypatch.setattr(batching, "host_free_bytes", lambda: free)
    assert settled(None, 16, range(6, 10)) == 2
    plain = PlainGradients(tiny, tiny.tracks["human"], device=CPU)
    assert settle_gradient_batch(plain, CPU, 7, objectives=16).batch_size == 1


def test_a_gpu_is_measured_with_gradients_of_its_objectives(tiny, monkeypatch) -> None:
    gradients = FastGradients(tiny, tiny.tracks["human"], device=CPU)
    led: list[tuple[int, ...]] = []
    whole = gradients._lead_back

    def watched(codes, slopes_BNT, region):
        led.append((*slopes_BNT.shape, len(region)))
        return whole(codes, slopes_BNT, region)

    def choose(device, purpose, run, *, sequence_bytes, limit):
        assert (device, purpose, limit) == (torch.device("cuda"), "gradients", 10)
        for size in (1, 10):
            run(size)
        return Choice(10, "measured")

    monkeypatch.setattr(gradients, "_lead_back", watched)
    monkeypatch.setattr(effect_batch, "choose_batch_size", choose)
    settle_gradient_batch(gradients, torch.device("cuda"), None, objectives=10, bins=range(6, 10))
    # All at once, also where they are more than the tracks.
    assert led == [(1, 4, 8, 128), (10, 4, 8, 128)]
    assert gradients.batch_size == 10
