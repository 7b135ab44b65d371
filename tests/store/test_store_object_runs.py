"""Runs in an object store: the protocol of `test_store_run`, and what only a store does to it."""

import functools
import logging
import os
import threading
import time
from pathlib import Path

import polars as pl
import pytest
import store_runs as bins
import store_variants as variants
from polars.testing import assert_frame_equal
from s3_server import BUCKET, KEY, SECRET

from cisray.errors import (
    ConfigError,
    MissingExtra,
    RunConflict,
    RunIncomplete,
    RunNotFound,
    StorageError,
)
from cisray.store import locate as locate_module
from cisray.store import objects as objects_module
from cisray.store import ranged_file
from cisray.store.compact import compact_run
from cisray.store.locate import locate
from cisray.store.objects import Objects
from cisray.store.place import checked_place
from cisray.store.run import ShardSink
from cisray.store.scan import open_run
from cisray.store.summarise import summarise_run


@functools.cache
def objects_of(url: str) -> Objects:
    return Objects(url)


def everything(url: str) -> dict[str, bytes]:
    objects = objects_of(url)
    return {name: b"".join(objects.chunks(name)) for name in objects.below("")}


def names_below(url: str, prefix: str) -> list[str]:
    return sorted(objects_of(url).below(prefix))


def rewrite(url: str, name: str, edit) -> None:
    objects = objects_of(url)
    seen = objects.read(name)
    assert objects.write(name, edit(seen.data), instead_of=seen.version)


def record(url: str, shard: int) -> str:
    (name,) = (name for name in names_below(url, "_commits") if f"/{shard:06d}." in name)
    return name


def test_a_run_comes_back_value_for_value(world, bucket, tmp_path) -> None:
    with world.begin(bucket) as sink:
        assert sink.pending() == [0, 1, 2]
        for shard in (2, 0, 1):
            sink.write(shard, world.pieces_of(shard, sink.blocks), attempt_info={"device": "cpu"})
        assert sink.pending() == []
        summary = sink.seal()
    assert (summary.path, summary.rows, summary.shards) == (bucket, sum(world.ROWS), 3)
    run = open_run(bucket)
    assert run.path == bucket
    assert run.verify() == summary.files == 6
    assert world.rows_of(bucket) == world.expected_rows()
    # The same run on a disk: the same files but for attempts, and the same answers.
    world.finish(tmp_path / "run")
    local = open_run(tmp_path / "run")
    assert_frame_equal(run.scan().collect(), local.scan().collect())
    told = ["table", "block", "chrom", "start", "end", "n_rows", "bytes", "sha256"]
    assert_frame_equal(run.files.select(told), local.files.select(told))
    assert run.manifest.digest == local.manifest.digest


def test_a_sealed_run_holds_nothing_but_itself(world, bucket) -> None:
    world.finish(bucket)
    held = everything(bucket)
    tops = {name.partition("/")[0] for name in held}
    assert tops == {
        *("_SUCCESS", "_commits", "_lock", "_manifest.parquet", "data", "run.json"),
        *("summary.json", "tracks.parquet", *world.PLAN_FILES),
    }
    listed = open_run(bucket).files["path"].to_list()
    assert sorted(listed) == names_below(bucket, "data")
    before = {name: data for name, data in held.items() if name != "_lock"}
    with world.begin(bucket) as sink:
        assert sink.pending() == []
        assert sink.seal() == sink.seal()
    after = {name: data for name, data in everything(bucket).items() if name != "_lock"}
    assert after == before


def test_queries_find_the_same_rows_as_on_a_disk(bucket, tmp_path) -> None:
    variants.finish(bucket)
    variants.finish(tmp_path / "run")
    run, local = open_run(bucket), open_run(tmp_path / "run")
    chrom = run.chromosomes[0]
    for given in ({"region": chrom}, {"stats": "logSAD", "tracks": 8}):
        assert_frame_equal(run.scan(**given).collect(), local.scan(**given).collect())
        assert run.scan(**given).collect().height > 0
    assert_frame_equal(run.variants.collect(), local.variants.collect())
    assert_frame_equal(run.rejects.collect(), local.rejects.collect())
    assert_frame_equal(run.top(3), local.top(3))
    given = run.variants.select("chrom", "pos", "ref", "alt").collect()
    joined = run.join_variants(given).collect()
    assert_frame_equal(joined, local.join_variants(given).collect())
    assert "SAD_t0003" in joined.columns


