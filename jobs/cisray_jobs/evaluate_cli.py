"""The commands `cisray evaluate`: scores held against what is known, as the paper did.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated

import typer

from cisray_jobs.console import display_of, log_to_stderr
from cisray_jobs.options import Address, Config, Holds, Json, Quiet, Verbose, Workers, given_options

Runs = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="NAME=RUN", help="A run of variants to judge. Repeat to add."),
    Holds.NAMED_PLACE,
]
Externals = Annotated[
    list[str] | None,
    typer.Option(
        "--external",
        metavar="NAME=TABLE",
        help="Scores of others, keyed by chrom, pos, ref and alt or by variant; "
        "NAME=TABLE::COLUMN,COLUMN chooses columns. Repeat to add.",
    ),
    Holds.NAMED_PLACE,
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(help="Fine-mapped eQTLs, a table; or a folder of TISSUE_pos.vcf, TISSUE_neg.vcf."),
]
OutFolder = Annotated[Path | None, typer.Option(help="Folder to write.")]
LayoutOfLabels = Annotated[
    str | None,
    typer.Option(
        help="gtex-susie, eqtl-catalogue, synthetic, synthetic-truth, prepared or plain. [default: "
        "by its columns]"
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME=COLUMN", help="What the table calls a column."),
]
Tissue = Annotated[
    str | None, typer.Option(help="The tissue of a table of one. [default: the file's name]")
]
Only = Annotated[
    list[str] | None, typer.Option(help="Only this tissue. Repeat to add. [default: all]")
]
Method = Annotated[str | None, typer.Option(help="Fine-mapper whose rows count. [default: SUSIE]")]
VariantColumn = Annotated[
    str | None,
    typer.Option(
        "--variant", help="Column that spells variants. [default: variant, variant_hg38 of GTEx]"
    ),
]
Tss = Annotated[
    Path | None, typer.Option(help="BED of the genes' starts, for distances from them.")
]
PipPositive = Annotated[
    float | None, typer.Option(help="Positives have a larger PIP. [default: 0.9]")
]
Statistic = Annotated[str | None, typer.Option(help="Statistic of the runs. [default: SAD]")]
TracksOfRuns = Annotated[
    list[str] | None, typer.Option("--tracks", help="Which tracks of the runs; all without it.")
]
MinScored = Annotated[
    float | None,
    typer.Option(help="Stop if fewer of the alleles have scores, a share. [default: 0.5]"),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of all that is drawn. [default: 44]")]

evaluate_app = typer.Typer(
    help="Hold scores against what is known: eQTLs, reporter assays, enhancers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@evaluate_app.callback()
def _root() -> None:
    """Hold scores against what is known: eQTLs, reporter assays, enhancers."""


@evaluate_app.command("eqtl")
def evaluate_eqtl(
    labels: LabelsFile = None,
    run: Runs = None,
    external: Externals = None,
    out: OutFolder = None,
    layout: LayoutOfLabels = None,
    column: Columns = None,
    tissue: Tissue = None,
    only: Only = None,
    method: Method = None,
    variant: VariantColumn = None,
    tss: Tss = None,
    pip_positive: PipPositive = None,
    pip_negative: Annotated[
        float | None, typer.Option(help="Negatives have a smaller PIP. [default: 0.01]")
    ] = None,
    z_same_gene: Annotated[
        float | None, typer.Option(help="|Z| of a negative of the same gene. [default: 4]")
    ] = None,
    z_genome_wide: Annotated[
        float | None, typer.Option(help="|Z| of a negative of another gene. [default: 6]")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(help="How negatives are found: z-score or tss-distance. [default: z-score]"),
    ] = None,
    seed: Seed = None,
    score: Annotated[
        str | None,
        typer.Option(
            help="forest, or without a classifier max-abs, mean-abs or norm. [default: forest]"
        ),
    ] = None,
    statistic: Statistic = None,
    tracks: TracksOfRuns = None,
    repeats: Annotated[
        int | None, typer.Option(help="Repeats of the cross-validation. [default: 100]")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Folds of each repeat. [default: 8]")] = None,
    strata: Annotated[
        list[int] | None,
        typer.Option(
            help="Edges of strata by distance from the gene's start, bp. Repeat to add. "
            "[default: 1000, 10000, 100000]"
        ),
    ] = None,
    min_scored: MinScored = None,
    workers: Workers = None,
    address: Address = None,
    config: Config = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Ask whether scores tell fine-mapped eQTLs from matched negatives, tissue by tissue.

    Example: cisray evaluate eqtl --labels GTEx_49tissues_release1.tsv.bgz --run runs/gtex --out e
    """
    given = given_options(locals())
    from cisray_jobs import evaluation_shown, output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_eqtl import EvaluateEqtl

    log_to_stderr(verbose=verbose)
    found = load_config(EvaluateEqtl, given, config).evaluate(display_of(quiet=quiet))
    output.as_json(found) if as_json else evaluation_shown.eqtls(found)


@evaluate_app.command("direction")
def evaluate_direction(
    labels: LabelsFile = None,
    run: Runs = None,
    external: Externals = None,
    out: OutFolder = None,
    matching: Annotated[
        Path | None,
        typer.Option(
            help="Table of tissue and query, a row for each query of tracks. [default: tracks "
            "whose description has the words of the tissue]"
        ),
    ] = None,
    assay: Annotated[
        str | None,
        typer.Option(help="Assay that words are matched in; empty for all. [default: CAGE]"),
    ] = None,
    layout: LayoutOfLabels = None,
    column: Columns = None,
    tissue: Tissue = None,
    only: Only = None,
    method: Method = None,
    variant: VariantColumn = None,
    pip_positive: PipPositive = None,
    min_variants: Annotated[
        int | None, typer.Option(help="Tissues with fewer have no number. [default: 33]")
    ] = None,
    seed: Seed = None,
    statistic: Statistic = None,
    tracks: TracksOfRuns = None,
    min_scored: MinScored = None,
    config: Config = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Ask whether the sign of scores tells which way fine-mapped eQTLs go, tissue by tissue.

    Example: cisray evaluate direction --labels eqtls.parquet --run runs/gtex --out direction
    """
    given = given_options(locals())
    from cisray_jobs import evaluation_shown, output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_direction import EvaluateDirection

    log_to_stderr(verbose=verbose)
    found = load_config(EvaluateDirection, given, config).evaluate()
    output.as_json(found) if as_json else evaluation_shown.directions(found)


@evaluate_app.command("compare")
def evaluate_compare(
    first: Annotated[Path, typer.Argument(help="Folder of an evaluation, or of `evaluate all`.")],
    second: Annotated[Path, typer.Argument(help="Folder of another of the same kind.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write the comparison into as well.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two evaluations number by number, with a paired test where their rows are the same.

    Example: cisray evaluate compare eqtl-enformer eqtl-basenji2 --out compared
    """
    from cisray_jobs import evaluation_shown, output
    from cisray_jobs.compare_evaluations import compare_evaluations

    found = compare_evaluations(first, second, out)
    if as_json:
        output.as_json(found[0] if len(found) == 1 else found)
        return
    evaluation_shown.compared(found)
