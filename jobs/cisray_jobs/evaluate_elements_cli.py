"""The commands `cisray evaluate` about elements: reporter assays, and enhancers of genes.

Knows options and how results are printed; what is done is the business of the modules that are
called. Heavy imports wait until a command needs them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cisray_jobs import options as opt
from cisray_jobs.console import display_of, log_to_stderr

Table = Annotated[
    Path | None,
    typer.Option(help="Effects in the layout of Kircher et al. 2019, with a header."),
]
Release = Annotated[
    str | None, typer.Option(help="Which rows, by column Release. [default: GRCh38]")
]
Element = Annotated[
    list[str] | None, typer.Option(help="Element, by its name; repeat to add. [default: all]")
]
MinBarcodes = Annotated[
    int | None, typer.Option(help="Rows with fewer barcodes are left out. [default: 10]")
]
Runs = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=RUN", help="A sealed run of `score variants`; repeat to add."),
    opt.Holds.NAMED_PLACE,
]
External = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=TABLE", help="Somebody else's scores; repeat to add."),
    opt.Holds.NAMED_PLACE,
]
Seed = Annotated[int | None, typer.Option(help="Seed of all that is drawn. [default: 0]")]
Bootstraps = Annotated[
    int | None, typer.Option(help="Draws of a bootstrap interval. [default: 1000]")
]
OutFolder = Annotated[Path | None, typer.Option(help="Folder to write.")]


def mpra_variants(
    table: Table = None,
    fasta: opt.Fasta = None,
    out: Annotated[Path | None, typer.Option(help="VCF to write.")] = None,
    release: Release = None,
    element: Element = None,
    min_barcodes: MinBarcodes = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
    config: opt.Config = None,
    as_json: opt.Json = False,
) -> None:
    """Write the alleles of a reporter assay as VCF, deletions anchored, to be scored.

    Example: cisray evaluate mpra-variants --table elements.tsv.gz --fasta hg38.fa --out mpra.vcf
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_mpra import MakeMpraVariants

    done = load_config(MakeMpraVariants, given, config).run()
    if as_json:
        output.as_json(done)
        return
    lines = {"alleles": f"{done.alleles:,}"}
    rows = {"read": done.rows, "used": done.used, "left out": done.left_out}
    output.facts(done.path, lines | _row_lines(rows))


def mpra(
    table: Table = None,
    fasta: opt.Fasta = None,
    run: Runs = None,
    out: OutFolder = None,
    external: External = None,
    statistic: Annotated[
        str | None, typer.Option(help="SAD, SADR or logSAD. [default: SAD]")
    ] = None,
    tracks: opt.Tracks = None,
    release: Release = None,
    element: Element = None,
    min_barcodes: MinBarcodes = None,
    matching: Annotated[
        Path | None,
        typer.Option(help="Table with element and tracks (a query): which belong together."),
    ] = None,
    train_column: Annotated[
        str | None, typer.Option(help="Column of the table that says train or test.")
    ] = None,
    train_share: Annotated[
        float | None, typer.Option(help="Or the share of variants to draw. [default: 0.25]")
    ] = None,
    block_bp: Annotated[
        int | None,
        typer.Option(help="Bases of a block, for the grouped split and intervals. [default: 20]"),
    ] = None,
    bootstraps: Bootstraps = None,
    control: Annotated[
        bool, typer.Option("--control", help="Also judge with effects shuffled.")
    ] = False,
    min_scored: Annotated[
        float | None,
        typer.Option(help="Least share of rows that each source has scores of. [default: 0.5]"),
    ] = None,
    seed: Seed = None,
    config: opt.Config = None,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Hold scores against saturation mutagenesis: lasso and training-free, Pearson R by element.

    Example: cisray evaluate mpra --table elements.tsv.gz --fasta hg38.fa --run enformer=runs/mpra
    --out evaluations/mpra
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_mpra import EvaluateMpra

    log_to_stderr(verbose=verbose)
    done = load_config(EvaluateMpra, given, config).evaluate()
    if as_json:
        output.as_json(done)
        return
    means = {f"mean R, {name}": shown(value) for name, value in done.means.items()}
    output.facts(done.path, _row_lines(done.rows) | means)


def shown(value: float | None) -> str:
    """Write a number with three decimals, and None as a word.

    >>> shown(0.62345), shown(None)
    ('0.623', 'undefined')
    """
    return "undefined" if value is None else f"{value:.3f}"


def _row_lines(rows: Any) -> dict[str, str]:
    """Tell how many rows came in, were used and were left out, by reason."""
    left: Mapping[str, int] = rows["left out"]
    lines = {"rows": f"{rows['read']:,} read = {rows['used']:,} used + {sum(left.values()):,} not"}
    return lines | {f"left out, {reason}": f"{count:,}" for reason, count in left.items()}


def enhancers(
    pairs: Annotated[
        Path | None, typer.Option(help="Pairs in the layout of the ENCODE CRISPRi benchmark.")
    ] = None,
    out: OutFolder = None,
    model: opt.Model = None,
    fasta: opt.Fasta = None,
    tss: Annotated[
        Path | None,
        typer.Option(
            help="BED of annotated starts, genes in column 4. [default: those that PAIRS states]"
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called in tables. [default: model]")
    ] = None,
    head: opt.Head = None,
    tracks: Annotated[
        list[str] | None,
        typer.Option(help="Tracks of the prediction; repeat to add. [default: CAGE:*K562*]"),
    ] = None,
    external: External = None,
    cell_type: Annotated[
        str | None, typer.Option(help="Only pairs of this CellType. [default: all]")
    ] = None,
    bins: Annotated[int | None, typer.Option(help="Bins around the TSS. [default: 3]")] = None,
    element_bp: Annotated[
        int | None, typer.Option(help="Bases around an element's middle. [default: 2000]")
    ] = None,
    replacement: Annotated[
        str | None, typer.Option(help="What replaces an element: random or shuffled bases.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Replacements that are averaged. [default: 3]")
    ] = None,
    max_unknown: Annotated[
        float | None, typer.Option(help="Largest share of N in a window. [default: 0.5]")
    ] = None,
    edges: Annotated[
        list[int] | None,
        typer.Option(
            help="Edges of bins of distance in bp, from 0; repeat to add. "
            "[default: 0, 3000, 12500, 34500, 131000]"
        ),
    ] = None,
    bootstraps: Bootstraps = None,
    control: Annotated[
        bool, typer.Option("--control", help="Also judge with labels shuffled.")
    ] = False,
    seed: Seed = None,
    workers: Annotated[
        str | None,
        typer.Option(help="Ray actors that score genes, or auto. [default: 0, this process]"),
    ] = None,
    num_gpus: opt.NumGpus = None,
    device: opt.Device = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads per worker.")] = None,
    address: opt.Address = None,
    config: opt.Config = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Score element-gene pairs by a model, and hold scores against CRISPRi screens by distance.

    Example: cisray evaluate enhancers --pairs crispri.tsv.gz --model enformer.safetensors
    --fasta hg38.fa --out evaluations/enhancers
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_enhancers import EvaluateEnhancers

    log_to_stderr(verbose=verbose)
    done = load_config(EvaluateEnhancers, given, config).evaluate(display_of(quiet=quiet))
    if as_json:
        output.as_json(done)
        return
    numbers = {f"AUPRC, {score}": shown(value) for score, value in done.auprc.items()}
    output.facts(done.path, _row_lines(done.rows) | numbers)
