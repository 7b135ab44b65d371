"""A process that runs one command of a schedule and writes down how it ended.

Knows a job's folder, locks and processes; knows nothing of schedules. Started with the folder:

    job.json     the command, written before
    lock         locked while this process or the command lives
    begun.json   written once, before the command starts: who has it never starts another
    ended.json   how it ended
    log          what it printed

The kernel's lock goes from this process to the command, so that it is held for as long as either
lives: who finds it free, and no `ended.json`, knows that nothing runs any more.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

JOB, LOCK, BEGUN, ENDED, LOG = "job.json", "lock", "begun.json", "ended.json", "log"
_LOOK_S = 0.01


def main(folder: Path) -> None:
    """Begin the job of a folder unless it was begun before, and return to the caller at once.

    The rest happens in a process of its own. When this one has ended, the job has begun.
    """
    while (lock := lock_of(folder)) is None:
        # Who has it without having begun is about to begin, or only looks.
        if (folder / BEGUN).exists():
            return
        time.sleep(_LOOK_S)
    if (folder / BEGUN).exists() or (folder / ENDED).exists():
        return
    job = json.loads((folder / JOB).read_bytes())
    write_whole(folder / BEGUN, {"group": os.getpgrp(), "begun": int(time.time())})
    if os.fork() == 0:
        code = 1
        try:
            # A signal to the group ends the command; how it ended is still to be written down.
            # A handler, unlike SIG_IGN, is not passed on to the command.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, _go_on)
            write_whole(
                folder / ENDED, {"exit_code": run_job(job, lock), "ended": int(time.time())}
            )
            code = 0
        finally:
            os._exit(code)


def run_job(job: dict[str, Any], lock: int) -> int:
    """Run the command, and the report after a success; give the command's exit code."""
    code = _run(job["argv"], job["folder"], lock)
    if code == 0 and job["report"] is not None:
        _run(job["report"], job["folder"], lock)
    return code


def _run(argv: list[str], folder: str, lock: int) -> int:
    try:
        command = subprocess.Popen(argv, cwd=folder, stdin=subprocess.DEVNULL, pass_fds=(lock,))
    except OSError as error:
        told = f"Error: {argv[0]} cannot be started in {folder}: {error.strerror}.\n"
        sys.stderr.write(told)
        sys.stderr.flush()
        return 127
    return command.wait()


def lock_of(folder: Path, *, to_look: bool = False) -> int | None:
    """Take the lock of a folder and give its descriptor; None while another process has it.

    Any number of processes may have it `to_look`, if nobody has it to write.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if to_look else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def write_whole(path: Path, told: dict[str, Any]) -> None:
    """Write a small file, flushed, so that its name has all of it or does not exist.

    Only who has the lock writes, so that one name for what is not whole is enough.
    """
    beside = path.with_suffix(".part")
    with beside.open("w") as stream:
        json.dump(told, stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    parent = os.open(path.parent, os.O_RDONLY)
    os.fsync(parent)
    os.close(parent)


def _go_on(number: int, frame: FrameType | None) -> None:
    """Outlive a signal that is meant for the command."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
