"""A small world in which the guides and the messages of the documents are made to happen."""

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented_world import write_world
from effect_jobs import score

COHORT = ("--tracks", "CAGE:*K562*")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader has, and with a run over `cohort.vcf.gz`."""
    folder = write_world(tmp_path_factory.mktemp("world"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        given = ("--model", "enformer.safetensors", "--fasta", "hg38.fa", "--vcf", "cohort.vcf.gz")
        score("variants", Path("runs/cohort"), *given, *COHORT)
    return folder


@pytest.fixture(scope="session")
def broken_runs(world: Path) -> Iterator[Path]:
    """The world with runs that are not sealed, damaged, and being written to."""
    runs = world / "runs"
    for name in ("unfinished", "damaged", "busy"):
        shutil.copytree(runs / "cohort", runs / name)
    for name in ("unfinished", "busy"):
        (runs / name / "_SUCCESS").unlink()
    first = min((runs / "damaged").glob("data/**/*.parquet"))
    first.unlink()
    with (runs / "busy" / "_lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield world