def test_a_run_is_compacted_and_summarised_as_on_a_disk(world, bucket, tmp_path) -> None:
    for place in (bucket, tmp_path / "run"):
        world.finish(place)
        before = ShardSink.attach(place).receipts()
        result = compact_run(place)
        assert (result.files_before, result.files, result.path) == (6, 4, place)
        assert ShardSink.attach(place).receipts() == before
    run, local = open_run(bucket), open_run(tmp_path / "run")
    assert run.verify() == 4
    assert names_below(bucket, "_commits") == []
    assert names_below(bucket, "data") == sorted(run.files["path"])
    assert_frame_equal(run.scan().collect(), local.scan().collect())
    if world is variants:
        for place in (bucket, tmp_path / "run"):
            summarise_run(place)
        assert_frame_equal(run.summary().collect(), local.summary().collect())
        assert len(names_below(bucket, "summary")) == 2
    with world.begin(bucket, restart=True) as sink:
        assert sink.pending() == [0, 1, 2]
    kept = ("_history", "summary", "data")
    assert not [name for name in everything(bucket) if name.startswith(kept)]


def test_sums_are_those_of_a_disk(bucket, tmp_path) -> None:
    bins.finish(bucket)
    bins.finish(tmp_path / "run")
    intervals = pl.DataFrame({"chrom": ["chr2", "chr2"], "start": [513, 2000], "end": [900, 2100]})
    summed = open_run(bucket).sum_over(intervals)
    # Bins 512, 640, 768, 896; and 2048.
    assert summed["bins"].to_list() == [4, 1]
    assert_frame_equal(summed, open_run(tmp_path / "run").sum_over(intervals))


def test_a_resumed_run_does_what_is_missing_only(world, bucket) -> None:
    with world.begin(bucket) as sink:
        sink.write(1, world.pieces_of(1, sink.blocks))
        with pytest.raises(RunNotFound, match=f"{bucket} holds a run that is not sealed"):
            open_run(bucket)
        assert len(world.rows_of(bucket, allow_unsealed=True)) == world.ROWS[1]
    before = names_below(bucket, "data")
    with world.begin(bucket, created="later") as sink:
        assert sink.pending() == [0, 2]
        sink.record_failure(2, "CUDA out of memory", attempts=3)
        with pytest.raises(RunIncomplete, match=r"2 of 3 shards are missing: 0, 2 \(CUDA out"):
            sink.seal()
    world.finish(bucket)
    assert set(before) < set(names_below(bucket, "data"))
    assert names_below(bucket, "_failed") == []
    assert world.rows_of(bucket) == world.expected_rows()


def test_another_run_and_foreign_objects_are_left_alone(bucket) -> None:
    bins.begin(bucket).close()
    with pytest.raises(RunConflict, match="holds another run"):
        bins.begin(bucket, model_sha256="ef" * 32)
    objects_of(bucket).write("data/mine.csv", b"precious", instead_of=None)
    with pytest.raises(RunConflict, match=r"foreign files \(data/mine\.csv\)"):
        bins.begin(bucket, restart=True)
    thesis = f"{bucket}/thesis"
    objects_of(thesis).write("chapter.tex", b"years", instead_of=None)
    for restart in (False, True):
        with pytest.raises(RunConflict, match=r"not a cisray run.*chapter\.tex"):
            bins.begin(thesis, restart=restart)
    assert everything(thesis) == {"chapter.tex": b"years"}


def test_two_drivers_exclude_each_other(bucket) -> None:
    with bins.begin(bucket) as sink:
        for restart in (False, True):
            with pytest.raises(RunConflict, match=f"another cisray process .process {os.getpid()}"):
                bins.begin(bucket, restart=restart)
        sink.write(0, bins.pieces_of(0, sink.blocks))
    with bins.begin(bucket) as sink:
        assert sink.pending() == [1, 2]


def test_a_driver_that_lost_its_lease_writes_nothing_more(bucket) -> None:
    first = bins.begin(bucket)
    for shard in first.pending():
        first.write(shard, bins.pieces_of(shard, first.blocks))
    lease = first._lock
    lease._stop.set()
    lease._thread.join()
    with bins.begin(bucket, restart=True) as second:
        before = {name: data for name, data in everything(bucket).items() if name != "_lock"}
        with pytest.raises(RunConflict, match="was taken over"):
            first.seal()
        with pytest.raises(RunConflict, match="was taken over"):
            first.record_failure(0, "reason", attempts=1)
        with pytest.raises(RunConflict, match="was taken over"):
            first.write(0, bins.pieces_of(0, first.blocks))
        after = {name: data for name, data in everything(bucket).items() if name != "_lock"}
        assert after == before
        assert second.pending() == [0, 1, 2]


