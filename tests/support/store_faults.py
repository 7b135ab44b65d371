"""What the fault tests of the store run in other processes, to be killed there.

Knows which calls of the operating system change a disk; knows nothing of pytest. Run as a script:
`store_faults.py ACTION FOLDER WORLD`, where the world is `bins` or `variants`.
"""

import functools
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import obstore
import store_runs
import store_variants

from cisray.errors import StorageError
from cisray.store import lease
from cisray.store.compact import compact_run
from cisray.store.run import ShardSink

CHANGING = ("link", "replace", "rename", "unlink", "rmdir", "mkdir", "fsync", "ftruncate")
ONE_BLOCK = {"sel": list(store_runs.TRACKS_HELD)}
WORLDS = {"bins": store_runs, "variants": store_variants}


def kill_before_call(number: int) -> None:
    """Let this process die by SIGKILL right before its n-th call that changes the disk."""
    calls = iter(range(1, 1_000_000))

    def dying(function: Callable[..., object], *args: object, **options: object) -> object:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    for name in CHANGING:
        setattr(os, name, functools.partial(dying, getattr(os, name)))


def die_everywhere(
    world: ModuleType, folder: Path, work: Callable[[ModuleType, Path], None]
) -> None:
    """Run `work` in a process per call number, each in a folder of its own, until one survives.

    The number of that last one, which nothing killed, is left in `FOLDER.calls`.
    """
    world.make_plan()  # what is written for it would count as calls
    for number in range(1, 1_000):
        child = os.fork()
        if child == 0:
            kill_before_call(number)
            work(world, folder / f"{number:03d}")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            folder.with_suffix(".calls").write_text(str(number))
            os._exit(os.WEXITSTATUS(status))


def whole_run(world: ModuleType, path: Path) -> None:
    world.finish(path, blocks=ONE_BLOCK)


def restarted_run(world: ModuleType, path: Path) -> None:
    with world.begin(path, blocks=ONE_BLOCK, restart=True, model_sha256="ef" * 32):
        pass


def compacted_run(world: ModuleType, path: Path) -> None:
    compact_run(path)


def die_at_writes(folder: Path, work: Callable[[str], None]) -> None:
    """Run `work` on a URL of its own in a process per n-th write to the store, which kills it.

    The URL, and how many calls lie between two kills, are in the environment. Nothing is asked of
    the store in this process: its client would not survive the fork. How many calls a process
    makes that is not killed is left in `FOLDER/calls`.
    """
    url, every = os.environ["CISRAY_TEST_URL"], int(os.environ["CISRAY_TEST_EVERY"])
    for number in range(1, 1_000, every):
        child = os.fork()
        if child == 0:
            _in_the_store(f"{url}/{number:03d}", number, work)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status):
            (folder / "calls").write_text(str(number))
            os._exit(os.WEXITSTATUS(status))


def _in_the_store(url: str, number: int, work: Callable[[str], None]) -> None:
    lease.LEASE_S = 0.3
    if work is not whole_in_store:
        store_runs.finish(url)
    calls = iter(range(1, 1_000_000))
    for name in ("put", "delete"):
        whole = getattr(obstore, name)

        def dying(*args: object, whole: Callable[..., object] = whole, **options: object) -> object:
            # Renewals come when they come.
            is_beat = threading.current_thread().name == "cisray-lease"
            if not is_beat and next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*args, **options)

        setattr(obstore, name, dying)
    work(url)


def whole_in_store(url: str) -> None:
    store_runs.finish(url)


def restarted_in_store(url: str) -> None:
    with store_runs.begin(url, restart=True, model_sha256="ef" * 32):
        pass


def compacted_in_store(url: str) -> None:
    compact_run(url)


def race(world: ModuleType, folder: Path) -> None:
    """Two processes write every shard at once; each tells which attempts won."""
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            sink = ShardSink.attach(folder / "run")
            won = [sink.write(s, world.pieces_of(s, sink.blocks)).attempt for s in sink.plan.spans]
            (folder / f"{os.getpid()}.json").write_text(json.dumps(won))
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    sys.exit(max(codes))


def hold(world: ModuleType, folder: Path) -> None:
    with world.begin(folder / "run"):
        (folder / "held").touch()
        time.sleep(60)


def no_room(world: ModuleType, folder: Path) -> None:
    """Write with a limit on the size of files that the shard's data exceed."""
    sink = ShardSink.attach(folder / "run")
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
    try:
        sink.write(0, world.pieces_of(0, sink.blocks))
    except StorageError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (folder / "error").write_text(str(error))


if __name__ == "__main__":
    actions: dict[str, Callable[[ModuleType, Path], None]] = {
        "whole": functools.partial(die_everywhere, work=whole_run),
        "restart": functools.partial(die_everywhere, work=restarted_run),
        "compact": functools.partial(die_everywhere, work=compacted_run),
        "store_whole": lambda world, folder: die_at_writes(folder, whole_in_store),
        "store_restart": lambda world, folder: die_at_writes(folder, restarted_in_store),
        "store_compact": lambda world, folder: die_at_writes(folder, compacted_in_store),
        "race": race,
        "hold": hold,
        "no_room": no_room,
    }
    actions[sys.argv[1]](WORLDS[sys.argv[3]], Path(sys.argv[2]))
