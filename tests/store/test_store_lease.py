"""The driver's lock in an object store: one owner at a time, whoever dies or loses answers."""

import json
import subprocess
import sys
import threading
import time

import pytest

from cisray.errors import RunConflict, StorageError
from cisray.store import lease
from cisray.store.lease import Holder, Lease
from cisray.store.objects import Objects

# Of `lease.LEASE_S` in tests, see the fixture `s3`.
SECONDS = 1.0


def take(bucket: str, lease_s: float = SECONDS) -> Lease:
    return Lease.take(Objects(bucket, hurry_s=1), lease_s=lease_s)


def told(bucket: str) -> Holder:
    seen = Objects(bucket).read("_lock")
    assert seen is not None
    return Holder.model_validate_json(seen.data)


def abandon(held: Lease) -> None:
    """Stop renewing without a word, as a process that is killed does."""
    held._stop.set()
    held._thread.join()


@pytest.fixture
def held(bucket):
    lease_ = take(bucket)
    yield lease_
    lease_.release()


def test_a_lease_is_renewed_as_long_as_it_is_held(bucket, held) -> None:
    first = told(bucket)
    time.sleep(1.5 * SECONDS)
    later = told(bucket)
    assert (later.owner, later.pid, later.released) == (first.owner, first.pid, False)
    # Four times a lease.
    assert 4 <= later.beat - first.beat <= 7
    held.check()
    held.release()
    assert told(bucket).released


def test_a_live_owner_is_seen_before_its_lease_would_end(bucket, held) -> None:
    started = time.monotonic()
    with pytest.raises(RunConflict, match=f"another cisray process .process {told(bucket).pid} on"):
        take(bucket)
    assert time.monotonic() - started < SECONDS
    held.check()


def test_a_dead_owner_is_waited_for_and_then_followed(bucket, caplog) -> None:
    abandon(take(bucket))
    started = time.monotonic()
    second = take(bucket)
    waited = time.monotonic() - started
    assert SECONDS <= waited < 2 * SECONDS
    assert "waiting up to 1 s" in caplog.text
    second.check()
    second.release()


def test_the_time_is_that_which_the_owner_promised(bucket) -> None:
    """Not that of whoever waits: an owner that renews seldom is not robbed in between."""
    slow = take(bucket, lease_s=2.4)
    with pytest.raises(RunConflict, match="another cisray process"):
        take(bucket, lease_s=0.1)
    slow.check()
    slow.release()


def test_who_let_go_is_followed_at_once(bucket) -> None:
    take(bucket).release()
    started = time.monotonic()
    take(bucket).release()
    assert time.monotonic() - started < SECONDS / 2


def test_an_owner_that_was_taken_over_knows_and_lets_go_of_nothing(bucket) -> None:
    first = take(bucket)
    abandon(first)
    second = take(bucket)
    with pytest.raises(RunConflict, match="was taken over by another cisray process"):
        first.check()
    with pytest.raises(RunConflict, match="nothing more is written"):
        first.check()
    first._stop.clear()
    first.release()
    assert not told(bucket).released
    second.check()
    second.release()


def test_an_owner_that_hung_finds_out_by_itself(bucket, monkeypatch, caplog) -> None:
    """Its thread tells, before the driver asks."""
    first = take(bucket)
    hung = threading.Event()
    write = first._objects.write

    def hang(*given, **named):
        hung.wait(10)
        return write(*given, **named)

    monkeypatch.setattr(first._objects, "write", hang)
    second = take(bucket)
    hung.set()
    first._thread.join(5)
    assert not first._thread.is_alive()
    assert "was taken over" in caplog.text
    with pytest.raises(RunConflict):
        first.check()
    second.release()


def test_nobody_is_let_in_by_a_clock_that_is_set(bucket, held, monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with pytest.raises(RunConflict, match="another cisray process"):
        take(bucket)
    held.check()


def test_an_answer_that_is_lost_loses_no_lease(s3, bucket, held) -> None:
    first = told(bucket).beat
    for what in ("lose", "blur", "fail"):
        s3.fault(what, r"PUT .*/_lock", times=2)
        time.sleep(0.5 * SECONDS)
        held.check()
    time.sleep(0.3 * SECONDS)
    assert told(bucket).beat > first
    held.check()


def test_a_store_that_is_away_is_told_and_waited_for(s3, bucket, held) -> None:
    s3.fault("fail", "_lock")
    time.sleep(1.2 * SECONDS)
    with pytest.raises(StorageError, match="_lock cannot be used: 500"):
        held.check()
    s3.heal()
    held.check()


def test_a_renewal_counts_from_when_it_was_first_asked_for(bucket, monkeypatch) -> None:
    """One that was carried out long ago, and is only now found out, proves nothing of today."""
    held = take(bucket)
    abandon(held)
    read, write = held._objects.read, held._objects.write

    def cut_off(name, data, *, instead_of):
        write(name, data, instead_of=instead_of)
        raise StorageError("carried out, and no answer came")

    with monkeypatch.context() as patch:
        patch.setattr(held._objects, "write", cut_off)
        with pytest.raises(StorageError, match="no answer"):
            held._renew()
    asked = lease.elapsed()
    time.sleep(0.3 * SECONDS)
    held._renew()
    assert held._since < asked
    time.sleep(0.3 * SECONDS)
    # By now that is more than half of a lease ago: another renewal is needed to be sure.
    before = read("_lock").data
    held.check()
    assert read("_lock").data != before
    assert held._since > asked


def test_of_many_that_want_it_one_gets_it(bucket) -> None:
    barrier, got, refused = threading.Barrier(4), [], []

    def want() -> None:
        barrier.wait()
        try:
            got.append(take(bucket))
        except RunConflict as error:
            refused.append(str(error))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)
    got[0].release()


def test_what_cannot_be_read_may_be_a_lease_of_another_version(bucket) -> None:
    Objects(bucket).write("_lock", b"[]", instead_of=None)
    started = time.monotonic()
    take(bucket).release()
    assert time.monotonic() - started >= SECONDS


def test_a_process_that_is_killed_leaves_a_lease_that_ends(bucket) -> None:
    script = (
        "import sys, time\n"
        "from cisray.store.lease import Lease\n"
        "from cisray.store.objects import Objects\n"
        "Lease.take(Objects(sys.argv[1]), lease_s=1.0)\n"
        "sys.stdout.write('held\\n'); sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{script}", bucket]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(RunConflict, match=f"process {owner.pid} on "):
        take(bucket)
    owner.kill()
    owner.wait()
    take(bucket).release()


def test_the_object_says_who_holds_it_and_nothing_else(bucket, held) -> None:
    seen = Objects(bucket).read("_lock")
    assert set(json.loads(seen.data)) == {
        "owner", "host", "pid", "lease_s", "beat", "released", "since",
    }  # fmt: skip


def test_time_is_measured_by_a_clock_that_goes_on(monkeypatch) -> None:
    before = lease.elapsed()
    time.sleep(0.05)
    assert 0.05 <= lease.elapsed() - before < 1
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert abs(lease.elapsed() - time.monotonic()) < 1
