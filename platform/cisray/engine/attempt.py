"""One try of an opened task, and what it came to: a receipt, or a fault that can travel.

Runs where the work runs, in a worker or in this process, so that both executors judge an exception
alike. A fault is text and flags: an exception object of a task may not survive pickling, and its
`__cause__`, which tells a full disk from another failure, never does.
"""

import errno
import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from cisray.engine.task import Receipt, ShardTask, ShardWork
from cisray.errors import CisrayError, StorageError

MAX_RECEIPT_BYTES = 16_384
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# After these the CUDA context of the process is lost: every later call in it fails too.
_CUDA_MARKS = ("CUDA error", "CUBLAS_STATUS_", "cuDNN error", "CUDNN_STATUS_")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception as text; `stops` is the class to raise if it ends the whole run."""

    reason: str
    trace: str
    stops: type[CisrayError] | None = None
    message: str = ""
    breaks_process: bool = False

    def raise_if_stopping(self) -> None:
        """Raise the error of the task, of its own class, if the run cannot go on with it."""
        if self.stops is not None:
            raise self.stops(self.message)


def open_task(task: ShardTask) -> ShardWork | Fault:
    """Open a task, or say what went wrong."""
    try:
        return task.open()
    except Exception as error:
        fault = fault_of(error)
        log.log(_level(fault), "opening the task failed", exc_info=True)
        return fault


def try_shard(work: ShardWork, shard: int) -> Receipt | Fault:
    """Do one shard once, or say what went wrong; a bad receipt is a fault as well."""
    try:
        receipt = work(shard)
        _check_receipt(receipt)
    except Exception as error:
        fault = fault_of(error)
        log.log(_level(fault), "shard %d: an attempt failed", shard, exc_info=True)
        return fault
    return receipt


def fault_of(error: Exception) -> Fault:
    """Put an exception into words, and decide whether it ends the run or the process."""
    trace = "".join(traceback.format_exception(error))
    reason = f"{type(error).__name__}: {error}{_place(error)}"
    chain = list(_chain(error))
    if isinstance(error, CisrayError) and error.ends_run:
        return Fault(reason, trace, stops=type(error), message=str(error))
    if any(isinstance(link, OSError) and link.errno in _NO_SPACE for link in chain):
        stops = type(error) if isinstance(error, StorageError) else StorageError
        return Fault(reason, trace, stops=stops, message=str(error))
    return Fault(reason, trace, breaks_process=any(map(_is_cuda_error, chain)))


def _level(fault: Fault) -> int:
    """Say how loud a fault is here: what stops the run is told by the driver, in words alone."""
    return logging.WARNING if fault.stops is None else logging.INFO


def _check_receipt(receipt: object) -> None:
    """Refuse what is not a small JSON-able dict: results belong into files, not into receipts."""
    if not isinstance(receipt, dict):
        raise TypeError(f"a shard must return a dict as its receipt, not {type(receipt).__name__}")
    size = len(json.dumps(receipt))
    if size > MAX_RECEIPT_BYTES:
        raise ValueError(f"a receipt of {size} bytes exceeds the {MAX_RECEIPT_BYTES} allowed")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it came from, nearest first; `from None` ends that."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_cuda_error(error: BaseException) -> bool:
    return type(error).__name__ == "AcceleratorError" or any(
        mark in str(error) for mark in _CUDA_MARKS
    )


def _place(error: Exception) -> str:
    """Say where an exception was raised, as ` (file.py:12 in function)`."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f" ({PurePath(last.filename).name}:{last.lineno} in {last.name})"
