"""The first half of the demonstration: a genome, what there is to learn from it, and a model.

Knows the commands of datasets and of training; knows nothing of scores.
"""

from pathlib import Path
from typing import Any

import yaml

from cisray_jobs.build_dataset import BuildDataset
from cisray_jobs.config import load_config
from cisray_jobs.demo.setting import (
    ARCHITECTURE,
    CHROMOSOMES,
    INPUT_BP,
    TARGET_BINS,
    UNSEEN,
    Demo,
)
from cisray_jobs.split_dataset import SplitDataset
from cisray_jobs.synthetic_data import make_synthetic
from cisray_jobs.train import train_model
from cisray_jobs.train_settings import TrainModel


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
    genome, split = demo.fasta, demo.path("split")
    options: dict[str, Any] = {
        "genome": f"human={genome}",
        "test_chromosomes": f"human={UNSEEN}",
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


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "undefined"
