"""Where results come from: the machine, the libraries, the files that went in, and when.

Knows the operating system and installed packages; knows nothing of what is scored. None of it is
part of a run's identity.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import BaseModel, JsonValue

from cisray.version import __version__

LIBRARIES = ("torch", "numpy", "pyarrow", "polars", "ray")
_CPU_INFO = Path("/proc/cpuinfo")


def now() -> str:
    """Tell the time, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def host_facts() -> dict[str, JsonValue]:
    """Describe this machine: name, system, processor, its cores for us, memory, number of GPUs.

    What GPUs are called is told by the workers that use them: asking opens them, at the cost of
    memory.
    """
    return {
        "name": platform.node(),
        "system": platform.platform(terse=True),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _memory_bytes(),
        "gpus": torch.cuda.device_count(),
    }


def library_versions() -> dict[str, JsonValue]:
    """Tell the versions of cisray, Python and the libraries that results depend on."""
    return {
        "cisray": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def cpu_model() -> str:
    """Name the processor, as far as the system tells."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Name what a worker computes on: the GPU, or the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def told_of_job(
    job: BaseModel, files: Mapping[str, Path], known: Mapping[str, str]
) -> dict[str, JsonValue]:
    """Tell a job's options and input files, the machine and the libraries, for a manifest.

    `known` are digests of files as `file_facts` takes them.
    """
    return {
        "options": resolved_options(job),
        "files": file_facts(files, known),
        "host": host_facts(),
        "versions": library_versions(),
    }


def resolved_options(job: BaseModel) -> dict[str, JsonValue]:
    """Tell every option of a job as it stands, defaults included, with paths that hold anywhere."""
    paths = {name: str(value.absolute()) for name, value in job if isinstance(value, Path)}
    return {**job.model_dump(mode="json"), **paths}


def file_facts(files: Mapping[str, Path], known: Mapping[str, str]) -> dict[str, JsonValue]:
    """Describe input files by the option that names each: where it lies, size, SHA-256.

    `known` are digests that need not be taken again; that of a model is of its weights by value,
    and its size is left out: it may be a folder.
    """
    told: dict[str, JsonValue] = {}
    for option, path in files.items():
        digest = known.get(option) or digest_of(path)
        size = {"bytes": path.stat().st_size} if path.is_file() else {}
        told[option] = {"path": str(path.absolute()), **size, "sha256": digest}
    return told


def digest_of(path: Path) -> str:
    """Take the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _memory_bytes() -> int | None:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
