"""Random histories of a run: whatever happens, no shard is lost, doubled or tried for ever."""

import random

from hypothesis import given
from hypothesis import strategies as st

from cisray.engine.ledger import Ledger


@given(
    shards=st.lists(st.integers(3, 10_000), unique=True, max_size=30),
    max_attempts=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    p_bad=st.floats(0, 1),
)
def test_every_history_ends_with_each_shard_done_or_failed_once(
    shards: list[int], max_attempts: int, seed: int, p_bad: float
) -> None:
    chance = random.Random(seed)
    ledger = Ledger(shards, max_attempts=max_attempts)
    out: list[int] = []
    done: list[int] = []
    blames = dict.fromkeys(shards, 0)
    for _ in range(10_000):
        if ledger.is_settled:
            break
        while ledger.waiting and len(out) < 4:
            out.append(ledger.take())
        assert ledger.in_flight == len(out)
        if chance.random() < p_bad:
            # A worker dies: its first shard is blamed, up to two behind it go back uncounted.
            blamed, innocent, out = out[0], out[1:3], out[3:]
            ledger.put_back(innocent)
            blames[blamed] += 1
            failure = ledger.blame(blamed, "died", "infrastructure")
            assert (failure is not None) == (blames[blamed] == max_attempts)
        else:
            done.append(out.pop(0))
            ledger.settle(done[-1])
    assert ledger.is_settled
    failed = [failure.shard for failure in ledger.failed]
    assert sorted(done + failed) == sorted(shards)
    assert ledger.done == len(done)
    assert all(blames[shard] == max_attempts for shard in failed)
    assert all(blames[shard] < max_attempts for shard in done)
    # every blame that was not the last of its shard led to a retry
    assert ledger.retries == sum(blames.values()) - len(failed)


def test_innocent_shards_go_back_to_the_front_in_their_order() -> None:
    ledger = Ledger([5, 6, 7, 8], max_attempts=3)
    assert [ledger.take() for _ in range(3)] == [5, 6, 7]
    ledger.blame(5, "died", "infrastructure")
    ledger.put_back([6, 7])
    assert [ledger.take() for _ in range(4)] == [6, 7, 8, 5]


def test_lost_machines_are_counted_apart_from_attempts() -> None:
    ledger = Ledger([5], max_attempts=2, max_node_losses=3)
    for _ in range(2):
        assert ledger.lost_with_node(ledger.take(), "node died") is None
    assert ledger.blame(ledger.take(), "no", "application") is None
    failure = ledger.lost_with_node(ledger.take(), "node died")
    assert failure is not None
    assert (failure.attempts, failure.kind, failure.reason) == (3, "infrastructure", "node died")
    assert ledger.is_settled
    assert (ledger.retries, ledger.failed) == (3, [failure])
