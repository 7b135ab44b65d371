"""A genome of two short chromosomes, a tiny model, and the command line with its output caught."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from reported_runs import Runs, make_runs

from cisray_jobs import cli
from cisray_jobs.models import init_model

# Tiles of the tiny model predict 2,048 bp: 9,000 bp are 5 tiles and 71 bins, 3,000 are 2 and 24.
LENGTHS = {"chrA": 9_000, "chrB": 3_000}


@dataclass(frozen=True)
class Inputs:
    """A model of 4,096 bp in, 16 bins of 128 bp out, 8 tracks; and a FASTA of `LENGTHS`."""

    fasta: Path
    model: Path

    def options(self, out: Path, *more: object) -> tuple[str, ...]:
        """What `score genome` needs for a whole run in this process, and then some."""
        given = ("--model", self.model, "--fasta", self.fasta, "--out", out)
        # An option given twice counts with its last value.
        return tuple(map(str, ("score", "genome", *given, "--workers", 0, "--threads", 1, *more)))


def write_fasta(path: Path, lengths: dict[str, int] = LENGTHS) -> Path:
    letters = np.frombuffer(b"ACGT", np.uint8)
    generator = np.random.default_rng(11)
    with path.open("w") as handle:
        for chrom, length in lengths.items():
            text = letters[generator.integers(0, 4, length)].tobytes().decode()
            lines = [text[first : first + 60] for first in range(0, length, 60)]
            handle.write("\n".join([f">{chrom}", *lines, ""]))
    return path


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    model = folder / "tiny.safetensors"
    init_model(model, "tiny", seed=3, randomise_all=True)
    return Inputs(write_fasta(folder / "genome.fa"), model)


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it said; `told` is stderr in one line."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        return " ".join(self.err.split())

    def assert_one_paragraph(self, *fragments: str, code: int = 2) -> None:
        """An error as people want it: exit code, one paragraph, the value and the way out."""
        assert self.code == code, (self.code, self.err)
        assert self.out == ""
        # A long path begins the next line.
        assert self.err.split(maxsplit=1)[0] == "Error:"
        assert "Traceback" not in self.err
        assert "\n\n" not in self.err.strip()
        assert "\nError: " not in self.err
        for fragment in fragments:
            assert fragment in self.told, (fragment, self.told)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that code under test starts import what this one does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


Cli = Callable[..., Answer]


@pytest.fixture
def cisray(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run one command in this process."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = cli.run(list(map(str, arguments)))
        caught = capsys.readouterr()
        return Answer(code, caught.out, caught.err)

    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of every kind that a report can be of."""
    return make_runs(tmp_path_factory.mktemp("reported"))
