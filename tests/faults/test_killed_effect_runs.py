"""Runs over variants whose processes are killed with SIGKILL: they must seal, and lose nothing."""

import random
import time
from pathlib import Path

import pytest
from campaign import kill, kill_actor, kill_everything, start
from effect_jobs import EXACT, command, write_genome, write_model, write_vcf
from polars.testing import assert_frame_equal

from cisray.store.scan import open_run

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]

ROWS = 120
SHARDS = 30


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """A file with rejects and indels; a thread each and full precision, so that bits agree."""
    folder = tmp_path_factory.mktemp("inputs")
    dice = random.Random(6)
    text = "".join(dice.choices("ACGT", k=20_000))
    records = []
    for number in range(ROWS):
        pos = dice.randrange(1, 19_990)
        ref = text[pos - 1 : pos + 2 * (number % 10 == 0)]
        records.append(("chr1", pos, f"rs{number}", ref, dice.choice("ACGT".replace(ref[0], ""))))
    records[50:50] = [("chr1", 5, ".", text[4], "<DEL>"), ("chr9", 5, ".", "A", "C")]
    fasta, model = (
        write_genome(folder / "g.fa", {"chr1": text}),
        write_model(folder / "m.safetensors"),
    )
    vcf = write_vcf(folder / "v.vcf", records)
    inputs = ("--model", model, "--fasta", fasta, "--vcf", vcf)
    return (*inputs, *EXACT, "--rows-per-shard", ROWS // SHARDS, "--threads", 1)


@pytest.fixture(scope="module")
def undisturbed(options, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, in this process, with nobody killed."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    given = ("score", "variants", *options, "--out", out, "--workers", 0, "--quiet")
    assert command(*given) == 0
    return out


def committed(out: Path) -> int:
    return len(list((out / "_commits").glob("*.json")))


def disturb(options, out: Path, victim: str, after: int) -> None:
    """Run until `after` shards are committed, then kill the victim; let an actor's run finish."""
    driver = start("score", "variants", *options, "--out", out, "--workers", 2)
    deadline = time.monotonic() + 120
    while committed(out) < after and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert driver.poll() is None, driver.communicate()[0]
    if victim == "actor":
        assert kill_actor(driver.pid)
        printed, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0, printed
        return
    if victim == "driver":
        kill(driver.pid)
    else:
        kill_everything(driver.pid)
    driver.wait(30)
    assert driver.returncode == -9


def finish_and_compare(options, out: Path, undisturbed: Path) -> None:
    driver = start("score", "variants", *options, "--out", out, "--workers", 2)
    printed, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, printed
    assert_same(out, undisturbed)


def assert_same(out: Path, undisturbed: Path) -> None:
    run, reference = open_run(out), open_run(undisturbed)
    # Bit for bit: a shard is scored whole, and a duplicate where its twin is.
    assert_frame_equal(run.scan().collect(), reference.scan().collect(), check_exact=True)
    assert_frame_equal(run.rejects.collect(), reference.rejects.collect(), check_exact=True)
    assert run.manifest.digest == reference.manifest.digest
    assert run.verify() == run.files.height
    assert run.scan().collect().height == ROWS
    # Nothing is left of the dead: every data file is one that the run counts.
    on_disk = {str(path.relative_to(out)) for path in (out / "data").rglob("*.parquet")}
    assert on_disk == set(run.files["path"])
    assert not (out / "_staging").exists()


@pytest.mark.slow
def test_actor_driver_and_everything_killed_in_turn(options, undisturbed, tmp_path: Path) -> None:
    out = tmp_path / "run"
    disturb(options, out, "driver", after=3)
    disturb(options, out, "everything", after=min(SHARDS - 10, committed(out) + 3))
    assert not (out / "_SUCCESS").exists()
    disturb(options, out, "actor", after=min(SHARDS - 5, committed(out) + 3))
    assert_same(out, undisturbed)


@pytest.mark.long
def test_killed_in_this_process_and_finished_by_a_slower_machine(
    options, undisturbed, tmp_path: Path
) -> None:
    """Its shards stay those of the run; then begun anew with --restart, the values are the same."""
    out = tmp_path / "run"
    driver = start("score", "variants", *options, "--out", out, "--workers", 0)
    deadline = time.monotonic() + 120
    while committed(out) < 2:
        assert time.monotonic() < deadline
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.01)
    kill(driver.pid)
    driver.wait(30)
    done = {path: path.stat().st_mtime_ns for path in (out / "_commits").glob("*.json")}
    # Rows per shard are left to the run that is there.
    at = options.index("--rows-per-shard")
    rest = (*options[:at], *options[at + 2 :])
    given = ("score", "variants", "--out", out, "--workers", 0, "--quiet")
    assert command(*given, *rest, "--threads", 2) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    # Two threads may take sums in another order.
    frames = [open_run(path).scan().collect() for path in (out, undisturbed)]
    assert_frame_equal(*frames, rel_tol=1e-3, abs_tol=1e-6)
    assert open_run(out).manifest.digest == open_run(undisturbed).manifest.digest
    assert command(*given, *options, "--restart") == 0
    assert_same(out, undisturbed)


@pytest.mark.slow
def test_ten_kills_in_a_row_at_random_moments(options, undisturbed, tmp_path: Path) -> None:
    """From the first imports to the seal: killed until ten kills have hit, then compared."""
    dice = random.Random(21)
    kills = runs = 0
    while kills < 10:
        out = tmp_path / f"run{runs}"
        driver = start(
            "score", "variants", *options, "--out", out, "--workers", dice.choice((0, 2))
        )
        time.sleep(dice.uniform(0.2, 9))
        if driver.poll() is None:
            kills += 1
            if dice.random() < 0.5:
                kill(driver.pid)  # what it started dies, or goes on for a while
            else:
                kill_everything(driver.pid)
        driver.communicate(timeout=300)
        if (out / "_SUCCESS").exists():
            assert_same(out, undisturbed)
            runs += 1
    finish_and_compare(options, tmp_path / f"run{runs}", undisturbed)
