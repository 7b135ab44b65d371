"""How busy a GPU is while something is computed on it, as NVIDIA's driver measures it.

Knows NVML (nvidia-ml-py, an extra) and threads; knows nothing of what is computed. NVML numbers
GPUs as they are in the machine, and CUDA_VISIBLE_DEVICES renumbers them for torch, hence the UUID.
A part of a GPU (MIG) has no utilisation. What cannot be measured is None, never 0.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import torch

Reading = Callable[[], float]
"""Reads the utilisation now, in percent; raises when it cannot."""

EVERY_S = 0.5  # NVML's own measure is over the last sixth of a second to second

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Utilisation:
    """Readings of one stretch of time, in percent of it in which a kernel was running."""

    mean: float
    max: float
    readings: int


@dataclass(slots=True)
class Sampler:
    """Read the utilisation now and then, in a thread, for the length of each `with` block.

    Without a reading function nothing is measured. One that fails is told once and not asked again.
    """

    read: Reading | None
    every_s: float = EVERY_S
    _readings: list[float] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @classmethod
    def of(cls, device: torch.device) -> Self:
        """Sample a device, if it is one that can be asked."""
        return cls(gpu_reading(device))

    def __enter__(self) -> Self:
        """Forget what was read before, and begin."""
        self._readings = []
        if self.read is not None:
            self._over.clear()
            self._thread = threading.Thread(target=self._sample, name="cisray-gpu", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = None

    @property
    def found(self) -> Utilisation | None:
        """What was read in the last block; None where it was over before the first reading."""
        readings = self._readings
        if not readings:
            return None
        mean = round(sum(readings) / len(readings), 1)
        return Utilisation(mean, max(readings), len(readings))

    def _sample(self) -> None:
        while self.read is not None and not self._over.wait(self.every_s):
            try:
                self._readings.append(self.read())
            except Exception as error:  # noqa: BLE001  (whatever it is, the work goes on)
                log.warning("the utilisation of the GPU is no longer measured: %s", error)
                self.read = None


def gpu_reading(device: torch.device) -> Reading | None:
    """Find out how to ask a device for its utilisation; None where that cannot be measured."""
    if device.type != "cuda":
        return None
    try:
        import pynvml  # noqa: PLC0415  (an extra)
    except ImportError:
        log.info("the utilisation of the GPU is not measured: pip install 'cisray[gpu]'")
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(_nvml_uuid(device))
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except pynvml.NVMLError as error:
        log.info("the utilisation of the GPU cannot be measured: %s", error)
        return None

    def read() -> float:
        rates: Any = pynvml.nvmlDeviceGetUtilizationRates(handle)
        return float(rates.gpu)

    return read


def _nvml_uuid(device: torch.device) -> str:
    """Name a device as NVML does: torch leaves the beginning away."""
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return f"GPU-{uuid.removeprefix('GPU-')}"
