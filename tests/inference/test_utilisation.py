"""How busy a GPU is: sampled in a real thread, never made up, and by NVML where there is one."""

import itertools
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest
import torch

from cisray.inference.utilisation import Sampler, Utilisation, gpu_reading


def waits_for(condition, seconds: float = 10.0) -> None:
    """Wait until a condition holds: threads take their time on a busy machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_readings_are_taken_while_the_block_lasts_and_not_after() -> None:
    given = itertools.chain([20.0, 80.0], itertools.repeat(50.0))
    asked: list[float] = []

    def read() -> float:
        asked.append(next(given))
        return asked[-1]

    sampler = Sampler(read, every_s=0.002)
    with sampler:
        waits_for(lambda: len(asked) >= 4)
    count = len(asked)
    assert sampler.found == Utilisation(round(sum(asked) / count, 1), 80.0, count)
    time.sleep(0.02)
    assert len(asked) == count
    assert not [t for t in threading.enumerate() if t.name == "cisray-gpu"]


def test_each_block_has_its_own_readings() -> None:
    values = iter([90.0])
    sampler = Sampler(lambda: next(values, 10.0), every_s=0.002)
    with sampler:
        waits_for(lambda: sampler.found is not None)
    with sampler:
        waits_for(lambda: sampler.found is not None)
    found = sampler.found
    assert found is not None
    assert found.max == 10


def test_without_a_reading_nothing_is_measured() -> None:
    sampler = Sampler(None)
    with sampler:
        pass
    assert sampler.found is None


def test_a_block_that_is_over_before_the_first_reading_has_none() -> None:
    sampler = Sampler(lambda: 70.0, every_s=30)
    begun = time.monotonic()
    with sampler:
        pass
    assert sampler.found is None
    assert time.monotonic() - begun < 5


def test_a_reading_that_fails_is_told_once_and_the_work_goes_on(caplog) -> None:
    def read() -> float:
        raise RuntimeError("GPU is lost")

    sampler = Sampler(read, every_s=0.002)
    with sampler:
        waits_for(lambda: sampler.read is None)
    with sampler:
        pass
    assert sampler.found is None
    assert [record.getMessage() for record in caplog.records] == [
        "the utilisation of the GPU is no longer measured: GPU is lost"
    ]


def test_a_cpu_is_not_asked() -> None:
    assert gpu_reading(torch.device("cpu")) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU it is measured")
def test_without_a_driver_or_without_the_extra_there_is_no_reading(monkeypatch) -> None:
    assert gpu_reading(torch.device("cuda")) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_reading(torch.device("cuda")) is None


class Nvml(ModuleType):
    """Stands for NVIDIA's library: one GPU of 70 %, known by its UUID, and a part of another."""

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None:  # noqa: N802  (NVIDIA chose the names)
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid not in ("GPU-0a1b", "GPU-mig"):
            raise self.NVMLError("not found")
        return uuid

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:  # noqa: N802
        if handle == "GPU-mig":
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=70, memory=20)


@pytest.mark.parametrize(("uuid", "expected"), [("0a1b", 70.0), ("mig", None), ("9999", None)])
def test_the_gpu_is_found_by_its_uuid(monkeypatch, uuid: str, expected: float | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml("pynvml"))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuid)
    )
    read = gpu_reading(torch.device("cuda", 0))
    assert (None if read is None else read()) == expected


@pytest.mark.gpu
def test_nvml_sees_the_gpu_that_torch_computes_on() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    read = gpu_reading(device)
    assert read is not None
    big = torch.ones(6_000, 6_000, device=device)
    sampler = Sampler(read, every_s=0.2)
    with sampler:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            big = big @ big / 6_000
            torch.cuda.synchronize()
    found = sampler.found
    assert found is not None
    assert found.readings >= 5
    assert found.max > 50
