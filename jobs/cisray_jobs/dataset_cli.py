"""The commands `cisray dataset`: from genomes and measured tracks to training examples.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cisray.errors import ConfigError
from cisray_jobs.console import display_of, log_to_stderr
from cisray_jobs.options import Address, Json, Quiet, Verbose, Workers

dataset_app = typer.Typer(
    help="Make and inspect datasets of training examples.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Restart = Annotated[
    bool, typer.Option("--restart", help="Discard these heads in OUT and begin anew.")
]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty-tracks", help="Accept tracks that are zero everywhere.")
]
Margin = Annotated[
    int | None,
    typer.Option(
        min=0, help="Bases stored beside the input on each side, for shifts. [default: 3]"
    ),
]


@dataset_app.callback()
def _root() -> None:
    """Make and inspect datasets of training examples."""


@dataset_app.command("build")
def dataset_build(
    tracks: Annotated[
        list[str],
        typer.Option(
            metavar="HEAD=TABLE",
            help="Table of targets of a head; its column file names the bigWigs. Repeat for heads.",
        ),
    ],
    fasta: Annotated[list[str], typer.Option(metavar="HEAD=FASTA", help="Genome of a head.")],
    out: Annotated[Path, typer.Option(help="Dataset directory to write or to go on with.")],
    split: Annotated[
        Path | None, typer.Option(help="Folder that `cisray dataset split` wrote.")
    ] = None,
    sequences: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Your own sequences: chrom, start, end, split."),
    ] = None,
    bigwig_dir: Annotated[
        Path | None,
        typer.Option(help="Where relative paths in the table start. [default: the table's folder]"),
    ] = None,
    blacklist: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD=BED", help="Stretches whose values are capped to the window's median."
        ),
    ] = None,
    unmappable: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Stretches whose bins are capped to a quantile."),
    ] = None,
    unmappable_quantile: Annotated[
        float | None, typer.Option(min=0, max=1, help="That quantile. [default: 0.25]")
    ] = None,
    input_bp: Annotated[
        int | None, typer.Option(help="Bases of a sequence. [default: 196608]")
    ] = None,
    bin_bp: Annotated[int | None, typer.Option(help="Bases of a bin. [default: 128]")] = None,
    target_bins: Annotated[
        int | None, typer.Option(help="Bins in the middle that are targets. [default: 896]")
    ] = None,
    margin_bp: Margin = None,
    examples_per_shard: Annotated[
        int | None, typer.Option(min=1, help="Examples in a file. [default: 256 MiB of targets]")
    ] = None,
    allow_empty_tracks: AllowEmpty = False,
    allow_missing_chromosomes: Annotated[
        bool,
        typer.Option(
            "--allow-missing-chromosomes",
            help="Take 0 for chromosomes that a bigWig does not have.",
        ),
    ] = False,
    workers: Workers = None,
    address: Address = None,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write examples of measured tracks: bases and binned targets of every sequence.

    Example: cisray dataset build --split SPLIT --tracks human=targets.txt --fasta human=hg38.fa
    --out DATASET
    """
    from cisray_jobs.build_dataset import BuildDataset
    from cisray_jobs.config import load_config

    log_to_stderr(verbose=verbose)
    given: dict[str, Any] = {
        "tracks": _by_head("--tracks", tracks),
        "fasta": _by_head("--fasta", fasta),
        "sequences": _by_head("--sequences", sequences),
        "blacklist": _by_head("--blacklist", blacklist),
        "unmappable": _by_head("--unmappable", unmappable),
        "split": split,
        "bigwig_dir": bigwig_dir,
        "unmappable_quantile": unmappable_quantile,
        "input_bp": input_bp,
        "bin_bp": bin_bp,
        "target_bins": target_bins,
        "margin_bp": margin_bp,
        "examples_per_shard": examples_per_shard,
        "allow_empty_tracks": allow_empty_tracks,
        "allow_missing_chromosomes": allow_missing_chromosomes,
        "out": out,
        "workers": workers,
        "address": address,
        "restart": restart,
    }
    job = load_config(BuildDataset, given)
    _show(job.run(display_of(quiet=quiet)), as_json=as_json)


@dataset_app.command("info")
def dataset_info(
    dataset: Annotated[Path, typer.Argument(help="Dataset directory.")],
    examples: Annotated[
        str,
        typer.Option(help="How many examples of each set to look at: a number, 0, or all."),
    ] = "200",
    figures: Annotated[
        Path | None, typer.Option(help="Folder for a PNG of each head and set.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a dataset holds, and what its targets look like track by track.

    Example: cisray dataset info DATASET --figures figures
    """
    from cisray.dataset.examples import Dataset
    from cisray_jobs.describe_dataset import ALL, describe

    if examples != ALL and not examples.isdecimal():
        raise ConfigError(f"--examples {examples!r} must be a whole number, or {ALL}.")
    wanted = None if examples == ALL else int(examples)
    _show(describe(Dataset.open(dataset), examples=wanted, figures=figures), as_json=as_json)


def _show(described: Any, *, as_json: bool) -> None:
    from cisray_jobs import dataset_output, output

    output.as_json(described) if as_json else dataset_output.told(described)


def _by_head(option: str, entries: list[str] | None) -> dict[str, str] | None:
    """Read HEAD=PATH of a repeated option; None where it was not given."""
    found: dict[str, str] = {}
    for entry in entries or []:
        head, separator, path = entry.partition("=")
        if not (head and separator and path):
            raise ConfigError(f"{option} {entry!r}: write HEAD=PATH, as human=PATH.")
        if head in found:
            raise ConfigError(f"{option} names the head {head!r} twice.")
        found[head] = path
    return found or None
