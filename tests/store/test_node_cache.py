"""Copies on a machine's own disk: made once, whole or not at all, and never believed unread."""

import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cisray.engine.attempt import fault_of
from cisray.errors import ConfigError, FastaError, StorageError
from cisray.store import node_cache
from cisray.store.node_cache import NodeCache, Original

BYTES = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Check:
    """Compare the digest, and leave a line in `trace` for each file that was read in full."""

    trace: Path
    digest: str = SHA256

    def __call__(self, copy: Path) -> None:
        note(self.trace, "check")
        found = hashlib.sha256(copy.read_bytes()).hexdigest()
        if found != self.digest:
            raise FastaError(f"{copy} is another file: {found}")


def note(trace: Path, word: str) -> None:
    with trace.open("a") as lines:
        lines.write(f"{word}\n")


def said(trace: Path) -> list[str]:
    return trace.read_text().split() if trace.exists() else []


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_cache, "SPARE_BYTES", 0)


@pytest.fixture
def original(tmp_path: Path) -> Original:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "genome.fa").write_bytes(BYTES)
    (shared / "genome.fa.fai").write_text("index")
    files = (shared / "genome.fa", shared / "genome.fa.fai")
    return Original("fasta", SHA256, files, Check(tmp_path / "trace"))


@pytest.fixture
def cache(tmp_path: Path) -> NodeCache:
    return NodeCache.below(tmp_path / "disk")


def test_the_second_reader_needs_the_original_no_more(
    cache: NodeCache, original: Original, tmp_path: Path
) -> None:
    with cache.copy_of(original, "first") as copy:
        assert copy.read_bytes() == BYTES
        assert copy.with_name("genome.fa.fai").read_text() == "index"
    shutil.rmtree(tmp_path / "shared")
    with cache.copy_of(original, "first") as again:
        assert again == copy
        assert again.read_bytes() == BYTES
    assert said(tmp_path / "trace") == ["check"]
    with cache.copy_of(original, "second"):
        pass
    with cache.copy_of(original, "second"):
        pass
    assert said(tmp_path / "trace") == ["check", "check"]  # once for each session


def test_the_same_content_under_another_name_is_the_same_copy(
    cache: NodeCache, original: Original, tmp_path: Path
) -> None:
    with cache.copy_of(original, "s") as copy:
        pass
    moved = tmp_path / "hg38.fa"
    with cache.copy_of(Original("fasta", SHA256, (moved,), original.check), "s") as again:
        assert again == copy


def test_only_this_user_may_enter_and_nobody_writes(cache: NodeCache, original: Original) -> None:
    with cache.copy_of(original, "s") as copy:
        assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    for folder in (cache.folder, copy.parent, copy.parents[1]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


@pytest.mark.parametrize("how", ["open to all", "a link"])
def test_a_folder_that_others_have_prepared_is_refused(tmp_path: Path, how: str) -> None:
    own = tmp_path / f"cisray-{os.getuid()}"
    if how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        own.symlink_to(tmp_path / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o777)
    with pytest.raises(StorageError, match="no folder of this user alone"):
        NodeCache.below(tmp_path)


def test_a_relative_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="absolute"):
        NodeCache.below(Path("scratch"))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"no copy can be kept on .*: Not a directory"):
        NodeCache.below(tmp_path / "file" / "disk")


