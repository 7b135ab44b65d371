"""Runs killed by SIGKILL at random moments, again and again: each seals, and lost nothing.

A trial runs a command and kills it at a moment drawn from the time that it takes undisturbed, so
that every step is hit: opening inputs, planning, the first file, commits, sealing. What is left is
run again, killed again half of the time, and then finished and compared bit for bit; on a disk, and
in an object store. Kills of actors, drivers and whole trees on Ray are in `test_killed_runs.py`.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from effect_jobs import genome_with_traps, write_genome, write_model, write_vcf
from killed_jobs import KILLED, LEASE, Nursery
from polars.testing import assert_frame_equal

from cisray.store.scan import open_run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

TRIALS = pytest.param(200, marks=pytest.mark.slow)
FEW, FEWER = (pytest.param(trials, marks=pytest.mark.long) for trials in (14, 6))
EXACT = {"mantissa_bits": 23, "precision": "float32", "restart": False}


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """A job, what it wrote when nobody was killed, and the seconds it took."""

    job: str
    options: Mapping[str, object]
    rows: pl.DataFrame
    digest: str
    seconds: float


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """A genome run and a run of variants, some of them rejects, each of about eight shards."""
    folder = tmp_path_factory.mktemp("inputs")
    texts = genome_with_traps()
    inputs = {
        "model": str(write_model(folder / "m.safetensors")),
        "fasta": str(write_genome(folder / "g.fa", texts)),
    }
    vcf = write_vcf(folder / "v.vcf", _records(texts["chr1"]))
    of_variants = {"vcf": str(vcf), "window_placement": "grid", "rows_per_shard": 3}
    return {
        "genome": inputs | EXACT | {"tiles_per_shard": 2},
        "variants": inputs | EXACT | of_variants,
    }


def _records(text: str) -> list[tuple[object, ...]]:
    dice = random.Random(4)
    records: list[tuple[object, ...]] = [("chr1", 5, "gone", text[4], "<DEL>")]
    for number in range(24):
        pos = 400 + 12 * number
        ref = text[pos - 1 : pos + (number % 6 == 0)].upper()
        records.append(("chr1", pos, f"rs{number}", ref, dice.choice("ACGT".replace(ref[0], ""))))
    return records


def _undisturbed(
    nursery: Nursery, job: str, options: Mapping[str, object], out: str
) -> Undisturbed:
    code, seconds = nursery.run(job, {**options, "out": out})
    assert code == 0
    run = open_run(out)
    return Undisturbed(job, options, run.scan().collect(), run.manifest.digest, seconds)


def trial(nursery: Nursery, reference: Undisturbed, out: str, dice: random.Random) -> int:
    """Kill a run at least once, unless it is quicker than that; finish it, compare it."""
    options = {**reference.options, "out": out}
    kills = 0
    while True:
        moment = dice.uniform(0, reference.seconds)
        code, _ = nursery.run(reference.job, options, kill_after=moment)
        kills += code == KILLED
        if dice.random() < 0.5:
            break
    code, _ = nursery.run(reference.job, options)
    assert code == 0
    run = open_run(out)
    assert_frame_equal(run.scan().collect(), reference.rows, check_exact=True)
    assert run.manifest.digest == reference.digest
    assert run.verify() == run.files.height
    return kills


def _campaign(
    nursery: Nursery, jobs: dict[str, dict[str, object]], place: str, trials: int
) -> None:
    references = [
        _undisturbed(nursery, job, options, f"{place}/{job}") for job, options in jobs.items()
    ]
    dice = random.Random(trials)
    kills = [
        trial(nursery, references[number % len(references)], f"{place}/{number}", dice)
        for number in range(trials)
    ]
    # A machine that is suddenly quick ends runs before they are killed; most must have been hit.
    assert sum(kill > 0 for kill in kills) >= trials / 2


@pytest.fixture
def warm(jobs, tmp_path: Path) -> Callable[[Nursery], Nursery]:
    def run(nursery: Nursery) -> Nursery:
        for job, options in jobs.items():
            nursery.warm(job, {**options, "out": str(tmp_path / "warm" / job)})
        return nursery

    return run


@pytest.mark.parametrize("trials", [FEW, TRIALS])
def test_runs_on_a_disk_killed_at_random(jobs, warm, tmp_path: Path, trials: int) -> None:
    with Nursery() as nursery:
        _campaign(warm(nursery), jobs, str(tmp_path), trials)


@pytest.mark.parametrize("trials", [FEWER, TRIALS])
def test_runs_in_an_object_store_killed_at_random(jobs, warm, bucket: str, trials: int) -> None:
    """What a killed driver held for itself is free again when its lease has run out."""
    with Nursery({LEASE: "1"}) as nursery:
        _campaign(warm(nursery), jobs, bucket, trials)
