"""The job `cisray demo`: the whole loop on a small generated genome.

Knows how to make up a genome and in which order a newcomer meets the commands; every step is the
real one, with the command that does the same on real data printed before it.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cisray.engine.progress import Display
from cisray.store.scan import open_run
from cisray_jobs.config import expanded, load_config
from cisray_jobs.models import init_model
from cisray_jobs.score_genome import ScoreGenome
from cisray_jobs.units import counted, size

SEED = 20
LINE_BP = 60
# Lengths that no tile divides; chrC has a gap wider than a window, as a centromere would be.
CHROMOSOMES = {"chrA": 150_000, "chrB": 61_234, "chrC": 40_001}
GAP = ("chrC", 12_000, 24_000)


def run_demo(out: Path, *, workers: str, say: Callable[[str], None], quiet: bool = False) -> None:
    """Make a genome and a model, score the genome, and print a query of the result.

    Run again, it finishes or reuses what is there.
    """
    out = expanded(out)
    out.mkdir(parents=True, exist_ok=True)
    fasta, model, run = out / "genome.fa", out / "tiny.safetensors", out / "run"
    say("1. A genome of three chromosomes, made up, and a tiny model with random weights")
    say(f"   $ cisray model init {model} --size tiny --seed {SEED} --randomise-all")
    if not fasta.exists():
        write_genome(fasta)
    if not model.exists():
        init_model(model, "tiny", SEED, randomise_all=True)
    say("2. Score every tile of every chromosome on a pool of Ray actors")
    say(f"   $ cisray score genome --model {model} --fasta {fasta} --out {run} --workers {workers}")
    given = {"model": model, "fasta": fasta, "out": run, "workers": workers}
    summary = load_config(ScoreGenome, given).run(Display.NONE if quiet else Display.AUTO)
    say(
        f"   {summary.rows:,} rows in {counted(summary.files, 'file')}, {size(summary.bytes)}, "
        f"sealed; tiles without any A, C, G or T, skipped: {summary.tiles_skipped}"
    )
    say("3. Ask: where does a CAGE track peak?")
    say(f'   >>> cisray.open_run("{run}").scan(tracks="CAGE:*").top_k(5, by="t0003").collect()')
    with pl.Config(tbl_rows=5, tbl_hide_dataframe_shape=True, float_precision=4):
        say(str(strongest_bins(run)))
    say("With your own data: cisray score genome --model M --fasta hg38.fa --out RUN --plan")


def strongest_bins(run: Path) -> pl.DataFrame:
    """Query the five bins where the first CAGE track is highest."""
    return open_run(run).scan(tracks="CAGE:*").top_k(5, by="t0003").collect()


def write_genome(fasta: Path) -> None:
    """Write the made-up chromosomes: random bases, drifting in GC content, and one gap of N.

    The file is there whole or not at all: half a genome would be scored like a whole one.
    """
    generator = np.random.default_rng(SEED)
    unfinished = fasta.with_name(f".{fasta.name}.{os.getpid()}")
    with unfinished.open("w") as handle:
        for chrom, length in CHROMOSOMES.items():
            bases = _random_bases(generator, length)
            if chrom == GAP[0]:
                bases[GAP[1] : GAP[2]] = ord("N")
            handle.write(f">{chrom} made up by cisray demo\n")
            text = bases.tobytes().decode()
            for first in range(0, length, LINE_BP):
                handle.write(text[first : first + LINE_BP] + "\n")
    unfinished.replace(fasta)


def _random_bases(generator: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """Draw bases whose GC content wanders between 30 and 60 per cent along the chromosome."""
    gc = 0.45 + 0.15 * np.sin(np.arange(length) / 7_000 + generator.uniform(0, 6))
    strong = generator.random(length) < gc
    either = generator.integers(0, 2, length)
    letters = np.frombuffer(b"ATGC", np.uint8)
    bases: NDArray[np.uint8] = letters[2 * strong + either]
    return bases
