"""Groups of regions dealt out to sets, at random by their size.

Knows sizes; knows nothing of genomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cisray.errors import ConfigError

TRAIN, VALID, TEST = "train", "valid", "test"


@dataclass(frozen=True, slots=True)
class Aims:
    """The share of bases that each set is to have; `rest` takes what no other set has room for."""

    shares: Mapping[str, float]
    rest: str | None

    @classmethod
    def sets(cls, valid: float, test: float) -> "Aims":
        """Train, valid and test. Raises ConfigError for shares that leave nothing to train on."""
        if valid < 0 or test < 0 or valid + test >= 1:
            raise ConfigError(
                f"--valid {valid} and --test {test} are shares of the genomes, and must leave some "
                f"of them for train."
            )
        shares = {TRAIN: 1 - valid - test, VALID: valid, TEST: test}
        return cls({name: share for name, share in shares.items() if share > 0}, TRAIN)

    @classmethod
    def folds(cls, count: int) -> "Aims":
        """`count` sets of one size, fold0 and so on."""
        return cls({f"fold{number}": 1 / count for number in range(count)}, None)


def deal(
    sizes: Sequence[int], aims: Aims, seed: int, taken: Mapping[str, int] | None = None
) -> list[str]:
    """Give each group, the largest first, to a set drawn by how much room the sets have left.

    `taken` is what sets hold already.

    The chance of a set is proportional to what it lacks to its aim, of `rest` at least one base.
    Beside `rest`, a group that would take more than half of what a set lacks may not go there; of
    folds, that goes to the one with most room. After basenji_data_align.py.
    """
    dice = np.random.default_rng(seed)
    held = dict(taken or {})
    total = sum(sizes) + sum(held.values())
    names = list(aims.shares)
    lacking = {name: aims.shares[name] * total - held.get(name, 0) for name in names}
    chosen: list[str] = []
    for size in sizes:
        weights = np.array([_weight(name, size, lacking[name], aims) for name in names])
        if weights.sum() > 0:
            name = names[int(dice.choice(len(names), p=weights / weights.sum()))]
        else:
            name = aims.rest or max(names, key=lambda one: lacking[one])
        lacking[name] -= size
        chosen.append(name)
    return chosen


def _weight(name: str, size: int, lacking: float, aims: Aims) -> float:
    if name == aims.rest:
        return max(lacking, 1.0)
    return max(lacking, 0.0) if size <= lacking / 2 else 0.0