def test_room_is_looked_for_before_anything_is_copied(
    cache: NodeCache, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = len(BYTES) + len("index")
    monkeypatch.setattr(node_cache, "free_bytes", lambda folder: needed + 9)
    monkeypatch.setattr(node_cache, "SPARE_BYTES", 10)
    told = r"needs 256,005 bytes, 10 are to stay free.*256,014"
    with pytest.raises(StorageError, match=told), cache.copy_of(original, "s"):
        raise AssertionError
    assert cache.copies() == []
    monkeypatch.setattr(node_cache, "SPARE_BYTES", 9)
    with cache.copy_of(original, "s") as copy:
        assert copy.exists()


def test_a_disk_that_fills_up_is_this_machine_s_trouble_alone(
    cache: NodeCache, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker elsewhere may go on: the engine must not take it for the disk of the run."""

    def full(source: Path, copy: Path) -> None:
        copy.write_bytes(BYTES[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(copy))

    monkeypatch.setattr(shutil, "copyfile", full)
    told = r"No space left on device \(/"
    with pytest.raises(StorageError, match=told) as caught, cache.copy_of(original, "s"):
        raise AssertionError
    assert fault_of(caught.value).stops is None
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]


def test_an_original_that_is_gone_is_named(
    cache: NodeCache, original: Original, tmp_path: Path
) -> None:
    gone = original.files[0]
    gone.unlink()
    told = rf"No such file or directory \({gone}\)"
    with pytest.raises(StorageError, match=told), cache.copy_of(original, "s"):
        raise AssertionError


def test_an_original_of_another_digest_leaves_nothing(
    cache: NodeCache, original: Original, tmp_path: Path
) -> None:
    (tmp_path / "shared" / "genome.fa").write_bytes(BYTES[:-1] + b"?")
    with pytest.raises(FastaError, match="another file"), cache.copy_of(original, "s"):
        raise AssertionError
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]


def flip(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[77_777] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, len(BYTES) - 1)


def lose(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [flip, cut, lose])
@pytest.mark.parametrize("session", ["s", "later"])
def test_a_copy_that_was_harmed_is_made_anew(
    cache: NodeCache, original: Original, harm: Callable[[Path], None], session: str
) -> None:
    """In the session that has read it, where only its looks are compared, and in a later one."""
    with cache.copy_of(original, "s") as copy:
        pass
    harm(copy)
    with cache.copy_of(original, session) as again:
        assert again.read_bytes() == BYTES


def test_damage_that_cannot_be_seen_is_found_by_the_next_session(
    cache: NodeCache, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_cache._Slot, "_stamp", lambda self: [])
    with cache.copy_of(original, "s") as copy:
        pass
    flip(copy)
    with cache.copy_of(original, "s") as again:
        assert again.read_bytes() != BYTES
    with cache.copy_of(original, "later") as again:
        assert again.read_bytes() == BYTES


def ask(folder: Path, original: Original, trace: Path, pause_s: float) -> None:
    """Be one of several processes: each tells when it copies, which takes a while."""
    really = shutil.copyfile

    def slow_copy(source: Path, copy: Path) -> None:
        note(trace, f"copy-{source.name}")
        really(source, copy)
        time.sleep(pause_s)

    shutil.copyfile = slow_copy
    node_cache.SPARE_BYTES = 0
    with NodeCache(folder).copy_of(original, "s") as copy:
        note(trace, "whole" if copy.read_bytes() == BYTES else "broken")


def start(*arguments: object) -> BaseProcess:
    process = SPAWN.Process(target=ask, args=arguments)
    process.start()
    return process


def test_of_several_that_start_at_once_one_copies(
    cache: NodeCache, original: Original, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    processes = [start(cache.folder, original, trace, 0.5) for _ in range(3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(said(trace)) == ["check", "copy-genome.fa", "copy-genome.fa.fai"] + ["whole"] * 3


def test_a_copier_that_is_killed_leaves_nothing_that_is_taken_for_whole(
    cache: NodeCache, original: Original, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    process = start(cache.folder, original, trace, 60.0)
    deadline = time.monotonic() + 60
    while not any(cache.folder.glob(".*/files/genome.fa")):  # its bytes may or may not be there
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert cache.copies() == []
    kept = cache.clear()  # of what is being made nothing is removed
    assert (kept.removed, kept.kept) == ((), ())
    assert any(cache.folder.glob(".*/files/genome.fa"))
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert cache.copies() == []
    with cache.copy_of(original, "s") as copy:
        assert copy.read_bytes() == BYTES
    assert [path.name for path in cache.folder.iterdir() if path.name.startswith(".")] == []


def test_what_a_killed_copier_leaves_is_cleared(
    cache: NodeCache, original: Original, tmp_path: Path
) -> None:
    left = cache.folder / f".fasta-{SHA256}.making" / "files"
    left.mkdir(parents=True)
    (left / "genome.fa").write_bytes(BYTES[:100])
    assert cache.clear().removed == ()
    assert list(cache.folder.iterdir()) == []


def test_list_and_clear(cache: NodeCache, original: Original, tmp_path: Path) -> None:
    with cache.copy_of(original, "s") as copy:
        (there,) = cache.copies()
        assert (there.kind, there.digest) == ("fasta", SHA256)
        assert there.bytes == len(BYTES) + len("index")
        assert there.source == str(tmp_path / "shared" / "genome.fa")
        assert cache.clear().kept == (there,)  # it is in use
        assert copy.exists()
    with copy.open("rb") as opened:
        assert cache.clear().removed == (there,)
        assert list(cache.folder.iterdir()) == []
        assert opened.read() == BYTES  # who has it open keeps it
    assert cache.copies() == []


def test_a_folder_that_was_never_used_is_not_made(tmp_path: Path) -> None:
    unused = NodeCache.below(tmp_path / "none", make=False)
    assert unused.copies() == []
    assert unused.clear().removed == ()
    assert not (tmp_path / "none").exists()