def test_a_seal_that_comes_late_does_not_seal_the_next_run(bucket, monkeypatch) -> None:
    """The driver freezes between its last look at the lease and the request that seals."""
    first = bins.begin(bucket)
    for shard in first.pending():
        first.write(shard, bins.pieces_of(shard, first.blocks))
    write, frozen, thawed = Objects.write, threading.Event(), threading.Event()

    def freeze(self, name, data, *, instead_of):
        if name == "_SUCCESS" and threading.current_thread() is sealing:
            frozen.set()
            thawed.wait(20)
        return write(self, name, data, instead_of=instead_of)

    monkeypatch.setattr(Objects, "write", freeze)

    def seal() -> None:
        with pytest.raises(RunConflict, match="was taken over"):
            first.seal()

    sealing = threading.Thread(target=seal)
    sealing.start()
    assert frozen.wait(10)
    first._lock._stop.set()
    with bins.begin(bucket, restart=True) as second:
        thawed.set()
        sealing.join()
        # Its object is there, and is of the run before.
        assert objects_of(bucket).read("_SUCCESS").data == first.manifest.begun.encode()
        assert second.pending() == [0, 1, 2]
        with pytest.raises(RunNotFound, match="not sealed"):
            open_run(bucket)
    bins.finish(bucket)
    assert bins.rows_of(bucket) == bins.expected_rows()


def test_a_writer_of_a_run_that_was_discarded_adds_nothing(bucket) -> None:
    bins.begin(bucket).close()
    orphan = ShardSink.attach(bucket)
    with bins.begin(bucket, restart=True) as sink:
        with pytest.raises(StorageError, match="takes no more shards of this run"):
            orphan.write(0, bins.pieces_of(0, sink.blocks))
        assert names_below(bucket, "data") == []
        # What it had on the way when the door was shut still arrives; it is of another beginning.
        old = objects_of(bucket)
        old.write_new("data/tracks/late.00000000.parquet", memoryview(b"late"))
        late = orphan.layout.commit(0)
        old.write(late, b"late", instead_of=None)
        assert sink.pending() == [0, 1, 2]
    bins.finish(bucket)
    assert bins.rows_of(bucket) == bins.expected_rows()
    assert late not in names_below(bucket, "_commits")
    assert sorted(open_run(bucket).files["path"]) == names_below(bucket, "data")


def test_a_writer_that_outlived_the_seal_leaves_nothing(bucket, monkeypatch) -> None:
    """It looks whether it may write, the run is sealed, and only then its data arrive."""
    bins.begin(bucket).close()
    late = ShardSink.attach(bucket)
    write_new = Objects.write_new

    def seal_first(self, name, data) -> None:
        monkeypatch.setattr(Objects, "write_new", write_new)
        bins.finish(bucket)
        write_new(self, name, data)

    monkeypatch.setattr(Objects, "write_new", seal_first)
    with pytest.raises(StorageError, match="takes no more shards"):
        late.write(0, bins.pieces_of(0, late.blocks))
    assert sorted(open_run(bucket).files["path"]) == names_below(bucket, "data")
    assert bins.rows_of(bucket) == bins.expected_rows()


def test_threads_that_race_for_a_shard_leave_one_attempt(bucket) -> None:
    with bins.begin(bucket):
        barrier, receipts = threading.Barrier(4), []

        def work() -> None:
            worker = ShardSink.attach(bucket)
            barrier.wait()
            receipts.append(worker.write(0, bins.pieces_of(0, worker.blocks)))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(receipts) == 4
        assert len({receipt.attempt for receipt in receipts}) == 1
        assert {file.path for file in receipts[0].files} == set(names_below(bucket, "data"))


@pytest.mark.parametrize("harm", ["delete", "truncate", "record"])
def test_a_shard_whose_files_are_gone_is_written_again(bucket, harm) -> None:
    with bins.begin(bucket) as sink:
        receipt = sink.write(0, bins.pieces_of(0, sink.blocks))
        file = receipt.files[1].path
        if harm == "delete":
            objects_of(bucket).delete([file])
        elif harm == "truncate":
            rewrite(bucket, file, lambda data: data[:-1])
        else:
            rewrite(bucket, record(bucket, 0), lambda data: b"{")
        assert sink.pending() == [0, 1, 2]
    bins.finish(bucket)
    assert bins.rows_of(bucket) == bins.expected_rows()
    assert len(names_below(bucket, "data")) == 6


