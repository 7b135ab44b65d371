"""Which example comes when: a function of the seed and of counters, and of nothing else.

Knows numbers; knows no data. There is no state to save: who knows the number of a step knows its
examples, whatever the number of workers and however often training was interrupted.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, *place: str | int) -> np.random.Generator:
    """Make a generator of its own for a place, such as ("order", head, epoch)."""
    return np.random.default_rng(derived_seed(seed, *place))


def derived_seed(seed: int, *place: str | int) -> int:
    """Mix a seed and a place into 63 bits that no other place has, but by chance.

    >>> derived_seed(1, "order", "human", 0) == derived_seed(1, "order", "human", 1)
    False
    """
    text = "\x1f".join([str(seed), *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@lru_cache(maxsize=16)
def epoch_order(seed: int, head: str, epoch: int, examples: int) -> NDArray[np.int64]:
    """Draw the order in which an epoch meets the examples of a head: a permutation."""
    order: NDArray[np.int64] = generator(seed, "order", head, epoch).permutation(examples)
    order.flags.writeable = False
    return order


def example_at(seed: int, head: str, position: int, examples: int) -> int:
    """Tell which example of a head is the `position`-th to be met, counted from 0 over epochs."""
    epoch, place = divmod(position, examples)
    return int(epoch_order(seed, head, epoch, examples)[place])


@dataclass(frozen=True, slots=True)
class Alternation:
    """Steps that take the heads in turn; a round is one step of each head."""

    heads: tuple[str, ...]
    batch_size: int

    def head(self, step: int) -> str:
        """Tell whose turn a step is, counted from 0."""
        return self.heads[step % len(self.heads)]

    def round(self, step: int) -> int:
        """Tell which batch of its head a step takes, counted from 0."""
        return step // len(self.heads)

    def positions(self, step: int, share: int, shares: int) -> range:
        """Give the positions in its head's order that a share of a step's batch consists of.

        Shares are those of micro-batches and workers: equal and in order, so that all shares of a
        step together are the same examples, however many they are.

        >>> a = Alternation(("human", "mouse"), 4)
        >>> [list(a.positions(step, 1, 2)) for step in (0, 1, 2)]
        [[2, 3], [2, 3], [6, 7]]
        """
        size = self.batch_size // shares
        first = self.round(step) * self.batch_size + share * size
        return range(first, first + size)
