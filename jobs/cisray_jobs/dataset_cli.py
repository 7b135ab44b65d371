"""The commands `cisray dataset`: what a model learns from.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cisray.errors import ConfigError
from cisray_jobs.console import display_of, log_to_stderr
from cisray_jobs.options import Address, Holds, Json, Quiet, Verbose, Workers, given_options

dataset_app = typer.Typer(
    help="Make and inspect what a model learns from.",
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
    """Make and inspect what a model learns from."""


@dataset_app.command("synthetic")
def dataset_synthetic(
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist, or be empty.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    chromosomes: Annotated[int, typer.Option(min=1, help="How many chromosomes.")] = 5,
    chromosome_bp: Annotated[int, typer.Option(help="Bases of each chromosome.")] = 600_000,
    individuals: Annotated[int, typer.Option(min=10, help="People with genotypes.")] = 200,
    as_json: Json = False,
) -> None:
    """Make up a small lifelike genome with tracks, variants in linkage, and the truth about them.

    Example: cisray dataset synthetic --out made-up --seed 1
    """
    from cisray_jobs import output
    from cisray_jobs.synthetic_data import make_synthetic

    made = make_synthetic(
        out,
        seed=seed,
        chromosomes=chromosomes,
        chromosome_bp=chromosome_bp,
        individuals=individuals,
    )
    if as_json:
        output.as_json(made)
        return
    output.facts(
        made.path,
        {
            "bases": f"{made.bases:,}",
            "tracks": f"{made.tracks}",
            "genes": f"{made.genes:,}, {made.elements:,} promoters and enhancers",
            "decoys": f"{made.decoys:,} sites without effect",
            "variants": f"{made.variants:,}, {made.causal:,} of them causal",
        },
    )


@dataset_app.command("split")
def dataset_split(
    genome: Annotated[
        list[str],
        typer.Option(metavar="HEAD=FASTA", help="A genome, as human=hg38.fa; a second one also."),
        Holds.NAMED_PLACE,
    ],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist.")],
    net: Annotated[
        Path | None,
        typer.Option(help="UCSC net of the first genome with the second, plain or gzip."),
    ] = None,
    chain: Annotated[Path | None, typer.Option(help="Chains instead of a net.")] = None,
    self_chain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD=FILE",
            help="Chains or net of a genome with itself: duplications, and what X and Y share.",
        ),
        Holds.NAMED_PLACE,
    ] = None,
    levels: Annotated[
        Literal["all", "top"],
        typer.Option(help="Which fills of a net count; top are the outermost, as in Basenji."),
    ] = "all",
    gaps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD=BED", help="Assembly gaps, BED; otherwise runs of 100 N in the FASTA."
        ),
        Holds.NAMED_PLACE,
    ] = None,
    blacklist: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Stretches whose signal means nothing, BED."),
        Holds.NAMED_PLACE,
    ] = None,
    unmappable: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Stretches that reads cannot be placed in, BED."),
        Holds.NAMED_PLACE,
    ] = None,
    chromosomes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD=NAMES",
            help="Only these chromosomes, as human=chr1,chr2; otherwise all but alternate "
            "haplotypes, patches and decoys.",
        ),
    ] = None,
    valid_chromosomes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD=NAMES", help="Chromosomes that go to valid, with all that is aligned."
        ),
    ] = None,
    test_chromosomes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD=NAMES", help="Chromosomes that go to test, with all that is aligned."
        ),
    ] = None,
    valid: Annotated[float | None, typer.Option(help="Share of valid. [0.1]")] = None,
    test: Annotated[float | None, typer.Option(help="Share of test. [0.1]")] = None,
    folds: Annotated[
        int | None, typer.Option(help="So many sets of one size, fold0 and on, instead.")
    ] = None,
    input_bp: Annotated[int | None, typer.Option(help="Bases of a sequence. [196608]")] = None,
    stride: Annotated[
        int | None, typer.Option(help="From one sequence to the next. [--input-bp]")
    ] = None,
    test_stride: Annotated[
        int | None, typer.Option(help="The same of valid and test. [--stride]")
    ] = None,
    snap_bp: Annotated[
        int | None, typer.Option(help="Sequences start at multiples of it. [128]")
    ] = None,
    margin_bp: Annotated[
        int | None,
        typer.Option(help="Bases free beside another set, for shifts in training. [3]"),
    ] = None,
    max_unmappable: Annotated[
        float | None,
        typer.Option(help="Share of a sequence not to be mapped from which it is dropped. [0.5]"),
    ] = None,
    region_bp: Annotated[int | None, typer.Option(help="Longest region. [1000000]")] = None,
    min_alignment: Annotated[
        int | None, typer.Option(help="Bases an alignment must have to count. [100000]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Which way chance falls. [44]")] = None,
    as_json: Json = False,
) -> None:
    """Divide genomes into train, valid and test so that no alignment joins two of them.

    Example: cisray dataset split --genome human=hg38.fa --genome mouse=mm10.fa
    --net hg38.mm10.syn.net.gz --gaps human=hg38_gaps.bed --out split
    """
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.split_dataset import SplitDataset, split_facts

    given: dict[str, Any] = {
        "genome": tuple(genome),
        "out": out,
        "net": net,
        "chain": chain,
        "self_chain": tuple(self_chain) if self_chain else None,
        "levels": levels,
        "gaps": tuple(gaps) if gaps else None,
        "blacklist": tuple(blacklist) if blacklist else None,
        "unmappable": tuple(unmappable) if unmappable else None,
        "chromosomes": tuple(chromosomes) if chromosomes else None,
        "valid_chromosomes": tuple(valid_chromosomes) if valid_chromosomes else None,
        "test_chromosomes": tuple(test_chromosomes) if test_chromosomes else None,
        "valid": valid,
        "test": test,
        "folds": folds,
        "input_bp": input_bp,
        "stride": stride,
        "test_stride": test_stride,
        "snap_bp": snap_bp,
        "margin_bp": margin_bp,
        "max_unmappable": max_unmappable,
        "region_bp": region_bp,
        "min_alignment": min_alignment,
        "seed": seed,
    }
    made = load_config(SplitDataset, given).split()
    if as_json:
        output.as_json(made)
        return
    output.facts(made.path, split_facts(made))


@dataset_app.command("build")
def dataset_build(
    tracks: Annotated[
        list[str],
        typer.Option(
            metavar="HEAD=TABLE",
            help="Table of targets of a head; its column file names the bigWigs. Repeat for heads.",
        ),
        Holds.NAMED_PLACE,
    ],
    fasta: Annotated[
        list[str], typer.Option(metavar="HEAD=FASTA", help="Genome of a head."), Holds.NAMED_PLACE
    ],
    out: Annotated[Path, typer.Option(help="Dataset directory to write or to go on with.")],
    split: Annotated[
        Path | None, typer.Option(help="Folder that `cisray dataset split` wrote.")
    ] = None,
    sequences: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Your own sequences: chrom, start, end, split."),
        Holds.NAMED_PLACE,
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
        Holds.NAMED_PLACE,
    ] = None,
    unmappable: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Stretches whose bins are capped to a quantile."),
        Holds.NAMED_PLACE,
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
    options = given_options(locals())
    from cisray_jobs.build_dataset import BuildDataset
    from cisray_jobs.config import load_config

    log_to_stderr(verbose=verbose)
    by_head = {
        name: _by_head(f"--{name}", entries)
        for name, entries in (
            ("tracks", tracks),
            ("fasta", fasta),
            ("sequences", sequences),
            ("blacklist", blacklist),
            ("unmappable", unmappable),
        )
    }
    job = load_config(BuildDataset, {**options, **by_head})
    _show(job.run(display_of(quiet=quiet)), as_json=as_json)


@dataset_app.command("import")
def dataset_import(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder with statistics.json, sequences.bed, targets.txt and tfrecords/."
        ),
    ],
    head: Annotated[str, typer.Option(help="Name of the head, such as human.")],
    out: Annotated[Path, typer.Option(help="Dataset directory to write, or to add the head to.")],
    fasta: Annotated[
        Path | None,
        typer.Option(help="Genome that every record is compared with, and extended from."),
    ] = None,
    extend_to: Annotated[
        int | None, typer.Option(help="Bases of the input, more than the records have.")
    ] = None,
    crop_to: Annotated[
        int | None, typer.Option(help="Bases of the input, fewer than the records have.")
    ] = None,
    target_bins: Annotated[
        int | None, typer.Option(help="Bins in the middle to keep. [default: all]")
    ] = None,
    margin_bp: Margin = None,
    allow_empty_tracks: AllowEmpty = False,
    workers: Workers = None,
    address: Address = None,
    restart: Restart = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Import published TFRecords of Basenji, Enformer or Borzoi; TensorFlow is not needed.

    Example: cisray dataset import basenji_barnyard/human --fasta hg38.fa --head human
    --extend-to 196608 --out DATASET
    """
    options = given_options(locals())
    from cisray_jobs.config import load_config
    from cisray_jobs.import_dataset import ImportDataset

    log_to_stderr(verbose=verbose)
    job = load_config(ImportDataset, options)
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
    verify: Annotated[
        bool, typer.Option("--verify", help="First read every file and compare its digest.")
    ] = False,
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
    opened = Dataset.open(dataset)
    if verify:
        opened.verify()
    _show(describe(opened, examples=wanted, figures=figures), as_json=as_json)


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
