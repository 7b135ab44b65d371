"""The job `cisray demo`: the whole loop on a made-up genome, from bases to causal variants.

Knows in which order a newcomer meets the commands. Every step is the real one, and before it stands
the command that does the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from sklearn.metrics import roc_auc_score

from cisray.engine.progress import Display
from cisray.store.scan import Run, open_run
from cisray_jobs.build_dataset import BuildDataset
from cisray_jobs.config import expanded, load_config
from cisray_jobs.score_genome import ScoreGenome
from cisray_jobs.score_variants import ScoreVariants
from cisray_jobs.split_dataset import SplitDataset
from cisray_jobs.synthetic_data import make_synthetic
from cisray_jobs.train import train_model
from cisray_jobs.train_settings import TrainModel
from cisray_jobs.units import counted, size

Say = Callable[[str], None]

CHROMOSOMES = 5  # the last is kept from training
INPUT_BP, TARGET_BINS = 8_192, 48
ARCHITECTURE = {
    "channels": 144,
    "num_transformer_layers": 1,
    "num_heads": 4,
    "key_size": 16,
    "channels_divisible_by": 8,
    "dropout": 0.1,
}


@dataclass(frozen=True, slots=True)
class DemoSize:
    """How much is made up, and how long the model learns from it."""

    chromosome_bp: int
    region_bp: int
    individuals: int
    steps: int
    warmup: int


WHOLE = DemoSize(chromosome_bp=600_000, region_bp=50_000, individuals=200, steps=900, warmup=50)
# Shows that everything runs: a model of so few steps has learnt nothing.
QUICK = DemoSize(chromosome_bp=60_000, region_bp=20_000, individuals=20, steps=4, warmup=2)


@dataclass(frozen=True, slots=True)
class Demo:
    """Where a demonstration happens, how large it is, and to whom it speaks."""

    out: Path
    of: DemoSize
    seed: int
    workers: str
    say: Say
    display: Display

    def path(self, name: str) -> Path:
        """Give the place of a part."""
        return self.out / name

    def tell(self, number: int, title: str, command: str, options: Mapping[str, object]) -> None:
        """Say what comes, and how it is typed."""
        given = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
        self.say(f"{number}. {title}\n   $ cisray {command} {given}")


def run_demo(
    out: Path, *, workers: str, say: Say, seed: int = 1, quick: bool = False, quiet: bool = False
) -> None:
    """Make a genome up, train a model on it, score the genome and its variants, ask what was found.

    Run again, it finishes or reuses what is there.
    """
    out = expanded(out)
    out.mkdir(parents=True, exist_ok=True)
    display = Display.NONE if quiet else Display.AUTO
    demo = Demo(out, QUICK if quick else WHOLE, seed, workers, say, display)
    make_genome(demo)
    make_dataset(demo)
    model = train(demo)
    score_genome(demo, model)
    score_variants(demo, model)
    say("With your own data: cisray score genome --model M --fasta hg38.fa --out RUN --plan")


def make_genome(demo: Demo) -> None:
    """Step 1: bases, measured tracks, variants, and the truth about them."""
    place = demo.path("made-up")
    options = {
        "out": place, "seed": demo.seed, "chromosomes": CHROMOSOMES,
        "chromosome_bp": demo.of.chromosome_bp, "individuals": demo.of.individuals,
    }  # fmt: skip
    demo.tell(1, "A genome with genes, enhancers and causal variants", "dataset synthetic", options)
    if not place.exists():
        make_synthetic(**options)  # type: ignore[arg-type]  # the names are the same


def make_dataset(demo: Demo) -> None:
    """Steps 2 and 3: which sequences teach and which examine; bases and binned tracks of each."""
    genome, split = demo.path("made-up/genome.fa"), demo.path("split")
    options: dict[str, Any] = {
        "genome": f"human={genome}",
        "test_chromosomes": f"human=chr{CHROMOSOMES}",
        "input_bp": INPUT_BP,
        "stride": INPUT_BP // 2,
        "region_bp": demo.of.region_bp,
        "out": split,
    }
    demo.tell(
        2, "Sequences to learn from, to validate with, and to test on", "dataset split", options
    )
    if not split.exists():
        as_lists = {name: (options[name],) for name in ("genome", "test_chromosomes")}
        load_config(SplitDataset, {**options, **as_lists}).split()
    table = demo.path("made-up/targets.txt")
    options = {
        "split": split, "tracks": f"human={table}", "fasta": f"human={genome}",
        "input_bp": INPUT_BP, "target_bins": TARGET_BINS, "out": demo.path("dataset"), "workers": 0,
    }  # fmt: skip
    demo.tell(3, "Examples: bases, and tracks in bins of 128 bp", "dataset build", options)
    heads = {"tracks": {"human": table}, "fasta": {"human": genome}}
    load_config(BuildDataset, {**options, **heads}).run(demo.display)


def train(demo: Demo) -> Path:
    """Step 4: a small Enformer from random weights. Returns its file."""
    config, out = demo.path("train.yaml"), demo.path("model")
    settings = {
        "dataset": str(demo.path("dataset")),
        "architecture": ARCHITECTURE,
        "steps": demo.of.steps,
        "batch_size": 4,
        "learning_rate": 0.002,
        "warmup_rounds": demo.of.warmup,
        "valid_every": max(1, demo.of.steps // 6),
        "checkpoint_every": max(1, demo.of.steps // 6),
        "seed": demo.seed,
        "device": "cpu",
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    demo.tell(4, "A small Enformer learns from it", "train", {"config": config, "out": out})
    done = train_model(load_config(TrainModel, {"out": out}, config), demo.display)
    told = done.validation["human"]["pearson_r"]
    demo.say(f"   Pearson R of the validation sequences, mean of five tracks: {_shown(told)}")
    return done.model


def score_genome(demo: Demo, model: Path) -> None:
    """Steps 5 and 6: every tile of every chromosome, and a question to the result."""
    run = demo.path("genome-run")
    options = {
        "model": model, "fasta": demo.path("made-up/genome.fa"), "out": run,
        "workers": demo.workers, "threads": 1, "device": "cpu",
    }  # fmt: skip
    demo.tell(5, "Every tile of every chromosome, on a pool of Ray actors", "score genome", options)
    summary = load_config(ScoreGenome, options).run(demo.display)
    demo.say(f"   {summary.rows:,} rows in {counted(summary.files, 'file')}, {size(summary.bytes)}")
    demo.say("6. Ask: where does CAGE of the cell type alpha peak?")
    demo.say(
        f'   >>> cisray.open_run("{run}").scan(tracks="CAGE:alpha").top_k(5, by="t0003").collect()'
    )
    with pl.Config(tbl_rows=5, tbl_hide_dataframe_shape=True, float_precision=4):
        demo.say(str(strongest_bins(run)))


def strongest_bins(run: Path) -> pl.DataFrame:
    """Query the five bins where the CAGE track of alpha is highest."""
    return open_run(run).scan(tracks="CAGE:alpha").top_k(5, by="t0003").collect()


def score_variants(demo: Demo, model: Path) -> None:
    """Steps 7 and 8: every variant of the VCF, and whether the scores know the causal ones."""
    run = demo.path("variant-run")
    options = {
        "model": model, "fasta": demo.path("made-up/genome.fa"),
        "vcf": demo.path("made-up/variants.vcf.gz"), "out": run, "stats": "SAD",
        "workers": demo.workers, "threads": 1, "device": "cpu",
    }  # fmt: skip
    demo.tell(7, "Every variant of a VCF", "score variants", options)
    summary = load_config(ScoreVariants, options).run(demo.display)
    demo.say(f"   {summary.rows:,} variants scored")
    demo.say("8. Do the scores know which variants are causal? (the truth is in made-up/truth)")
    truth = pl.read_parquet(demo.path("made-up/truth/variants.parquet"))
    for name, among in (("all", truth), (f"chr{CHROMOSOMES}, never seen", _untaught(truth))):
        area = causal_auroc(open_run(run), among)
        told = f"{among.height:,} variants, {among['causal'].sum():,} of them causal"
        demo.say(f"   {name}: {told}: AUROC {area:.3f}")


def _untaught(truth: pl.DataFrame) -> pl.DataFrame:
    return truth.filter(pl.col("chrom") == f"chr{CHROMOSOMES}")


def causal_auroc(run: Run, truth: pl.DataFrame) -> float:
    """Tell how often a causal variant scores higher than another one, 0.5 by chance.

    The score is the largest |SAD| over tracks, each in units of its own spread.
    """
    found = truth.select("id", "causal").join(run.scan(stats="SAD").collect(), on="id")
    names = [name for name in found.columns if name.startswith("SAD")]
    sad_VT = found.select(names).to_numpy()
    score_V = (np.abs(sad_VT) / sad_VT.std(axis=0)).max(axis=1)
    return float(roc_auc_score(found["causal"].to_numpy(), score_V))


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "undefined"
