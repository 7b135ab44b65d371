"""What tests of whole jobs over variants share: a very small model, a genome with traps, the CLI.

Knows how to make inputs and how to call the command in this process; knows nothing of what should
come out.
"""

import random
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from cisray.model.checkpoints.checkpoint import Checkpoint
from cisray.model.checkpoints.native import save_native
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer
from cisray.store.scan import Run, open_run
from cisray_jobs import cli

# 64 tokens of 8 bp, the middle 24 predicted: windows of 512 bp, bins of 8 bp, targets of 192 bp.
VERY_SMALL = EnformerConfig(
    channels=24,
    num_transformer_layers=2,
    num_heads=2,
    key_size=8,
    num_downsamples=3,
    channels_divisible_by=4,
    input_bp=512,
    target_bins=24,
    heads={"human": 5, "mouse": 3},
)
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
EXACT = ("--mantissa-bits", 23, "--precision", "float32")


def write_model(path: Path, config: EnformerConfig = VERY_SMALL, seed: int = 5) -> Path:
    """Write a model whose every tensor is random."""
    model = initialise(Enformer(config), seed, randomise_all=True)
    return save_native(path, Checkpoint.build(config, model.state_dict(), provenance={}))


def genome_with_traps(seed: int = 3) -> dict[str, str]:
    """Make chromosomes with repeats, a gap, lower case, and one that is shorter than a window."""
    dice = random.Random(seed)

    def bases(count: int) -> str:
        return "".join(dice.choices("ACGT", k=count))

    return {
        # 300: 40 A; 700: 30 CA; 1,500: a gap of 300; 2,200: 100 in lower case.
        "chr1": bases(299)
        + "C"
        + "A" * 40
        + bases(359)
        + "G"
        + "CA" * 30
        + bases(740)
        + "N" * 300
        + bases(400)
        + bases(100).lower()
        + bases(700),
        "chr2": "TTTTT" + bases(1_189) + "C" + "GGGGG",
        "chrM": bases(300),
    }


def write_genome(path: Path, texts: dict[str, str]) -> Path:
    """Write a FASTA in lines of 60."""
    with path.open("w") as file:
        for name, text in texts.items():
            lines = [text[first : first + 60] for first in range(0, len(text), 60)]
            file.write("\n".join([f">{name} made up", *lines, ""]))
    return path


def write_vcf(path: Path, records: Iterable[tuple[object, ...]]) -> Path:
    """Write records of chrom, pos, id, ref, alt."""
    lines = ["\t".join(map(str, (*record, ".", "PASS", "."))) for record in records]
    path.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return path


def command(*words: object) -> int:
    """Run `cisray WORDS` in this process and give its exit code."""
    return cli.run([str(word) for word in words])


def score(kind: str, out: Path, *options: object) -> Run:
    """Run `cisray score KIND` in this process and open what it sealed.

    An option given twice counts with its last value.
    """
    here = ("--workers", 0, "--threads", 1, "--quiet")
    assert command("score", kind, "--out", out, *here, *options) == 0, options
    return open_run(out)


def values(run: Run) -> pl.DataFrame:
    """Read every row in the order of the input."""
    return run.scan().sort("variant").collect()
