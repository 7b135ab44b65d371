"""Datasets whose writers are killed by SIGKILL at random moments: resumed, they are the same.

A trial kills the job again and again at moments drawn from the time that it takes undisturbed, and
then lets it finish. Until then the directory is no dataset.
"""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from killed_jobs import KILLED, Nursery
from measured_genomes import steps, write_bigwig, write_fasta, write_sequences, write_table
from tfrecord_writer import payload, write_folder

from cisray.dataset.examples import Dataset
from cisray.errors import DatasetError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TRIALS = 4
KILLS = 3


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """A build of 12 shards and an import of 12 files, of the same 24 windows."""
    folder = tmp_path_factory.mktemp("inputs")
    fasta = write_fasta(folder / "g.fa")
    rows = [("chr1", 100 * i, 100 * i + 256, ("train", "valid")[i >= 20]) for i in range(24)]
    write_bigwig(folder / "a.bw", steps())
    table = write_table(folder / "targets.txt", [{"file": "a.bw"}, {"file": "a.bw", "scale": 2}])
    bed = write_sequences(folder / "s.bed", rows)
    numbers = {
        "num_targets": 2,
        "seq_length": 256,
        "pool_width": 16,
        "crop_bp": 64,
        "target_length": 8,
    }
    with Genome.open(fasta) as genome:
        payloads = [record(genome, *row[:3]) for row in rows]
    files = {f"train-{i}.tfr": payloads[2 * i : 2 * i + 2] for i in range(10)}
    files |= {f"valid-{i}.tfr": payloads[20 + 2 * i : 22 + 2 * i] for i in range(2)}
    return {
        "build": {
            "tracks": {"human": str(table)},
            "fasta": {"human": str(fasta)},
            "sequences": {"human": str(bed)},
            "input_bp": 256,
            "bin_bp": 16,
            "target_bins": 8,
            "examples_per_shard": 2,
        },
        "import": {
            "folder": str(write_folder(folder / "pub", rows, files, **numbers)),
            "head": "human",
            "fasta": str(fasta),
            "extend_to": 320,
        },
    }


def record(genome: Genome, chrom: str, start: int, end: int) -> bytes:
    import numpy as np

    codes = genome.fetch(Interval(chrom, start, end))
    return payload(codes, np.full((8, 2), start / 4 + 1, np.float16))


def files_of(root: Path) -> Mapping[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.mark.long
@pytest.mark.parametrize("job", ["build", "import"])
def test_killed_again_and_again_it_is_the_same_dataset(
    job: str, jobs: dict[str, dict[str, object]], nursery: Nursery, tmp_path: Path
) -> None:
    nursery.warm(job, {**jobs[job], "out": str(tmp_path / "warm")})
    whole = {**jobs[job], "out": str(tmp_path / "undisturbed")}
    code, first = nursery.run(job, whole)
    assert code == 0
    seconds = min(first, nursery.run(job, {**whole, "out": str(tmp_path / "timed")})[1])
    expected = files_of(tmp_path / "undisturbed")
    assert sum(name.endswith(".arrow") for name in expected) == 12
    dice, killed = random.Random(6), 0
    for trial in range(TRIALS):
        out = tmp_path / f"trial{trial}"
        options = {**jobs[job], "out": str(out)}
        for _ in range(KILLS):
            code, _ = nursery.run(job, options, kill_after=dice.uniform(0.02, 0.8) * seconds)
            killed += code == KILLED
            assert code in (0, KILLED)
            if not (out / "dataset.json").exists():
                with pytest.raises(DatasetError):
                    Dataset.open(out)
        assert nursery.run(job, options)[0] == 0
        assert files_of(out) == expected, f"trial {trial}"
    assert killed >= TRIALS // 2