def test_of_two_that_mend_a_damaged_record_both_tell_of_one(bucket, monkeypatch) -> None:
    """Neither overwrites what the other has mended."""
    with bins.begin(bucket) as sink:
        sink.write(0, bins.pieces_of(0, sink.blocks))
        rewrite(bucket, record(bucket, 0), lambda data: b"{")
        other = ShardSink.attach(bucket)
        committed = ShardSink._committed
        mended = []

        def meanwhile(self, shard):
            found = committed(self, shard)
            if self is sink and not mended:
                mended.append(None)
                mended.append(other.write(0, bins.pieces_of(0, other.blocks)))
            return found

        with monkeypatch.context() as patch:
            patch.setattr(ShardSink, "_committed", meanwhile)
            receipt = sink.write(0, bins.pieces_of(0, sink.blocks))
        (kept,) = [r for r in sink.receipts() if r.shard == 0]
        assert receipt == kept == mended[1]
        # Those of the very first attempt are swept by the seal.
        assert {file.path for file in kept.files} < set(names_below(bucket, "data"))


def test_verify_finds_a_flipped_bit(bucket) -> None:
    bins.finish(bucket)
    name = names_below(bucket, "data")[2]

    def flip(data: bytes) -> bytes:
        return data[:40] + bytes([data[40] ^ 1]) + data[41:]

    rewrite(bucket, name, flip)
    with pytest.raises(StorageError, match=f"{name} is damaged: its sha256 is"):
        open_run(bucket).verify()
    objects_of(bucket).delete([name])
    with pytest.raises(StorageError, match=f"{name} is missing"):
        open_run(bucket).scan()
    with pytest.raises(StorageError, match=f"is sealed, but its file .*{name} is missing"):
        bins.begin(bucket)


@pytest.mark.parametrize("what", ["lose", "blur"])
def test_lost_answers_change_nothing(s3, bucket, what) -> None:
    for name in ("_commits/", "run.json", "data/", "_SUCCESS", "_manifest", "_staging/"):
        s3.fault(what, f"PUT .*/{name}", times=2)
    bins.finish(bucket)
    assert bins.rows_of(bucket) == bins.expected_rows()
    assert len(names_below(bucket, "data")) == 6
    assert len(names_below(bucket, "_commits")) == 3


def test_a_request_that_fails_for_a_while_is_made_again(s3, bucket) -> None:
    s3.fault("fail", "(GET|HEAD|PUT|POST) .*/(data|_commits|_manifest|windows)", times=3)
    bins.finish(bucket)
    assert bins.rows_of(bucket) == bins.expected_rows()


def test_a_store_that_ignores_conditions_is_refused_at_the_start(s3, bucket) -> None:
    s3.fault("defy", "PUT")
    with pytest.raises(StorageError, match=r"does not heed conditions of writes \(If-None-Match"):
        bins.begin(bucket)
    assert names_below(bucket, "") == ["_lock"]
    s3.heal()
    bins.finish(bucket)


def refusal(url: str) -> str:
    with pytest.raises(StorageError) as caught:
        bins.begin(url)
    text = str(caught.value)
    assert SECRET not in text
    assert len(text) < 700
    return text


