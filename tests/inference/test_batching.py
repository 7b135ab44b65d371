"""The search for a batch size, with a meter that computes what a device would measure."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import DeviceTooSmall
from cisray.inference.batching import (
    SHARE,
    CudaMeter,
    choose_batch_size,
    host_free_bytes,
    on_cpu,
    probe,
)

GB = 10**9


class Device:
    """So much memory, and work that takes `bytes_of(n)` for n sequences; both meter and work."""

    def __init__(self, free: int, bytes_of: Callable[[int], int]) -> None:
        self.free = free
        self.bytes_of = bytes_of
        self.sizes: list[int] = []

    def run(self, size: int) -> None:
        self.sizes.append(size)
        if self.bytes_of(size) > self.free:
            raise torch.OutOfMemoryError(f"{self.bytes_of(size)} of {self.free}")

    def used_bytes(self, work: Callable[[], object]) -> int:
        work()
        return self.bytes_of(self.sizes[-1])

    def free_bytes(self) -> int:
        return self.free

    def fits(self, size: int) -> bool:
        return self.bytes_of(size) <= int(SHARE * self.free)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**8), st.integers(1, 200))
def test_where_memory_grows_on_a_line_the_largest_that_fits_is_found(
    fixed: int, each: int, free: int, limit: int
) -> None:
    device = Device(free, lambda size: fixed + size * each)
    if fixed + each > free:
        with pytest.raises(DeviceTooSmall, match="--device cpu"):
            probe(device.run, device, limit=limit)
        return
    choice = probe(device.run, device, limit=limit)
    fitting = [size for size in range(1, limit + 1) if device.fits(size)]
    assert choice.batch_size == max(fitting, default=1)
    assert len(device.sizes) <= 4
    assert choice.batch_size in device.sizes


growths = st.sampled_from([
    lambda n: n**3, lambda n: 50 * n + n * n, lambda n: 1000 + int(n**0.5), lambda n: 700,
    lambda n: 100 * n if n < 5 else 10**9, lambda n: 1000 - 10 * n if n < 50 else 2000,
])  # fmt: skip


@given(growths, st.integers(1, 10**5), st.integers(1, 200))
def test_whatever_memory_does_the_choice_was_run_and_stayed_within_the_share(
    bytes_of: Callable[[int], int], free: int, limit: int
) -> None:
    device = Device(free, bytes_of)
    if bytes_of(1) > free:
        with pytest.raises(DeviceTooSmall):
            probe(device.run, device, limit=limit)
        return
    choice = probe(device.run, device, limit=limit)
    assert 1 <= choice.batch_size <= limit
    assert choice.batch_size in device.sizes
    assert choice.batch_size == 1 or device.fits(choice.batch_size)
    assert choice.reason
    # Twice with 1, once with 2, and the halves of at most 200: 200, 100, 50, 25, 12, 6, 3.
    assert len(device.sizes) <= 10


def test_the_reason_tells_the_numbers() -> None:
    # 0.5 GB and 1.5 GB each: 80 % of 20 GB is 16 GB, and 0.5 + 10 x 1.5 = 15.5 are below it.
    device = Device(20 * GB, lambda size: GB // 2 + size * GB * 3 // 2)
    choice = probe(device.run, device)
    assert choice.batch_size == 10
    assert choice.reason == (
        "one sequence takes 2.00 GB, one more 1.50 GB, and 20.00 GB are free, of which 80% are used"
    )


def test_a_size_that_turns_out_too_large_is_halved_and_told() -> None:
    # 1 GB each up to 9, and then all of it: of 64 that seem to fit 32, 16 and 8 are tried.
    device = Device(100 * GB, lambda size: size * GB if size <= 9 else 101 * GB)
    choice = probe(device.run, device)
    assert device.sizes == [1, 1, 2, 64, 32, 16, 8]
    assert choice.batch_size == 8
    assert choice.reason.endswith("; 64 at once took more than that promised")


def test_two_that_do_not_fit_are_one() -> None:
    device = Device(10 * GB, lambda size: size * 6 * GB)
    choice = probe(device.run, device)
    assert choice.batch_size == 1
    assert choice.reason == "two sequences do not fit into 10.00 GB of free memory"


def test_an_error_of_the_work_is_no_lack_of_memory() -> None:
    def fail(size: int) -> None:
        raise RuntimeError(f"broken at {size}")

    with pytest.raises(RuntimeError, match="broken at 1"):
        probe(fail, Device(GB, lambda size: 0))


def test_a_limit_below_one_is_refused() -> None:
    device = Device(GB, lambda size: size)
    with pytest.raises(ValueError, match="got 0"):
        probe(device.run, device, limit=0)


@pytest.mark.parametrize(
    ("sequence_gb", "free_gb", "batch_size"),
    [
        (1, 5.1, 4),  # 80 % of 5.1 is 4.08
        (1, 4.9, 3),  # 80 % of 4.9 is 3.92
        (1, 1.1, 1),  # 0.88 of one: it is tried all the same
        (0.5, 100, 4),  # more than 4 gain nothing
        (0, 1, 4),
    ],
)
def test_effects_on_a_cpu(sequence_gb: float, free_gb: float, batch_size: int) -> None:
    sizes = {"sequence_bytes": int(sequence_gb * GB), "free_bytes": int(free_gb * GB)}
    choice = on_cpu("effects", **sizes, limit=64)
    assert choice.batch_size == batch_size
    assert f"{batch_size} alternates" in choice.reason or "holds 0 alternates" in choice.reason
    assert on_cpu("effects", **sizes, limit=2).batch_size == min(2, batch_size)


def test_tracks_on_a_cpu_are_computed_one_by_one_without_a_trial() -> None:
    def run(size: int) -> None:
        raise AssertionError(f"run with {size}")

    choice = choose_batch_size(torch.device("cpu"), "tracks", run, sequence_bytes=GB)
    assert choice.batch_size == 1
    assert "cores" in choice.reason
    assert choose_batch_size(torch.device("cpu"), "effects", run, sequence_bytes=1).batch_size == 4


def test_this_machine_has_some_memory_free() -> None:
    assert 10**7 < host_free_bytes() < 10**15


@pytest.mark.gpu
def test_a_cuda_device_is_filled_to_its_share() -> None:
    device = torch.device("cuda")
    torch.empty(1, device=device)
    meter = CudaMeter(device)
    each = meter.free_bytes() // 10

    def run(size: int) -> torch.Tensor:
        return torch.empty(size * each, dtype=torch.uint8, device=device)

    assert abs(meter.used_bytes(lambda: run(2)) - 2 * each) <= 2**21  # torch rounds to 2 MiB
    choice = probe(run, meter)
    # Ten times each are free, give or take the rounding: 80 % of it are 7 or 8 times.
    assert choice.batch_size in (7, 8)
    with pytest.raises(torch.OutOfMemoryError):
        meter.used_bytes(lambda: run(11))
    with pytest.raises(DeviceTooSmall):
        probe(lambda size: run(11), meter)
