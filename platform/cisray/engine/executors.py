"""Choosing the executor: this process for zero workers, else the pool on a connected Ray.

Imports Ray only when workers are asked for: a run without them neither waits for it nor needs it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cisray.engine.inline import InlineExecutor
from cisray.engine.task import Executor, PoolPolicy
from cisray.errors import ConfigError


@contextmanager
def executor_for(policy: PoolPolicy, *, address: str | None = None) -> Iterator[Executor]:
    """Be ready to run shards for the length of a `with` block.

    `address` as in `cluster.connect`; it is not looked at when `policy.workers` is 0.

    >>> with executor_for(PoolPolicy(workers=0)) as executor:
    ...     type(executor).__name__
    'InlineExecutor'

    Raises:
        ConfigError: the policy asks for what the executor cannot give.
        EngineError: Ray does not start, or no cluster answers.
    """
    if policy.workers == 0:
        if policy.shard_timeout_s is not None or policy.open_timeout_s is not None:
            raise ConfigError(
                "a time limit per shard needs a worker process that can be killed: ask for at "
                "least 1 worker, or leave the limit out"
            )
        yield InlineExecutor(policy.max_attempts)
        return
    from cisray.engine.cluster import connect  # noqa: PLC0415  (Ray, only when it is wanted)
    from cisray.engine.pool import RayExecutor  # noqa: PLC0415

    with connect(address) as connection:
        yield RayExecutor(policy, connection)
