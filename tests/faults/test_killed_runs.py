"""A genome run whose processes are killed with SIGKILL: it must seal, and lose nothing.

`campaign` runs the real command again and again over one run directory, killing the driver,
everything or an actor at a random moment each time, and then lets it finish.
"""

import random
import time
from pathlib import Path

import pytest
from campaign import kill, kill_actor, kill_everything, start
from gapped_genome import write_genome
from polars.testing import assert_frame_equal

from cisray.engine.progress import Display
from cisray.store.scan import open_run
from cisray_jobs.config import load_config
from cisray_jobs.models import init_model
from cisray_jobs.score_genome import ScoreGenome

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(900)]

SHARDS = 63  # 124 tiles, two to a shard, on three chromosomes


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The options of a run at full precision with a thread per process, so that bits agree."""
    folder = tmp_path_factory.mktemp("inputs")
    write_genome(folder / "genome.fa")
    init_model(folder / "tiny.safetensors", "tiny", seed=7, randomise_all=True)
    return {
        "model": folder / "tiny.safetensors",
        "fasta": folder / "genome.fa",
        "mantissa_bits": 23,
        "tiles_per_shard": 2,
        "threads": 1,
    }


@pytest.fixture(scope="module")
def undisturbed(job: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, in this process, with nobody killed."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    load_config(ScoreGenome, {**job, "out": out, "workers": 0}).run(Display.NONE)
    return out


def options(job: dict[str, object], out: Path) -> list[object]:
    given = {**job, "out": out, "workers": 2}
    return [x for name, value in given.items() for x in (f"--{name.replace('_', '-')}", value)]


def committed(out: Path) -> int:
    return len(list((out / "_commits").glob("*.json")))


def disturb(job: dict[str, object], out: Path, victim: str, after: int) -> None:
    """Run until `after` shards are committed, then kill the victim; let an actor's run finish."""
    driver = start("score", "genome", *options(job, out))
    deadline = time.monotonic() + 120
    while committed(out) < after and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert driver.poll() is None, driver.communicate()[0]
    if victim == "actor":
        assert kill_actor(driver.pid)
    elif victim == "driver":
        kill(driver.pid)
    else:
        kill_everything(driver.pid)
    if victim != "actor":
        driver.wait(30)
        assert driver.returncode == -9
        return
    printed, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, printed


def finish_and_compare(job: dict[str, object], out: Path, undisturbed: Path) -> None:
    driver = start("score", "genome", *options(job, out))
    printed, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, printed
    assert_same(out, undisturbed)


def assert_same(out: Path, undisturbed: Path) -> None:
    run, reference = open_run(out), open_run(undisturbed)
    # Bit for bit: a shard is scored whole, with the neighbours that it has in any other run.
    assert_frame_equal(run.scan().collect(), reference.scan().collect(), check_exact=True)
    # Nothing is left of the dead: every data file is one that the run counts.
    on_disk = {str(path.relative_to(out)) for path in (out / "data").rglob("*.parquet")}
    assert on_disk == set(run.files["path"])
    assert not (out / "_staging").exists()


@pytest.mark.long
def test_actor_driver_and_everything_killed_in_turn(
    job: dict[str, object], undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    disturb(job, out, "driver", after=3)
    disturb(job, out, "everything", after=min(SHARDS - 8, committed(out) + 3))
    assert not (out / "_SUCCESS").exists()
    disturb(job, out, "actor", after=min(SHARDS - 5, committed(out) + 3))
    assert_same(out, undisturbed)


@pytest.mark.slow
def test_ten_kills_in_a_row_at_random_moments(
    job: dict[str, object], undisturbed: Path, tmp_path: Path
) -> None:
    """From the first imports to the seal: runs are killed until ten kills have hit, then compared.

    A run that seals before it is hit is compared and followed by a fresh one.
    """
    dice = random.Random(20)
    kills = runs = 0
    while kills < 10:
        out = tmp_path / f"run{runs}"
        driver = start("score", "genome", *options(job, out))
        time.sleep(dice.uniform(0.2, 9))
        if dice.random() < 0.4 and driver.poll() is None:
            kills += kill_actor(driver.pid)
            time.sleep(dice.uniform(0, 2))
        if driver.poll() is None:
            kills += 1
            if dice.random() < 0.5:
                kill(driver.pid)  # what it started dies, or goes on for a while
            else:
                kill_everything(driver.pid)
            driver.wait(30)
        else:
            finish_and_compare(job, out, undisturbed)
            runs += 1
    finish_and_compare(job, tmp_path / f"run{runs}", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["actor", "driver", "everything"])
def test_ten_runs_killed_once_each(
    job: dict[str, object], undisturbed: Path, tmp_path: Path, victim: str
) -> None:
    dice = random.Random(victim)
    for round_ in range(10):
        out = tmp_path / f"run{round_}"
        disturb(job, out, victim, after=dice.randrange(0, SHARDS - 6))
        finish_and_compare(job, out, undisturbed)
