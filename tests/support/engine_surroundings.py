"""A task that reports what a worker looks like from inside; apart, since it imports torch."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Surroundings:
    """Report the standard library, the threads and the environment of a worker."""

    def open(self) -> Callable[[int], dict[str, object]]:
        return lambda shard: {
            "system": platform.system(),
            "platform_file": str(platform.__file__),
            "omp": os.environ.get("OMP_NUM_THREADS"),
            "torch_threads": torch.get_num_threads(),
        }
