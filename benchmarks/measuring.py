"""What the benchmarks share: processes of their own, facts about the machine, result files.

Knows how to measure and how to report; knows nothing of what is measured. Nothing here judges a
time: results are numbers side by side from one run, and the machine that they were taken on.
"""

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.version import __version__
from cisray_jobs.models import SIZES

RESULTS = Path(__file__).parent / "results"
FULL_SIZE = "enformer"
HEAD = "human"
SEED = 0
CPU = torch.device("cpu")


@contextmanager
def process() -> Iterator[ProcessPoolExecutor]:
    """Give one fresh process that lives as long as the block.

    It is started anew instead of forked, so that its peak memory is its own: a child would begin
    with the peak of the process that it was forked from.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def write_random_model(path: Path, size: str, gamma: str) -> None:
    """Write a model with every tensor drawn at random, so that no layer is skipped by a zero.

    `gamma` is the convention of the positional features (see EnformerConfig).
    """
    settings = SIZES[size].model_dump() | {"gamma_normalisation": gamma}
    config = type(SIZES[size]).model_validate(settings)
    model = initialise(Enformer(config), SEED, randomise_all=True)
    provenance = {"made_by": f"cisray {__version__} benchmarks", "size": size, "seed": SEED}
    save_native(path, Checkpoint.build(config, model.state_dict(), provenance=provenance))


def random_codes(length: int, *, seed: int = SEED) -> NDArray[np.uint8]:
    """Draw base codes 0 to 3 (A, C, G, T), shape (L,)."""
    return np.random.default_rng(seed).integers(0, 4, length, dtype=np.uint8)


def timed(work: Callable[[], object]) -> float:
    """Do some work and tell the seconds that it took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def machine_facts(threads: int, device: torch.device = CPU) -> dict[str, object]:
    """Describe hardware and software; name neither the host nor a path."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        **gpu,
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cisray": __version__,
    }


def load_average() -> float:
    """Tell how many processes wanted a core in the last minute, those measured included."""
    return round(os.getloadavg()[0], 2)


def mapped_bytes(place: Path, measure: str, pid: int | None = None) -> int:
    """Add up one measure of /proc/PID/smaps, as Rss, over the mappings of a file or of a folder's.

    Of this process without a `pid`.
    """
    total, is_there = 0, False
    for line in Path(f"/proc/{pid or 'self'}/smaps").read_text().splitlines():
        name, _, told = line.partition(":")
        if "-" in name.partition(" ")[0]:
            slash = line.find("/")
            path = Path(line[slash:])
            is_there = slash > 0 and (path == place or place in path.parents)
        elif is_there and name == measure:
            total += int(told.split()[0]) * 1024
    return total


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows as a Markdown table; the first row is the header, numbers stand right.

    >>> print(table([("what", "s"), ("fetch", "0.5")]))
    | what  |   s |
    |:------|----:|
    | fetch | 0.5 |
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = [
        f":{'-' * (width + 1)}" if not i else f"{'-' * (width + 1)}:"
        for i, width in enumerate(widths)
    ]
    body = [
        " | ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines = [f"| {line} |" for line in body]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def publish(name: str, text: str, facts: Mapping[str, object], *, keep: bool) -> None:
    """Print a report; `keep` also writes it and its numbers as files of today's date."""
    machine = facts["machine"]
    assert isinstance(machine, dict)
    where = ", ".join(f"{key} {value}" for key, value in machine.items())
    report = f"{text}\n\nMeasured on {where}; load average {facts['load_average']} (start, end)."
    print(report)
    if not keep:
        print("A trial of the script: no result file is written.")
        return
    RESULTS.mkdir(exist_ok=True)
    stem = f"{date.today().isoformat()}-{name}"
    title = f"# {name}, {date.today().isoformat()}\n\n"
    (RESULTS / f"{stem}.md").write_text(f"{title}{report}\n")
    (RESULTS / f"{stem}.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"Written: benchmarks/results/{stem}.md and .json")
