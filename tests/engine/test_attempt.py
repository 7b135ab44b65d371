"""How exceptions are judged where they happen."""

import errno
import logging
import pickle

import pytest

from cisray.engine.attempt import Fault, fault_of, try_shard
from cisray.errors import CheckpointError, InputError, SelfCheckFailed, StorageError


def caught(error: Exception, cause: Exception | None = None) -> Exception:
    """Raise and catch, so that the exception has a traceback."""
    try:
        raise error from cause
    except type(error) as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (caught(CheckpointError("bad")), CheckpointError),
        (caught(InputError("bad")), InputError),
        (caught(SelfCheckFailed("apart")), SelfCheckFailed),
        (caught(OSError(errno.ENOSPC, "full")), StorageError),
        (caught(OSError(errno.EDQUOT, "quota")), StorageError),
        (caught(StorageError("part"), caught(OSError(errno.ENOSPC, "full"))), StorageError),
        (caught(StorageError("PUT answered 503")), None),
        (caught(OSError(errno.EIO, "io")), None),
        (caught(ValueError("x")), None),
    ],
)
def test_what_ends_a_run(error: Exception, stops: type[Exception] | None) -> None:
    fault = pickle.loads(pickle.dumps(fault_of(error)))
    assert fault.stops is stops
    if stops is not None:
        with pytest.raises(stops) as raised:
            fault.raise_if_stopping()
        assert type(raised.value) is stops
        assert str(raised.value) == str(error)


@pytest.mark.parametrize(
    ("error", "breaks"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm"), True),
        (caught(ValueError("wrapped"), RuntimeError("cuDNN error: 8")), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (ValueError("shape"), False),
    ],
)
def test_what_breaks_a_process(error: Exception, breaks: bool) -> None:
    assert fault_of(error).breaks_process is breaks


def test_a_reason_says_where() -> None:
    fault = fault_of(caught(ValueError("bin 7")))
    assert fault.reason.startswith("ValueError: bin 7 (test_attempt.py:")
    assert fault.reason.endswith(" in caught)")


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (CheckpointError("truncated"), logging.INFO),
        (OSError(errno.ENOSPC, "No space left on device"), logging.INFO),
        (ValueError("a bug"), logging.WARNING),
    ],
)
def test_only_unforeseen_faults_are_loud(caplog, error: Exception, level: int) -> None:
    """What stops the run reaches the user as one paragraph, so its traceback is for --verbose."""

    def work(shard: int) -> dict[str, object]:
        raise error

    with caplog.at_level(logging.DEBUG):
        assert isinstance(try_shard(work, 3), Fault)
    assert [(record.levelno, record.exc_info is not None) for record in caplog.records] == [
        (level, True)
    ]
