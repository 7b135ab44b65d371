"""A small genome and a tiny model, made once, for tests that run whole jobs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gapped_genome import write_genome

from cisray.engine.progress import Display
from cisray.store.scan import Run, open_run
from cisray_jobs.config import load_config
from cisray_jobs.models import init_model
from cisray_jobs.score_genome import ScoreGenome


@dataclass(frozen=True)
class Inputs:
    """A FASTA of three chromosomes (150,000, 61,234 and 40,001 bp, the last with a gap of N from
    12,000 to 24,000) and a model of 4,096 bp in, 16 bins of 128 bp out, 8 tracks.
    """

    fasta: Path
    model: Path


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    write_genome(folder / "genome.fa")
    init_model(folder / "tiny.safetensors", "tiny", seed=7, randomise_all=True)
    return Inputs(folder / "genome.fa", folder / "tiny.safetensors")


Score = Callable[..., Run]


@pytest.fixture(scope="session")
def score(inputs: Inputs) -> Score:
    """Run the job quietly in this process (unless told otherwise) and open the run."""

    def run(out: Path, **options: Any) -> Run:
        given = {"model": inputs.model, "fasta": inputs.fasta, "workers": 0, "threads": 1}
        load_config(ScoreGenome, {**given, "out": out, **options}).run(Display.NONE)
        return open_run(out)

    return run

    return score


@pytest.fixture(scope="session")
def whole(score: Score, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole genome at full precision, scored in this process, undisturbed, the fast way."""
    return score(tmp_path_factory.mktemp("whole") / "run", mantissa_bits=23, tiles_per_shard=4)


@pytest.fixture(scope="session")
def plain(score: Score, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same with the plain predictor."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return score(out, mantissa_bits=23, tiles_per_shard=4, predictor="plain")
