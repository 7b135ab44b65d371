"""What a sealed run says of its time: added up over sessions, the same whoever was killed when."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import store_runs as bins

from cisray.store.receipt import Receipt, WrittenFile
from cisray.store.summary import RunTimes

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE = WrittenFile(
    table="genome_tracks", block="sel", chrom="chr1", start=0, end=1280, n_rows=10, n_cols=4,
    bytes=700, path="data/x.parquet", sha256="ab",
)  # fmt: skip


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def receipt(shard: int, session: float, computed: float, *, host: str = "a") -> Receipt:
    """A shard of 10 rows that took the device 5 seconds, and 2 to write."""
    info = {"session": at(session), "computed": at(computed), "device_s": 5.0, "host": host}
    return Receipt(
        shard=shard, begun="b", attempt="c", wall_s=2.0, files=(FILE, FILE),
        info={**info, "device_name": "H200", "other": [1]},
    )  # fmt: skip


def test_two_sessions_add_up_without_the_night_between_them() -> None:
    """0 to 32 seconds, and 1,000 to 1,018: 50 seconds for 30 rows."""
    receipts = [receipt(0, 0, 10), receipt(1, 0, 30, host="b"), receipt(2, 1000, 1016)]
    times = RunTimes.of(bins.make_manifest(), receipts)
    assert (times.wall_s, times.device_s, times.write_s, times.untimed) == (50, 15, 6, 0)
    assert [(s.shards, s.rows) for s in times.sessions] == [(2, 20), (1, 10)]
    assert (times.shards, times.rows, times.files, times.bytes) == (3, 30, 6, 4200)
    assert (times.hosts, times.devices) == (("a", "b"), ("H200",))
    assert times.rows_per_second == pytest.approx(0.6)
    # 30 rows cost 50 s of 7.2 an hour, which is 0.1.
    assert times.cost_per_million_rows(7.2) == pytest.approx(0.1 / 30 * 1e6)
    assert RunTimes.of(bins.make_manifest(), receipts[::-1]) == times


def test_a_worker_that_outlives_its_driver_is_not_counted_twice() -> None:
    """0 to 52, and 20 to 72: 72 seconds in which something went on."""
    receipts = [receipt(0, 0, 50), receipt(1, 20, 70)]
    assert RunTimes.of(bins.make_manifest(), receipts).wall_s == 72


def test_a_clock_that_is_behind_takes_nothing_away() -> None:
    receipts = [receipt(0, 100, 40), receipt(1, 200, 208)]
    assert RunTimes.of(bins.make_manifest(), receipts).wall_s == 10


def test_shards_without_times_are_counted_and_no_rate_is_made_up() -> None:
    bare = receipt(1, 0, 0).model_copy(update={"info": {"host": "a"}})
    times = RunTimes.of(bins.make_manifest(), [receipt(0, 0, 10), bare])
    assert (times.untimed, times.shards, times.wall_s) == (1, 2, 12)
    assert times.rows_per_second is None
    assert times.cost_per_million_rows(3.0) is None
    assert RunTimes.of(bins.make_manifest(), []).rows_per_second is None


def test_sealing_keeps_the_summary_and_a_restart_takes_it_away(tmp_path) -> None:
    path = tmp_path / "run"
    facts = {"session": at(0), "host": "a", "device_name": "CPU", "device_s": 3.0}
    with bins.begin(path) as sink:
        for shard in sink.pending():
            info = {**facts, "computed": at(10 * (shard + 1))}
            sink.write(shard, bins.pieces_of(shard, sink.blocks), attempt_info=info)
        sink.seal()
        times = RunTimes.of(sink.manifest, sink.receipts())
    assert RunTimes.model_validate_json((path / "summary.json").read_bytes()) == times
    told = json.loads((path / "summary.json").read_text())
    assert (told["rows"], told["device_s"], told["run_id"]) == (15, 9, times.run_id)
    assert 30 <= told["wall_s"] < 40
    bins.begin(path, restart=True).close()
    assert not (path / "summary.json").exists()
