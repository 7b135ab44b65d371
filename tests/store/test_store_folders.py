"""What a run asks of its folder: the same contract for a disk and for an object store."""

import os
import threading
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import RunBusy, StorageError
from cisray.store import object_folder
from cisray.store.folder import Folder
from cisray.store.local_folder import stored
from cisray.store.locate import locate
from cisray.store.ranged_file import WINDOW_BYTES, RangedFile

BEGUN = "b" * 32
ODD = "data/chrom=HLA-A%2A01%3A01/HLA-A%2A01%3A01_000000128.1f2e3d4c.parquet"


@pytest.fixture(params=["disk", "store"])
def place(request, tmp_path: Path) -> Path | str:
    if request.param == "disk":
        return tmp_path / "run"
    url: str = request.getfixturevalue("bucket")
    return url


@pytest.fixture
def folder(place) -> Folder:
    opened = locate(place)
    opened.admit(BEGUN)
    return opened


def put(folder: Folder, name: str, data: bytes, *, exclusive: bool = False) -> bool:
    return folder.publish(name, data, exclusive=exclusive, begun=BEGUN)


def test_a_place_without_anything_has_no_names(place) -> None:
    folder = locate(place)
    assert folder.place == place
    assert folder.names() is None
    assert folder.below("data") == {}
    assert folder.read("run.json") is None
    assert folder.sizes_of(["run.json"]) == {}
    with pytest.raises(FileNotFoundError):
        folder.open("run.json")


def test_a_name_is_created_once_or_replaced(folder) -> None:
    assert put(folder, "a/b", b"first", exclusive=True)
    assert not put(folder, "a/b", b"second", exclusive=True)
    assert folder.read("a/b") == b"first"
    assert put(folder, "a/b", b"third")
    assert put(folder, "new", b"fourth")
    assert folder.read("a/b") == b"third"
    assert sorted(set(folder.names()) - {"_staging"}) == ["a", "new"]
    assert folder.below("a") == {"a/b": 5}
    assert folder.tell("a/b") == f"{folder.place}/a/b"


def test_of_many_that_create_a_name_one_does(folder) -> None:
    barrier, answers = threading.Barrier(8), []

    def create(number: int) -> None:
        barrier.wait()
        answers.append((put(folder, "one", f"by {number}".encode(), exclusive=True), number))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for won, number in answers if won]
    assert folder.read("one") == f"by {winner}".encode()


def test_sizes_are_those_of_what_is_there(folder, monkeypatch) -> None:
    for number in range(5):
        put(folder, f"data/{number}", b"x" * number)
    put(folder, ODD, b"12")
    wanted = ["data/4", "data/absent", ODD, "data/0"]
    assert folder.sizes_of(wanted) == {"data/4": 4, ODD: 2, "data/0": 0}
    monkeypatch.setattr(object_folder, "MOST_LOOKS", 1)
    assert folder.sizes_of([*wanted, "other/absent"]) == {"data/4": 4, ODD: 2, "data/0": 0}
    assert folder.sizes_of(iter([])) == {}


def test_prefixes_end_where_names_do(folder) -> None:
    put(folder, "data/x", b"1")
    put(folder, "data_too/x", b"1")
    assert folder.below("data") == {"data/x": 1}
    folder.remove_tree("data")
    assert folder.below("data") == {}
    assert folder.read("data_too/x") == b"1"


def test_what_is_removed_is_gone_and_twice_is_no_error(folder) -> None:
    put(folder, "a", b"1")
    put(folder, "b", b"1")
    folder.remove("a", "absent", "b")
    folder.remove("a")
    folder.remove()
    assert folder.sizes_of(["a", "b"]) == {}


