"""The commands `cisray dataset`: what a model learns from.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cisray_jobs.options import Json

dataset_app = typer.Typer(
    help="Make what a model learns from.", no_args_is_help=True, rich_markup_mode=None
)


@dataset_app.callback()
def _root() -> None:
    """Make what a model learns from."""


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
    ] = None,
    blacklist: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Stretches whose signal means nothing, BED."),
    ] = None,
    unmappable: Annotated[
        list[str] | None,
        typer.Option(metavar="HEAD=BED", help="Stretches that reads cannot be placed in, BED."),
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