def test_what_stands_in_the_way_is_told_before_anything_is_written(s3, bucket, monkeypatch) -> None:
    text = refusal("s3://no-such-bucket/runs/a")
    assert "there is no bucket or container for s3://no-such-bucket/runs/a" in text
    assert "NoSuchBucket" in text
    for method, what in (("GET", "list"), ("PUT", "_lock"), ("(POST|DELETE)", "_staging/nothing")):
        s3.heal()
        s3.fault("deny", f"{method} /{BUCKET}")
        text = refusal(bucket)
        assert "refuses" in text, what
        assert "AccessDenied: Access Denied" in text
        assert "AWS_ACCESS_KEY_ID" in text
        s3.heal()
        assert set(names_below(bucket, "")) <= {"_lock"}
        time.sleep(0.1)
    with pytest.raises(StorageError, match="there is no bucket"):
        open_run("s3://no-such-bucket/runs/a")
    with pytest.raises(RunNotFound, match=f"{bucket} holds no cisray run"):
        open_run(bucket)
    monkeypatch.setattr(objects_module, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    text = refusal(bucket)
    assert "cannot be used" in text
    assert "Check the network" in text
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert "AWS_ALLOW_HTTP=true" in refusal(bucket)


def test_no_secret_is_kept_or_told(s3, bucket, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    with bins.begin(bucket) as sink:
        sink.write(0, bins.pieces_of(0, sink.blocks))
        sink.record_failure(1, "because", attempts=1)
        s3.fault("deny", "PUT")
        with pytest.raises(StorageError) as caught:
            sink.write(1, bins.pieces_of(1, sink.blocks))
        s3.heal()
        held = everything(bucket)
        assert any(name.startswith("_failed") for name in held)
    bins.finish(bucket)
    held |= everything(bucket)
    for name, data in held.items():
        assert SECRET.encode() not in data, name
        assert KEY.encode() not in data, name
        for chunk in pl.read_parquet_metadata(data).values() if name.endswith("parquet") else ():
            assert SECRET not in chunk
    for text in (caplog.text, str(caught.value), repr(open_run(bucket).scan())):
        assert SECRET not in text
        assert KEY not in text


def test_a_shard_of_a_long_plan_is_read_without_the_others(
    s3, bucket, tmp_path, monkeypatch
) -> None:
    """A few requests for a shard, and few bytes of a plan of sixty."""
    shards = tuple(
        tuple((300 * shard + row, "chr2", 1 + 300 * shard + row, "A", "C") for row in range(300))
        for shard in range(60)
    )
    plan = variants.write_plan(tmp_path, shards)
    variants.begin(bucket, plan=plan).close()
    whole = locate(bucket).sizes_of(["variants.parquet"])["variants.parquet"]
    monkeypatch.setattr(ranged_file, "WINDOW_BYTES", 4096)
    s3.heal()
    worker = ShardSink.attach(bucket)
    opened = [size for line, size in s3.requests() if "variants.parquet" in line]
    s3.heal()
    rows = worker.plan.keys(31)
    read = [size for line, size in s3.requests() if "variants.parquet" in line]
    assert rows.num_rows == 300
    assert rows.equals(plan.keys(31))
    assert len(opened) <= 4
    assert sum(opened) < whole / 2
    assert len(read) <= 3
    assert sum(read) < whole / 20


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://user:pass-word@bucket/run", "must not hold credentials"),
        ("s3://bucket/run?sig=pass-word", "must not hold credentials"),
        ("az://container/run#pass-word", "must not hold credentials"),
        ("https://bucket/run", "is not the URL of a run"),
        ("file:///tmp/run", "is not the URL of a run"),
        ("S3://bucket/run", "is not the URL of a run"),
        ("s3://bucket", "is not the URL of a run"),
        ("s3://bucket//run", "is not the URL of a run"),
        ("s3://bucket/../run", "is not the URL of a run"),
        ("s3://bucket/a b", "is not the URL of a run"),
        ("s3://bucket/a%20b", "is not the URL of a run"),
        ("s3:///run", "is not the URL of a run"),
    ],
)
def test_urls_that_cannot_be_a_runs(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        locate(url)
    assert "pass-word" not in str(caught.value)


def test_a_url_that_was_made_a_path_is_not_a_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="one slash where a URL has two"):
        open_run(Path("s3://bucket/run"))
    with pytest.raises(ConfigError, match="one slash where a URL has two"):
        bins.begin(Path("gs://bucket/run"))
    assert list(tmp_path.iterdir()) == []


def test_a_slash_at_the_end_is_the_same_place(bucket) -> None:
    bins.finish(f"{bucket}/")
    assert bins.rows_of(bucket) == bins.expected_rows()
    assert checked_place(f"{bucket}//") == bucket


@pytest.mark.parametrize("url", ["gs://bucket/runs/a", "az://container/runs/a"])
def test_other_stores_are_known_by_their_urls(url: str, monkeypatch) -> None:
    """Their configuration is read; nothing is asked of a real one here."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    folder = locate(url)
    assert folder.place == url
    assert folder.tell("run.json") == f"{url}/run.json"


def test_without_obstore_the_way_out_is_told(monkeypatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'obstore'")

    monkeypatch.setattr(locate_module, "import_module", absent)
    with pytest.raises(MissingExtra, match=r"pip install 'cisray\[cloud\]'"):
        open_run("s3://bucket/run")
