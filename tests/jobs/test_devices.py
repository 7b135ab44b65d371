"""Options about workers and devices that contradict each other are refused, each in its words."""

from typing import Any

import pytest
import torch

from cisray.errors import ConfigError
from cisray_jobs.devices import settle_device

CLUSTER = "10.0.0.1:6379"


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, and no cluster in the environment."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("device", "workers", "more", "settled"),
    [
        ("auto", "auto", {}, "cuda"),
        ("cpu", "auto", {}, "cpu"),
        ("cuda", 4, {"num_gpus": 0.5}, "cuda"),
        ("auto", 4, {"num_gpus": 0.5}, "cuda"),
        ("cuda", 4, {"num_gpus": 0.0}, "cuda"),
        ("cuda:1", 0, {}, "cuda:1"),
        ("cpu", 2, {"address": CLUSTER}, "cpu"),
        ("cuda", 2, {"address": CLUSTER, "num_gpus": 1.0}, "cuda"),
        ("cpu", 2, {"shard_timeout": 60.0, "address": "local"}, "cpu"),
    ],
)
def test_what_goes_together(device: str, workers: Any, more: dict[str, Any], settled: str) -> None:
    assert settle_device(device, workers, **more) == settled


@pytest.mark.parametrize(
    ("device", "workers", "more", "words"),
    [
        ("cpu", 2, {"num_gpus": 1.0}, "--num-gpus 1 is for --device cuda, but the device is cpu"),
        ("cuda", 0, {"num_gpus": 0.5}, "--num-gpus 0.5 .* --workers 0 uses this process"),
        ("cpu", 0, {"address": CLUSTER}, f"--address {CLUSTER} .* --workers 0"),
        ("cpu", 0, {"shard_timeout": 9.0}, "--shard-timeout 9.0 .* --workers 0"),
        ("cuda:1", 2, {}, "--device cuda:1 is for --workers 0.*Use --device cuda"),
        ("cuda:1", 2, {"address": CLUSTER}, "--device cuda:1 is for --workers 0"),
        ("cpu:1", 0, {}, "'cpu:1'.*use auto, cpu, cuda or cuda:N"),
        ("cpu:0", 2, {}, "'cpu:0'.*use auto, cpu, cuda or cuda:N"),
        ("cuda:2", 0, {}, "there are 2 CUDA"),
        ("cuda", "auto", {"num_gpus": 0.0}, "say how many --workers"),
        ("tpu", 2, {"address": CLUSTER}, "'tpu': on a cluster use cpu or cuda"),
        ("auto", 2, {"address": CLUSTER}, "On a cluster say which --device they use, cpu or cuda:"),
        ("cpu", "auto", {"address": CLUSTER}, r"say how many --workers [^-]*: this machine"),
        ("auto", "auto", {"address": CLUSTER}, "say how many --workers .* and which --device"),
    ],
)
def test_what_does_not(device: str, workers: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settle_device(device, workers, **more)


def test_an_address_in_the_environment_is_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where to go; whether to go there is said by the number of workers."""
    monkeypatch.setenv("RAY_ADDRESS", CLUSTER)
    assert settle_device("cpu", 0) == "cpu"
    with pytest.raises(ConfigError, match="On a cluster say"):
        settle_device("auto", 2)
