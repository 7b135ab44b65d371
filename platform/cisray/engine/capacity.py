"""How long a pool has been without any worker, and what it waits for meanwhile.

Knows clocks and a pool's policy; knows nothing of Ray or of shards. A cluster that has shrunk to
nothing may grow again: that is waited for, and said, as long as the policy allows.
"""

import logging
import time

from cisray.engine.task import PoolPolicy
from cisray.errors import EngineError

CAPACITY_LOG_S = 60.0

log = logging.getLogger(__name__)


class CapacityWatch:
    """Counts the seconds in which nothing was alive."""

    def __init__(self, policy: PoolPolicy) -> None:
        """Begin as if something were."""
        self._policy = policy
        self._alive_at = self._logged_at = time.monotonic()

    def alive(self) -> None:
        """Take notice of a worker that can be given work."""
        self._alive_at = self._logged_at = time.monotonic()

    def starting(self) -> None:
        """Take notice of a worker whose process is up: that is capacity, if not yet of use."""
        self._alive_at = time.monotonic()

    def wait(self, workers: int, settled: str) -> None:
        """Say once a minute that so many workers are awaited.

        Raises EngineError, which tells what is `settled`, when that takes longer than it may.
        """
        now = time.monotonic()
        waited_s = now - self._alive_at
        policy = self._policy
        what = (
            f"{workers} workers of {policy.num_cpus:g} CPUs, {policy.num_gpus:g} GPUs"
            f"{''.join(f', {n:g} {name}' for name, n in policy.resources.items())} each"
        )
        if policy.capacity_timeout_s is not None and waited_s > policy.capacity_timeout_s:
            raise EngineError(
                f"nothing is alive and after {waited_s:.0f} s the cluster has not placed {what}. "
                f"{settled}"
            )
        if now - self._logged_at > CAPACITY_LOG_S:
            self._logged_at = now
            log.warning("no worker is alive; waiting since %.0f s for %s", waited_s, what)
