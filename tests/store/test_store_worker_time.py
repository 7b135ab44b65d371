"""Where workers' time went: added up from receipts, and silent where these are."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import store_runs as bins
from hypothesis import given
from hypothesis import strategies as st

from cisray.store.receipt import Receipt, WrittenFile
from cisray.store.summary import RunTimes
from cisray.store.worker_time import GpuUse, WorkerTime

FILE = WrittenFile(
    table="genome_tracks", block="sel", chrom="chr1", start=0, end=1280, n_rows=10, n_cols=4,
    bytes=700, path="data/x.parquet", sha256="ab",
)  # fmt: skip

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def receipt(
    shard: int,
    laps: Mapping[str, float] | None,
    *,
    host: str = "a",
    pid: int = 1,
    gpu: GpuUse | None = None,
    session: float = 0,
    computed: float = 20,
) -> Receipt:
    """A shard of 10 rows that took 2 seconds to write."""
    info: dict[str, object] = {
        "host": host, "pid": pid, "session": at(session), "computed": at(computed),
    }  # fmt: skip
    if laps is not None:
        info["laps"] = dict(laps)
    if gpu is not None:
        info["gpu"] = gpu.model_dump()
    return Receipt(shard=shard, begun="b", attempt="c", wall_s=2.0, files=(FILE,), info=info)


def test_laps_are_added_up_over_all_and_for_each_host() -> None:
    receipts = [
        receipt(0, {"open": 3, "input": 1, "model": 4}),
        receipt(1, {"idle": 1, "input": 2, "model": 5}, pid=2),
        receipt(2, {"input": 3, "model": 7}, host="b"),
    ]
    told = WorkerTime.of(receipts)
    assert told is not None
    # 3 + 1 + 6 + 16 and 3 shards of 2 s: 32 s
    assert told.seconds == {"open": 3, "idle": 1, "input": 6, "model": 16, "write": 6}
    assert told.share("input") == pytest.approx(6 / 32)
    assert told.share("check") == 0
    assert [(h.host, h.workers, h.shards, h.rows) for h in told.hosts] == [
        ("a", 2, 2, 20), ("b", 1, 1, 10),
    ]  # fmt: skip
    # Of host a: 3 + 1 + 4 + 2 s and 1 + 2 + 5 + 2 s for 20 rows; of b 3 + 7 + 2 s for 10.
    assert told.hosts[0].rows_per_second == pytest.approx(20 / 20)
    assert told.hosts[1].rows_per_second == pytest.approx(10 / 12)
    assert RunTimes.of(bins.make_manifest(), receipts).workers == told


def test_what_is_left_of_the_sessions_is_told_too() -> None:
    """Two workers in a session of 22 s, one in a second one of 12: 56 s, of which 24 are laps."""
    receipts = [
        receipt(0, {"model": 4}, computed=10),
        receipt(1, {"model": 6}, pid=2, computed=20),
        receipt(2, {"model": 8}, pid=3, session=1000, computed=1010),
    ]
    told = WorkerTime.of(receipts)
    assert told is not None
    assert told.away_s == 56 - 24
    # A clock that is behind by an hour makes no negative time.
    behind = WorkerTime.of([receipt(0, {"model": 4}, session=3600)])
    assert behind is not None
    assert behind.away_s == 0


def test_shards_that_tell_nothing_are_left_out_and_none_is_made_up() -> None:
    assert WorkerTime.of([receipt(0, None), receipt(1, None)]) is None
    assert WorkerTime.of([]) is None
    some = WorkerTime.of([receipt(0, None), receipt(1, {"model": 2})])
    assert some is not None
    assert (some.shards, some.seconds) == (1, {"model": 2, "write": 2})


def test_a_summary_of_before_this_was_measured_is_still_the_same() -> None:
    """It was written without the key, and `runs verify` compares it with what records say."""
    times = RunTimes.of(bins.make_manifest(), [receipt(0, None)])
    old = times.model_dump(mode="json")
    del old["workers"]
    assert RunTimes.model_validate(old) == times


def test_a_stored_summary_equals_what_it_was_made_from() -> None:
    gpu = GpuUse(mean=33.3, max=90, readings=7)
    times = RunTimes.of(bins.make_manifest(), [receipt(0, {"model": 0.1234}, gpu=gpu)])
    assert RunTimes.model_validate_json(times.model_dump_json()) == times


def test_utilisation_has_the_weight_of_its_readings_and_is_never_made_up() -> None:
    receipts = [
        receipt(0, {"model": 4}, gpu=GpuUse(mean=90, max=100, readings=3)),
        receipt(1, {"model": 4}, gpu=GpuUse(mean=50, max=60, readings=1)),
        receipt(2, {"model": 4}, host="b"),
    ]
    told = WorkerTime.of(receipts)
    assert told is not None
    # (3 x 90 + 50) / 4
    assert told.gpu == GpuUse(mean=80, max=100, readings=4)
    assert told.hosts[0].gpu == told.gpu
    assert told.hosts[1].gpu is None


LAPS = st.dictionaries(st.sampled_from(["open", "input", "model"]), st.integers(0, 50), min_size=1)


@given(st.lists(st.tuples(LAPS, st.sampled_from("ab")), min_size=1, max_size=12))
def test_hosts_add_up_to_the_whole(shards: list[tuple[dict[str, float], str]]) -> None:
    receipts = [receipt(n, laps, host=host) for n, (laps, host) in enumerate(shards)]
    told = WorkerTime.of(receipts)
    assert told is not None
    assert sum(h.rows for h in told.hosts) == 10 * len(shards)
    for name, seconds in told.seconds.items():
        assert sum(h.seconds.get(name, 0) for h in told.hosts) == pytest.approx(seconds)
