"""Batch sizes of workers: measured where they run, as asked for otherwise, and on record."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cisray.errors import DeviceTooSmall
from cisray.inference.batching import probe
from cisray.inference.choose import tile_predictor
from cisray.model.registry import load_model
from cisray_jobs import tile_task
from cisray_jobs.tile_task import settle_batch

CPU = torch.device("cpu")


class FakeMeter:
    """A device of so many bytes on which n windows take 100 + 50 n."""

    def __init__(self, free: int, calls: list[int]) -> None:
        self._free = free
        self._calls = calls

    def used_bytes(self, work) -> int:
        before = len(self._calls)
        work()
        (windows,) = self._calls[before:]  # one batch for all of them
        if 100 + 50 * windows > self._free:
            raise torch.OutOfMemoryError
        return 100 + 50 * windows

    def free_bytes(self) -> int:
        return self._free


@pytest.fixture(params=["fast", "plain"])
def predictor(request, inputs):
    model = load_model(inputs.model)
    given = {"device": CPU, "precision": "float32", "batch_size": 1, "method": request.param}
    return tile_predictor(model, model.tracks["human"], **given)


@pytest.fixture
def device_of(monkeypatch: pytest.MonkeyPatch, predictor):
    """Let the probe meet a device of so many bytes; return the batches that it runs."""

    def have(free: int) -> list[int]:
        calls: list[int] = []

        def predict(codes_BL: np.ndarray) -> None:
            assert codes_BL.shape[1] == predictor.spec.input_bp
            assert codes_BL.max() <= 3
            calls.extend(
                len(codes_BL[first : first + predictor.batch_size])
                for first in range(0, len(codes_BL), predictor.batch_size)
            )

        def measured(device, purpose, run, *, sequence_bytes, limit):
            assert purpose == "tracks"
            return probe(run, FakeMeter(free, calls), limit=limit)

        monkeypatch.setattr(predictor, "predict", predict)
        monkeypatch.setattr(tile_task, "choose_batch_size", measured)
        return calls

    return have


@pytest.mark.parametrize(
    ("free", "limit", "size"),
    [
        # 80 % of 1,000 are 800: (800 - 100) / 50 = 14 windows.
        (1000, 64, 14),
        (1000, 9, 9),
        # 80 % of 220 are 176: one takes 150, two 200.
        (220, 64, 1),
    ],
)
def test_a_worker_measures(predictor, device_of, free: int, limit: int, size: int) -> None:
    calls = device_of(free)
    choice = settle_batch(predictor, CPU, None, limit=limit)
    assert choice.batch_size == predictor.batch_size == size
    assert calls[:3] == [1, 1, 2]
    assert max(calls) == max(2, size)


def test_a_device_for_not_even_one(predictor, device_of) -> None:
    device_of(149)
    with pytest.raises(DeviceTooSmall, match="use fewer workers"):
        settle_batch(predictor, CPU, None, limit=64)


def test_a_number_is_not_measured(predictor, device_of) -> None:
    calls = device_of(1000)
    assert settle_batch(predictor, CPU, 40, limit=9).batch_size == predictor.batch_size == 40
    assert calls == []


@pytest.mark.parametrize(
    ("options", "size", "reason"),
    [
        ((), 1, "one sequence fills the cores of a CPU"),
        (("--batch-size", 5), 5, "settled when the run was planned"),
    ],
)
def test_receipts_say_how_many_and_why(
    cisray, inputs, tmp_path: Path, options, size: int, reason: str
) -> None:
    out = tmp_path / "run"
    given = inputs.options(out, "--device", "cpu", *options)
    plan = cisray(*given, "--plan").out
    assert f"batches     {'of 5 windows' if options else 'auto'}" in plan
    assert cisray(*given, "--quiet").code == 0
    infos = [json.loads(path.read_text())["info"] for path in (out / "_commits").glob("*.json")]
    assert infos
    assert {(info["batch_size"], info["batch_size_reason"]) for info in infos} == {(size, reason)}
