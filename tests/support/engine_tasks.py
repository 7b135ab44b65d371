"""Tasks for the engine's tests: each shard does what a script says, and leaves a trace on disk."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cisray.errors import CheckpointError, RegionsError, SelfCheckFailed, StorageError


class UnpicklableError(Exception):
    """An exception that pickles, and cannot be unpickled: its arguments do not fit `__init__`."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@dataclass(frozen=True)
class Scripted:
    """Do shards as `acts` says by number; those that are not in it succeed at once."""

    folder: str
    acts: Mapping[int, str] = field(default_factory=dict)
    opening: str = "ok"
    pause_s: float = 0.0

    def open(self) -> Callable[[int], dict[str, object]]:
        note(self.folder, f"open {os.getpid()}")
        if self.opening == "input":
            raise CheckpointError("model.safetensors: 12 tensors are missing")
        if self.opening == "error":
            raise RuntimeError("no kernel image for this device")
        if self.opening == "die":
            die()
        return self.do

    def do(self, shard: int) -> dict[str, object]:
        note(self.folder, f"shard {shard} {os.getpid()}")
        time.sleep(self.pause_s)
        act(self.acts.get(shard, "ok"), nth=tries(self.folder)[shard])
        note(self.folder, f"done {shard} {os.getpid()}")
        return {"shard": shard, "rows": 10 * shard, "pid": os.getpid()}


def fail(error: Exception) -> None:
    raise error


def fill_disk() -> None:
    try:
        raise OSError(28, "No space left on device")
    except OSError as error:
        raise StorageError("part-000004.parquet: no space left") from error


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


ACTS: dict[str, Callable[[], None]] = {
    "ok": lambda: None,
    "raise": lambda: fail(ValueError("bin 7 is not finite")),
    "unpicklable": lambda: fail(UnpicklableError(1, 2)),
    "input": lambda: fail(RegionsError("peaks.bed:3: end 5 is before start 9")),
    "self-check": lambda: fail(SelfCheckFailed("t0005 is off by 0.2")),
    "full disk": fill_disk,
    "flaky store": lambda: fail(StorageError("PUT answered 503")),
    "cuda error": lambda: fail(RuntimeError("CUDA error: device-side assert triggered")),
    "die": die,
    "slow": lambda: time.sleep(2),
    "hang": lambda: time.sleep(1000),
}


def act(script: str, nth: int) -> None:
    """Do to this process what a script says, one word after the other.

    `slow, once die` is slow every time and dies at the first try; `nth` is 1 at the first try.
    """
    for word in script.split(", "):
        if not word.startswith("once ") or nth == 1:
            ACTS[word.removeprefix("once ")]()


@dataclass(frozen=True)
class BadReceipt:
    """Return something that is no receipt."""

    def open(self) -> Callable[[int], dict[str, object]]:
        return lambda shard: {"rows": "x" * 100_000} if shard else ["no dict"]  # type: ignore[dict-item, return-value]  # the point of it


def note(folder: str, line: str) -> None:
    """Append a line to the trace, whole, whatever other processes write."""
    out = os.open(Path(folder) / "trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(out, f"{line}\n".encode())
    os.close(out)


def trace(folder: str | Path, kind: str) -> list[tuple[int, ...]]:
    """Read the numbers of the lines of one kind."""
    path = Path(folder) / "trace"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(int, line.split()[1:])) for line in lines if line.split()[0] == kind]


def tries(folder: str | Path) -> Counter[int]:
    """Count how often each shard was begun."""
    return Counter(shard for shard, _ in trace(folder, "shard"))


def pids(folder: str | Path) -> set[int]:
    """The processes that opened the task."""
    return {pid for (pid,) in trace(folder, "open")}


def wait_until_gone(processes: set[int], within_s: float = 10.0) -> set[int]:
    """Wait for processes to end; return those that are still there."""
    until = time.monotonic() + within_s
    while (left := {pid for pid in processes if is_running(pid)}) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
