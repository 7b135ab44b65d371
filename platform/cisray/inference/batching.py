"""How many sequences to compute at once: measured where that is possible, with the reason.

Knows memory and how it grows with a batch; knows nothing of what is computed. On a CUDA device the
work is done with one and with two sequences, the memory of more follows on a line through both, and
the size so found is tried before it is trusted. On a CPU larger batches gain little: one sequence
fills the cores, and only the products of effects, which are smaller, profit from a few.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from cisray.errors import DeviceTooSmall
from cisray.inference.precision import Purpose

# What is left free is for fragmentation, and for what the work allocates only now and then.
SHARE = 0.8
LARGEST = 64
# What is done at once on a CPU: alternates carried, or gradients led back.
CPU_LANES: Mapping[Purpose, int] = {"effects": 4, "gradients": 8}
LANES: Mapping[Purpose, str] = {"effects": "alternates", "gradients": "gradients"}


@dataclass(frozen=True, slots=True)
class Choice:
    """How many sequences at once, and why."""

    batch_size: int
    reason: str


class Meter(Protocol):
    """What measures the memory of a device."""

    def used_bytes(self, work: Callable[[], object]) -> int:
        """Do the work; tell by how much memory rose above what was held before it began.

        Raises torch.OutOfMemoryError if there is not enough.
        """

    def free_bytes(self) -> int:
        """Tell how much could be taken now."""


class CudaMeter:
    """The memory of a CUDA device as torch's allocator sees it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def used_bytes(self, work: Callable[[], object]) -> int:
        """Do the work; tell the peak of allocated memory over that before."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        try:
            work()
            torch.cuda.synchronize(self._device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise
        return torch.cuda.max_memory_allocated(self._device) - before

    def free_bytes(self) -> int:
        """Count what the device has free, after torch has given back what it holds unused."""
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self._device)[0]


def choose_batch_size(
    device: torch.device,
    purpose: Purpose,
    run: Callable[[int], object],
    *,
    sequence_bytes: int,
    limit: int = LARGEST,
) -> Choice:
    """Choose for a device; `run(n)` does the work once with n sequences, on CUDA only.

    `sequence_bytes` estimates what one more sequence takes, for effects and gradients on a CPU; for
    all else it is not looked at.
    """
    if device.type == "cuda":
        return probe(run, CudaMeter(device), limit=limit)
    return on_cpu(purpose, sequence_bytes=sequence_bytes, free_bytes=host_free_bytes(), limit=limit)


def on_cpu(purpose: Purpose, *, sequence_bytes: int, free_bytes: int, limit: int) -> Choice:
    """Choose for a CPU, within `limit`: one for tracks; a few of others, if memory allows."""
    if purpose == "tracks":
        return Choice(1, "one sequence fills the cores of a CPU")
    room = int(SHARE * free_bytes) // max(1, sequence_bytes)
    wanted, lanes = min(CPU_LANES[purpose], limit), LANES[purpose]
    if room >= wanted:
        return Choice(wanted, f"{wanted} {lanes} at once keep a CPU's products large enough")
    return Choice(
        max(1, room),
        f"{SHARE:.0%} of {_gb(free_bytes)} free memory holds {room} {lanes} of "
        f"{_gb(sequence_bytes)} each",
    )


def probe(run: Callable[[int], object], meter: Meter, *, limit: int = LARGEST) -> Choice:
    """Find how many sequences fit into SHARE of the free memory, up to `limit`, by trying.

    `run(n)` does the work once with n sequences. The answer has been run, or is 1. Raises
    DeviceTooSmall where not even one sequence fits, and ValueError for a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    # The first run also allocates what stays, such as workspaces; the second is like all others.
    if _tried(run, meter, 1) is None or (one := _tried(run, meter, 1)) is None:
        raise DeviceTooSmall(
            f"One sequence at a time does not fit into the memory of the device, of which "
            f"{_gb(meter.free_bytes())} are free: end what else runs on it, use fewer workers on "
            "it, or use --device cpu."
        )
    if limit == 1:
        return Choice(1, "no more than one sequence was allowed")
    free = meter.free_bytes()
    two = _tried(run, meter, 2)
    if two is None:
        return Choice(1, f"two sequences do not fit into {_gb(free)} of free memory")
    room, each = int(SHARE * free), two - one
    size = limit if each <= 0 else min(limit, max(1, 1 + (room - one) // each))
    grown = f"one sequence takes {_gb(one)}, one more {_gb(each)}, and {_gb(free)} are free"
    return _largest_that_fits(run, meter, size=size, room=room, why=grown)


def _largest_that_fits(
    run: Callable[[int], object], meter: Meter, *, size: int, room: int, why: str
) -> Choice:
    """Try a size, and its halves until one stays within `room` bytes."""
    wanted = size
    while size > 1:
        used = _tried(run, meter, size)
        if used is not None and used <= room:
            break
        size //= 2
    halved = "" if size == wanted else f"; {wanted} at once took more than that promised"
    return Choice(size, f"{why}, of which {SHARE:.0%} are used{halved}")


def _tried(run: Callable[[int], object], meter: Meter, size: int) -> int | None:
    """Run with so many sequences; tell the bytes used, or None if memory ran out."""
    try:
        return meter.used_bytes(lambda: run(size))
    except torch.OutOfMemoryError:
        return None


def host_free_bytes() -> int:
    """Count the memory that this machine could give; all of it, where the system does not tell."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.removesuffix("kB")) * 1024
    return physical_memory()


def physical_memory() -> int:
    """Count the bytes of this machine's memory, used or not."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
