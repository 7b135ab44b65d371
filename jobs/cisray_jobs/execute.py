"""From pending shards to finished ones: an executor, its resources, and the news of it.

Knows how jobs use the engine; knows nothing of what a shard holds. Every scoring job comes
through here, so that all of them spread, report and fail alike.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from cisray.engine.address import EMBEDDED, choose_address
from cisray.engine.executors import executor_for
from cisray.engine.progress import Display, ProgressReporter
from cisray.engine.task import Executor, PoolPolicy, RunLabel, RunSummary, ShardTask
from cisray.errors import ShardsFailed
from cisray.logs import everywhere
from cisray.store.place import RunPlace
from cisray_jobs.plan import Resources
from cisray_jobs.units import counted

NAMED_FAILURES = 10
# What a worker books is not what it may use. On one machine half a CPU each leaves Ray some; on a
# cluster a GPU worker needs a core beside its GPU, and a CPU worker one per thread.
EMBEDDED_CPUS = 0.5
CPUS_BESIDE_GPU = 1.0


@contextmanager
def open_executor(
    resources: Resources,
    *,
    shards: int,
    address: str | None = None,
    shard_timeout_s: float | None = None,
) -> Iterator[Executor]:
    """Be ready to do so many shards, in this process (0 workers) or on a pool of Ray actors.

    When the block is entered, the policy has been checked and Ray has answered. Raises
    ConfigError and EngineError, as `executor_for`.
    """
    policy = PoolPolicy(
        workers=min(resources.workers, shards),
        num_cpus=_booked_cpus(resources, address),
        num_gpus=resources.num_gpus if resources.workers else 0,
        threads=resources.threads,
        shard_timeout_s=shard_timeout_s,
    )
    with (
        torch_threads(None if policy.workers else resources.threads),
        executor_for(policy, address=address) as executor,
    ):
        yield executor


def run_shards(
    executor: Executor,
    task: ShardTask,
    shards: Sequence[int],
    *,
    label: RunLabel,
    display: Display = Display.AUTO,
) -> RunSummary:
    """Do the shards and show progress; `label` is in what is logged and exported meanwhile."""
    with everywhere(run=label.run), ProgressReporter(display=display) as reporter:
        return executor.run(
            task,
            shards,
            label=label,
            on_done=reporter.on_done,
            on_progress=reporter.on_progress,
        )


def _booked_cpus(resources: Resources, address: str | None) -> float:
    if choose_address(address) == EMBEDDED:
        return EMBEDDED_CPUS
    return CPUS_BESIDE_GPU if resources.num_gpus else float(resources.threads)


def shards_failed(outcome: RunSummary, out: RunPlace) -> ShardsFailed:
    """Phrase which shards failed and why, and that the others are kept."""
    named = [
        f"shard {f.shard} ({f.kind}, {counted(f.attempts, 'attempt')}): {f.reason}"
        for f in outcome.failed[:NAMED_FAILURES]
    ]
    more = len(outcome.failed) - len(named)
    return ShardsFailed(
        f"{counted(len(outcome.failed), 'shard')} failed, {outcome.done:,} done and kept in {out}, "
        f"which is not sealed. {'; '.join(named)}{f'; and {more} more' if more else ''}. Run the "
        "same command again to try only these."
    )


@contextmanager
def torch_threads(wanted: int | None) -> Iterator[None]:
    """Use so many threads in this process for the length of the block; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
