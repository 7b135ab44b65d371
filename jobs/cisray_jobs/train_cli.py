"""The command `cisray train`: from options to a training run and what it came to.

Knows options; everything else is the job's business. Heavy imports wait until the command runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cisray_jobs import options as opt
from cisray_jobs.console import display_of, log_to_stderr
from cisray_jobs.marks import TRAINED
from cisray_jobs.units import counted

MOST_ASSAYS = 6  # in a line


def train(
    dataset: Annotated[Path | None, typer.Option(help="Dataset directory.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run, to begin or go on.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Weights to begin with: any checkpoint that can be converted."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Or begin anew: tiny, small, enformer, basenji2-tiny or basenji2."),
    ] = None,
    heads: Annotated[
        str | None, typer.Option(help="Comma-separated heads. [default: all of the dataset]")
    ] = None,
    new_heads: Annotated[
        str | None, typer.Option(help="Heads of MODEL to replace by new ones.")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="Parameters that do not move, as 'stem.*'; repeat to add."),
    ] = None,
    adapt: Annotated[
        list[str] | None,
        typer.Option(help="Linear layers to adapt at low rank, as 'transformer.*.to_q'."),
    ] = None,
    adapter_rank: Annotated[int | None, typer.Option(help="[default: 8]")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; heads take turns.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples of a step, over all workers. [default: 64]")
    ] = None,
    micro_batches: Annotated[
        int | None, typer.Option(help="Parts of a worker's batch, one at a time. [default: 1]")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="[default: 0.0005]")] = None,
    warmup_rounds: Annotated[
        int | None, typer.Option(help="Rounds until the full rate. [default: 5000]")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of the gradient; 0 is none. [default: 0.2]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="[default: 0]")] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16. [default: float32]")
    ] = None,
    recompute: Annotated[
        str | None,
        typer.Option(
            help="What to compute twice to save memory: none, light, full. [default: none]"
        ),
    ] = None,
    valid_every: Annotated[
        int | None, typer.Option(help="Steps between validations. [default: 1000]")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints. [default: 1000]")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(help="Best checkpoints that stay, beside the newest. [default: 3]")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard's files.")
    ] = False,
    readers: Annotated[
        int | None, typer.Option(help="Processes per worker that read ahead. [default: 0]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Ray workers; 0 is this process without Ray. [default: 0]")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="ddp or fsdp2. [default: ddp]")] = None,
    num_gpus: opt.NumGpus = None,
    device: opt.Device = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads per worker.")] = None,
    address: opt.Address = None,
    config: opt.Config = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every validation.")] = False,
) -> None:
    """Train a model on a dataset, or go on with a run that was interrupted.

    Example: cisray train --config train.yaml --out run
    """
    given = opt.given_options(dict(locals()))
    from cisray.engine.checkpoints import step_of
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.train import train_model
    from cisray_jobs.train_settings import TrainModel

    log_to_stderr(verbose=verbose)
    done = train_model(load_config(TrainModel, given, config), display_of(quiet=quiet))
    if as_json:
        output.as_json(done)
        return
    lines = {"weights": f"after {step_of(done.checkpoint):,} of {done.steps:,} steps"}
    for head, record in done.validation.items():
        lines[f"validation {head}"] = (
            f"Pearson R {shown(record['pearson_r'])} over {record['tracks']} tracks, "
            f"loss {shown(record['loss'])}"
        )
        lines[f"assays of {head}"] = by_assay(record.get("assays"))
    lines["curve"] = str(done.curve)
    output.facts(f"Model {done.model}", lines)


def shown(value: object) -> str:
    """Write a number with four digits, and None as a word.

    >>> shown(0.62345), shown(None)
    ('0.6234', 'undefined')
    """
    return f"{value:.4g}" if isinstance(value, float) else "undefined"


def by_assay(assays: Mapping[str, Mapping[str, Any]] | None) -> str:
    """Write the correlation of each assay and over how many tracks it is, of up to six assays.

    >>> by_assay({"CAGE": {"pearson_r": 0.62345, "tracks": 3, "undefined": 1}})
    'CAGE 0.6234 (3 of 4 tracks)'
    >>> by_assay({}), by_assay(None)
    ('its tracks have none', 'not recorded')
    """
    if not assays:
        return "not recorded" if assays is None else "its tracks have none"
    told = []
    for assay, found in list(assays.items())[:MOST_ASSAYS]:
        defined, every = found["tracks"], found["tracks"] + found["undefined"]
        count = counted(every, "track")
        some = count if defined == every else f"{defined:,} of {count}"
        told.append(f"{assay} {shown(found['pearson_r'])} ({some})")
    more = len(assays) - len(told)
    return ", ".join([*told, *([f"{more:,} more in {TRAINED}"] if more else [])])
