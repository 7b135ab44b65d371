"""Laps add up to the time that has passed, whatever nests in what, and fails."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.stopwatch import LAPS, Lap, Stopwatch, lap, measured, running


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_second_counts_for_the_innermost_lap(clock: Clock) -> None:
    watch = Stopwatch("other", clock=clock)
    with running(watch):
        clock.now += 1
        with lap("model"):
            clock.now += 2
            with lap("input"):
                clock.now += 4
            clock.now += 8
        clock.now += 16
        assert measured() == {"other": 17, "model": 10, "input": 4}


def test_a_lap_ends_with_its_block_when_that_raises(clock: Clock) -> None:
    watch = Stopwatch("other", clock=clock)

    def work() -> None:
        with lap("model"):
            clock.now += 2
            raise ValueError("bin 7")

    with running(watch), pytest.raises(ValueError, match="bin 7"):
        work()
    clock.now += 1
    assert watch.seconds() == {"model": 2, "other": 1}


def test_what_is_taken_is_not_counted_again(clock: Clock) -> None:
    watch = Stopwatch("idle", clock=clock)
    clock.now += 3
    assert watch.take() == {"idle": 3}
    clock.now += 1
    assert watch.take() == {"idle": 1}


def test_what_failed_is_told_and_what_came_before_the_shard_is_kept(clock: Clock) -> None:
    watch = Stopwatch("open", clock=clock)
    for name, seconds in (("idle", 1), ("input", 2), ("model", 4), ("idle", 8)):
        clock.now += seconds
        watch.turn(name)
    # 1 s of opening, 2 s idle, 4 s of input, 8 s in the model.
    watch.fail()
    assert watch.seconds() == {"open": 1, "idle": 2, "failed": 12}
    clock.now += 16
    watch.turn("model")
    clock.now += 32
    watch.turn("idle")
    watch.fail()
    assert watch.take() == {"open": 1, "idle": 18, "failed": 44}


def test_without_a_watch_nothing_is_measured_and_nothing_breaks() -> None:
    with lap("model"):
        assert measured() == {}


def test_another_thread_has_no_part_in_the_watch(clock: Clock) -> None:
    """Two threads at once would each count the same second."""
    found: list[dict[Lap, float]] = []

    def work() -> None:
        with lap("write"):
            clock.now += 5
        found.append(measured())

    with running(Stopwatch("model", clock=clock)):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert measured() == {"model": 5}
    assert found == [{}]


@given(st.lists(st.tuples(st.sampled_from(list(LAPS)), st.integers(0, 9)), max_size=30))
def test_laps_add_up_to_what_has_passed(turns: list[tuple[Lap, int]]) -> None:
    clock = Clock()
    watch = Stopwatch("idle", clock=clock)
    for name, seconds in turns:
        watch.turn(name)
        clock.now += seconds
    assert sum(watch.seconds().values()) == sum(seconds for _, seconds in turns)
