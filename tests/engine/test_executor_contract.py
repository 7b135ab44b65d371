"""What both executors promise, checked once for each: in this process, and on an embedded Ray."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_tasks import BadReceipt, Scripted, pids, tries, wait_until_gone

from cisray.engine.inline import InlineExecutor
from cisray.engine.pool import RayExecutor
from cisray.engine.task import Executor, PoolPolicy, Progress, Receipt
from cisray.errors import (
    CheckpointError,
    EngineError,
    RegionsError,
    SelfCheckFailed,
    StorageError,
)

Make = Callable[[int], Executor]


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def make(request: pytest.FixtureRequest) -> Make:
    """Make an executor of so many workers."""
    if request.param == "inline":
        return lambda workers: InlineExecutor()
    connection = request.getfixturevalue("embedded_ray")
    return lambda workers: RayExecutor(PoolPolicy(workers=workers), connection)


class Record:
    """Callbacks that remember."""

    def __init__(self) -> None:
        self.receipts: dict[int, Receipt] = {}
        self.progress: list[Progress] = []

    def on_done(self, shard: int, receipt: Receipt) -> None:
        assert shard not in self.receipts, "reported twice"
        self.receipts[shard] = receipt

    def on_progress(self, progress: Progress) -> None:
        self.progress.append(progress)


def test_every_shard_is_done_once_and_reported_once(make: Make, tmp_path: Path) -> None:
    record = Record()
    shards = [3, 11, 4, 900_000]
    summary = make(2).run(
        Scripted(str(tmp_path)), shards, on_done=record.on_done, on_progress=record.on_progress
    )
    assert (summary.done, summary.failed, summary.retries, summary.workers_lost) == (4, (), 0, 0)
    assert tries(tmp_path) == dict.fromkeys(shards, 1)
    # rows are ten times the shard number: 30, 110, 40, 9,000,000
    assert {s: r["rows"] for s, r in record.receipts.items()} == {
        3: 30, 11: 110, 4: 40, 900_000: 9_000_000,
    }  # fmt: skip
    assert record.progress[0].done == 0
    assert [p.done for p in record.progress] == sorted(p.done for p in record.progress)
    assert (record.progress[-1].done, record.progress[-1].in_flight) == (4, 0)
    assert {p.total for p in record.progress} == {4}


@pytest.mark.parametrize("workers", [1, 2])
def test_results_do_not_depend_on_the_number_of_workers(
    make: Make, tmp_path: Path, workers: int
) -> None:
    record = Record()
    make(workers).run(Scripted(str(tmp_path)), range(5, 25), on_done=record.on_done)
    assert sorted(record.receipts) == list(range(5, 25))
    assert sum(int(str(r["rows"])) for r in record.receipts.values()) == 2900  # 10 * (5 + .. + 24)


def test_a_failing_shard_is_named_and_the_others_are_done(make: Make, tmp_path: Path) -> None:
    acts = {6: "raise", 7: "once raise", 8: "unpicklable", 9: "once flaky store"}
    summary = make(1).run(Scripted(str(tmp_path), acts), range(5, 11))
    # 5 and 10 at once, 7 and 9 at the second try
    assert summary.done == 4
    # of 3 attempts each, the failed shards were tried again twice; 7 and 9 once each: 2 + 2 + 1 + 1
    assert summary.retries == 6
    assert tries(tmp_path) == {5: 1, 6: 3, 7: 2, 8: 3, 9: 2, 10: 1}
    failures = {failure.shard: failure for failure in summary.failed}
    assert sorted(failures) == [6, 8]
    assert failures[6].attempts == 3
    assert failures[6].kind == "application"
    assert failures[6].reason.startswith("ValueError: bin 7 is not finite (engine_tasks.py:")
    assert failures[8].reason.startswith("UnpicklableError: 1 and 2 (engine_tasks.py:")
    assert summary.workers_lost == 0


def test_bad_input_found_while_opening_keeps_its_class_and_is_not_retried(
    make: Make, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"^model.safetensors: 12 tensors are missing$"):
        make(1).run(Scripted(str(tmp_path), opening="input"), [1, 2])
    assert len(pids(tmp_path)) == 1
    assert tries(tmp_path) == {}


def test_bad_input_found_in_a_shard_ends_the_run(make: Make, tmp_path: Path) -> None:
    with pytest.raises(RegionsError, match=r"^peaks.bed:3: end 5 is before start 9$"):
        make(1).run(Scripted(str(tmp_path), {2: "input"}, pause_s=0.1), range(1, 50))
    assert tries(tmp_path)[2] == 1
    assert max(tries(tmp_path)) <= 4  # at most the one that was queued behind it


def test_a_failed_self_check_ends_the_run_at_the_first_try(make: Make, tmp_path: Path) -> None:
    task = Scripted(str(tmp_path), {3: "self-check"}, pause_s=0.1)
    with pytest.raises(SelfCheckFailed, match=r"^t0005 is off by 0\.2$"):
        make(1).run(task, range(40))
    assert tries(tmp_path)[3] == 1


def test_a_full_disk_ends_the_run(make: Make, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no space left"):
        make(1).run(Scripted(str(tmp_path), {4: "full disk"}, pause_s=0.1), range(4, 50))
    assert tries(tmp_path)[4] == 1


def test_no_shards_need_no_worker(make: Make, tmp_path: Path) -> None:
    record = Record()
    summary = make(2).run(Scripted(str(tmp_path)), [], on_progress=record.on_progress)
    assert (summary.done, summary.failed) == (0, ())
    assert len(record.progress) == 1
    assert pids(tmp_path) == set()


def test_a_task_that_cannot_be_opened_is_an_engine_error(make: Make, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no kernel image for this device"):
        make(1).run(Scripted(str(tmp_path), opening="error"), [1, 2])
    assert tries(tmp_path) == {}


def test_receipts_must_be_small_dicts(make: Make) -> None:
    summary = make(1).run(BadReceipt(), [0, 1])
    reasons = {failure.shard: failure.reason for failure in summary.failed}
    assert "must return a dict as its receipt, not list" in reasons[0]
    assert "exceeds the 16384 allowed" in reasons[1]


@pytest.mark.parametrize("shards", [[1, 1], [-1]])
def test_shard_numbers_are_distinct_and_not_negative(
    make: Make, tmp_path: Path, shards: list[int]
) -> None:
    with pytest.raises(ValueError, match="distinct and not negative"):
        make(1).run(Scripted(str(tmp_path)), shards)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_goes_through_and_leaves_no_worker(
    make: Make, tmp_path: Path, error: type[BaseException]
) -> None:
    def interrupt(shard: int, receipt: Receipt) -> None:
        raise error

    with pytest.raises(error):
        make(2).run(Scripted(str(tmp_path), pause_s=0.05), range(1, 100), on_done=interrupt)
    assert wait_until_gone(pids(tmp_path) - {os.getpid()}) == set()
