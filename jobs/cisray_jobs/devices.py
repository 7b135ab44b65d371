"""Which options about workers and devices go together, and the device that they come to.

Knows options, local devices and addresses; knows nothing of what is computed. Whatever would be
ignored or could not work is refused before any input is opened.
"""

import re
from typing import Literal

from cisray.engine.address import EMBEDDED, choose_address
from cisray.errors import ConfigError
from cisray.inference.precision import resolve_device


def settle_device(
    device: str,
    workers: int | Literal["auto"],
    *,
    num_gpus: float | None = None,
    address: str | None = None,
    shard_timeout: float | None = None,
) -> str:
    """Return the device of the workers, resolved here or, on a cluster, as it was given.

    Raises ConfigError for options that contradict each other, and for what a cluster needs to be
    told because this machine cannot tell.
    """
    if workers == 0:
        _check_this_process(num_gpus, address, shard_timeout)
        return str(resolve_device(device))
    if re.fullmatch(r"cuda:\d+", device):
        raise ConfigError(
            f"--device {device} is for --workers 0: each worker gets a GPU of its own from Ray, "
            "which is the only one it sees. Use --device cuda."
        )
    if choose_address(address) == EMBEDDED:
        device = str(resolve_device(device))
    else:
        _check_cluster(device, workers)
    if num_gpus and device != "cuda":
        raise ConfigError(
            f"--num-gpus {num_gpus:g} is for --device cuda, but the device is {device}. Leave one "
            "of them out."
        )
    if num_gpus == 0 and device == "cuda" and workers == "auto":
        raise ConfigError(
            "With --num-gpus 0 workers share GPUs as they like, and their number does not follow "
            "from that of the GPUs: say how many --workers, or give the share of each."
        )
    return device


def _check_this_process(
    num_gpus: float | None, address: str | None, shard_timeout: float | None
) -> None:
    for option, value, needs in (
        ("--num-gpus", num_gpus, "books GPUs for Ray's workers"),
        ("--address", address, "is where Ray's workers are"),
        ("--shard-timeout", shard_timeout, "kills the worker that takes too long"),
    ):
        if value:
            raise ConfigError(
                f"{option} {value} {needs}, but --workers 0 uses this process without Ray. Leave "
                f"{option} out, or ask for at least 1 worker."
            )


def _check_cluster(device: str, workers: int | Literal["auto"]) -> None:
    """Refuse what only a look at the cluster's machines could settle."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"Unknown device {device!r}: on a cluster use cpu or cuda.")
    missing = []
    if workers == "auto":
        missing.append("how many --workers to ask for (it may grow to place them)")
    if device == "auto":
        missing.append("which --device they use, cpu or cuda")
    if missing:
        raise ConfigError(f"On a cluster say {' and '.join(missing)}: this machine cannot tell.")
