"""Runs killed by SIGKILL at random moments, again and again: each seals, and lost nothing.

A trial runs a command and kills it at a moment drawn from the time that it takes undisturbed, so
that every step is hit: opening inputs, planning, the first file, commits, sealing. What is left is
run again, killed again half of the time, and then finished and compared bit for bit. Kills of
actors, drivers and whole trees on Ray are in `test_killed_runs.py`.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from effect_jobs import genome_with_traps, write_genome, write_model, write_vcf
from killed_jobs import KILLED, Nursery
from polars.testing import assert_frame_equal

from cisray.store.scan import open_run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

QUICK_TRIALS = 20
TRIALS = 200
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
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def references(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> list[Undisturbed]:
    """A genome run and a run of variants, some of them rejects, each of about eight shards."""
    folder = tmp_path_factory.mktemp("inputs")
    texts = genome_with_traps()
    inputs = {
        "model": str(write_model(folder / "m.safetensors")),
        "fasta": str(write_genome(folder / "g.fa", texts)),
    }
    vcf = write_vcf(folder / "v.vcf", _records(texts["chr1"]))
    jobs = {
        "genome": inputs | EXACT | {"tiles_per_shard": 2},
        "variants": inputs
        | EXACT
        | {"vcf": str(vcf), "window_placement": "grid", "rows_per_shard": 3},
    }
    return [_undisturbed(nursery, job, jobs[job], folder) for job in jobs]


def _records(text: str) -> list[tuple[object, ...]]:
    dice = random.Random(4)
    records: list[tuple[object, ...]] = [("chr1", 5, "gone", text[4], "<DEL>")]
    for number in range(24):
        pos = 400 + 12 * number
        ref = text[pos - 1 : pos + (number % 6 == 0)].upper()
        records.append(("chr1", pos, f"rs{number}", ref, dice.choice("ACGT".replace(ref[0], ""))))
    return records


def _undisturbed(
    nursery: Nursery, job: str, options: Mapping[str, object], folder: Path
) -> Undisturbed:
    nursery.warm(job, {**options, "out": str(folder / f"{job}_warm")})
    out = folder / job
    code, seconds = nursery.run(job, {**options, "out": str(out)})
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
    nursery: Nursery, references: list[Undisturbed], place: Callable[[int], str], trials: int
) -> None:
    dice = random.Random(trials)
    kills = [
        trial(nursery, references[number % len(references)], place(number), dice)
        for number in range(trials)
    ]
    # A machine that is suddenly quick ends runs before they are killed; most must have been hit.
    assert sum(kill > 0 for kill in kills) >= trials / 2


def test_twenty_runs_killed_at_random(nursery, references, tmp_path: Path) -> None:
    _campaign(nursery, references, lambda number: str(tmp_path / f"{number}"), QUICK_TRIALS)


@pytest.mark.slow
def test_two_hundred_runs_killed_at_random(nursery, references, tmp_path: Path) -> None:
    _campaign(nursery, references, lambda number: str(tmp_path / f"{number}"), TRIALS)
