"""Who was tried how often: every shard is waiting, out, done or failed, and nothing else.

Pure bookkeeping, without Ray, clocks or processes, so that its promises can be tested with random
histories: no shard is lost, none is finished twice, none is tried for ever.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cisray.engine.task import FailureKind, ShardFailure


class Ledger:
    """The shards of one run and what became of each.

    >>> ledger = Ledger([4, 7], max_attempts=1)
    >>> ledger.take(), ledger.take()
    (4, 7)
    >>> ledger.settle(4)
    >>> ledger.blame(7, "ValueError: no", "application")
    ShardFailure(shard=7, reason='ValueError: no', attempts=1, kind='application')
    >>> ledger.is_settled
    True
    """

    def __init__(
        self, shards: Iterable[int], *, max_attempts: int, max_node_losses: int = 20
    ) -> None:
        """Take every shard as waiting; negative and repeated numbers are a ValueError."""
        self._waiting = deque(shards)
        self.total = len(self._waiting)
        self._out: set[int] = set()
        self._attempts: Counter[int] = Counter()
        self._max_attempts = max_attempts
        self._node_losses: Counter[int] = Counter()
        self._max_node_losses = max_node_losses
        self.done = 0
        self.retries = 0
        self.failed: list[ShardFailure] = []
        repeated = [shard for shard, n in Counter(self._waiting).items() if n > 1 or shard < 0]
        if repeated:
            raise ValueError(f"shard numbers must be distinct and not negative: {repeated[:5]}")

    @property
    def waiting(self) -> int:
        """How many shards wait to be taken."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many shards are taken and not yet answered for."""
        return len(self._out)

    @property
    def is_settled(self) -> bool:
        """Whether every shard is done or failed."""
        return not self._waiting and not self._out

    def take(self) -> int:
        """Hand out the next waiting shard; IndexError when none waits."""
        shard = self._waiting.popleft()
        self._out.add(shard)
        return shard

    def settle(self, shard: int) -> None:
        """Record a shard that was taken as done; KeyError if it was not out."""
        self._out.remove(shard)
        self.done += 1

    def put_back(self, shards: Sequence[int]) -> None:
        """Return innocent shards to the front, uncounted: another shard took the blame."""
        for shard in reversed(shards):
            self._out.remove(shard)
            self._waiting.appendleft(shard)

    def blame(self, shard: int, reason: str, kind: FailureKind) -> ShardFailure | None:
        """Count an attempt against a shard; return its failure if that was the last one allowed.

        A shard with attempts left goes to the back, so that one bad shard does not hold up the
        others.
        """
        return self._count(self._attempts, self._max_attempts, ShardFailure(shard, reason, 1, kind))

    def lost_with_node(self, shard: int, reason: str) -> ShardFailure | None:
        """Count a machine that went with a shard on it; return its failure if it was one too many.

        Machines are preempted whatever they run, so that many more are allowed than attempts; not
        any number, since a shard can take its machine down.
        """
        failure = ShardFailure(shard, reason, 1, "infrastructure")
        return self._count(self._node_losses, self._max_node_losses, failure)

    def _count(
        self, counted: Counter[int], most: int, failure: ShardFailure
    ) -> ShardFailure | None:
        shard = failure.shard
        self._out.remove(shard)
        counted[shard] += 1
        if counted[shard] < most:
            self.retries += 1
            self._waiting.append(shard)
            return None
        failure = replace(failure, attempts=counted[shard])
        self.failed.append(failure)
        return failure