def test_foreign_files_are_told_by_their_ending(folder) -> None:
    for name in ("_commits/000001.json", "_commits/mine.csv", "_commits/deep/mine.txt"):
        put(folder, name, b"1")
    assert sorted(folder.foreign_below("_commits", ".json")) == [
        "_commits/deep/mine.txt",
        "_commits/mine.csv",
    ]
    assert folder.foreign_below("absent", ".json") == []


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in parts"])
def test_a_large_file_comes_back_byte_for_byte(folder, tmp_path, monkeypatch, whole) -> None:
    if not whole:
        monkeypatch.setattr(object_folder, "MOST_WHOLE_BYTES", 1000)
    content = os.urandom(9 << 20)  # more than one part
    (tmp_path / "source").write_bytes(content)
    put(folder, "plan", b"of a beginning that was killed")
    folder.publish_file("plan", stored(tmp_path / "source"), begun=BEGUN)
    folder.publish_new("data/x.1f2e3d4c.parquet", memoryview(content), begun=BEGUN)
    for name in ("plan", "data/x.1f2e3d4c.parquet"):
        assert b"".join(folder.chunks(name)) == content
        with folder.open(name) as file:
            assert file.seek(-5, os.SEEK_END) == len(content) - 5
            assert file.read(9) == content[-5:]
            assert file.seek(300_001) == 300_001
            assert file.read(7) == content[300_001:300_008]
            assert file.tell() == 300_008
    with pytest.raises(StorageError, match=r"cannot read .*absent"):
        folder.publish_file("plan", stored(tmp_path / "absent"), begun=BEGUN)


def test_parquet_files_are_scanned_in_their_order(folder, tmp_path) -> None:
    for name, values in (("data/one.parquet", [3, 1]), (ODD, [2])):
        pl.DataFrame({"a": values}).write_parquet(tmp_path / "frame")
        put(folder, name, (tmp_path / "frame").read_bytes())
    assert folder.scan([ODD, "data/one.parquet"]).collect()["a"].to_list() == [2, 3, 1]
    assert folder.scan([ODD]).collect().columns == ["a"]  # not `chrom` of the name


def test_writers_that_are_shut_out_publish_nothing(place, folder, tmp_path) -> None:
    writer = locate(place)
    assert put(writer, "_commits/1", b"1", exclusive=True)
    other = locate(place)
    other.admit("c" * 32)
    folder.shut_out()
    (tmp_path / "source").write_bytes(b"2")
    for begun in (BEGUN, "c" * 32):
        with pytest.raises(StorageError):
            writer.publish("_commits/2", b"2", exclusive=True, begun=begun)
        with pytest.raises(StorageError):
            writer.publish_new("data/2", memoryview(b"2"), begun=begun)
        with pytest.raises(StorageError):
            writer.publish_file("plan", stored(tmp_path / "source"), begun=begun)
    assert folder.publish("_manifest.parquet", b"3", exclusive=False, begun=None)
    folder.sweep()
    assert "_staging" not in folder.names()
    assert folder.below("_commits") == {"_commits/1": 1}
    assert folder.below("data") == {}
    assert folder.sizes_of(["plan", "_manifest.parquet"]) == {"_manifest.parquet": 1}
    folder.admit(BEGUN)
    assert put(writer, "_commits/2", b"2", exclusive=True)


def test_one_driver_at_a_time(place) -> None:
    first = locate(place)
    lock = first.lock()
    with pytest.raises(RunBusy, match=rf"is being written by .*process {os.getpid()} on ") as told:
        locate(place).lock()
    # Nothing that was asked for is wrong: the same command works when the other has ended.
    assert told.value.exit_code == 1
    lock.release()
    lock.release()
    locate(place).lock().release()


def test_free_bytes_are_told_where_they_are_bounded(folder) -> None:
    free = folder.free_bytes()
    assert free is None if isinstance(folder.place, str) else free > 0


@given(st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 45), st.integers(-1, 45))))
def test_ranges_are_those_of_the_file(content: bytes, reads: list[tuple[int, int]]) -> None:
    fetched = []

    def fetch(start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(content)
        fetched.append((start, end))
        return content[start:end]

    file = RangedFile(fetch, len(content))
    for offset, size in reads:
        file.seek(offset)
        assert file.read(size) == content[offset:][: size if size >= 0 else None]
    # All of it fits into one window.
    assert len(fetched) <= 1


def test_a_footer_and_what_is_near_take_one_request() -> None:
    content = os.urandom(3 * WINDOW_BYTES)
    fetched = []

    def fetch(start: int, end: int) -> bytes:
        fetched.append((start, end))
        return content[start:end]

    file = RangedFile(fetch, len(content))
    file.seek(-8, os.SEEK_END)
    assert file.read(8) == content[-8:]
    file.seek(-5000, os.SEEK_END)
    assert file.read(4992) == content[-5000:-8]
    assert fetched == [(2 * WINDOW_BYTES, 3 * WINDOW_BYTES)]
    file.seek(10)
    large = bytearray(2 * WINDOW_BYTES)
    assert file.readinto(large) == 2 * WINDOW_BYTES
    assert bytes(large) == content[10 : 10 + 2 * WINDOW_BYTES]
    assert len(fetched) == 2
