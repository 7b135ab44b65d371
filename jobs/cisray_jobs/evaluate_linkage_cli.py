"""The commands `cisray evaluate` that need linkage: fine-mapping, and signed LD profiles.

Knows options and how results are printed; what is done is the business of the modules that are
called. Heavy imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cisray_jobs import options as opt
from cisray_jobs.console import log_to_stderr

OutFolder = Annotated[Path | None, typer.Option(help="Folder to write.")]
GenotypesFile = Annotated[
    Path | None, typer.Option(help="VCF or BCF with genotypes of people; an index helps.")
]
MinMaf = Annotated[
    float | None,
    typer.Option(help="Least share of the rarer allele among the genotypes. [default: 0.01]"),
]
MaxMissing = Annotated[
    float | None,
    typer.Option(help="Largest share of people without a genotype. [default: 0.1]"),
]
MinMatched = Annotated[
    float | None,
    typer.Option(help="Least share of variants that the genotypes have. [default: 0.5]"),
]


def finemap(
    genotypes: GenotypesFile = None,
    out: OutFolder = None,
    sumstats: Annotated[
        Path | None,
        typer.Option(help="Table of gene, variant, z (or beta and se), n; for each tissue."),
    ] = None,
    expression: Annotated[
        Path | None,
        typer.Option(help="Or BED of expression: #chr, start, end, gene, and a column a person."),
    ] = None,
    covariates: Annotated[
        Path | None,
        typer.Option(help="Covariates of the expression: a row each, a column a person."),
    ] = None,
    tissue: Annotated[
        str | None,
        typer.Option(help="Name of the tissue. [default: column tissue, or EXPRESSION's name]"),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN", help="What the table calls a column. Repeat to add."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Column that spells variants. [default: variant]")
    ] = None,
    people: Annotated[
        int | None, typer.Option(help="People of the study. [default: column n]")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this gene. Repeat to add. [default: all]")
    ] = None,
    window_bp: Annotated[
        int | None,
        typer.Option(
            help="Bases to each side of a gene's start, of expression. [default: 1000000]"
        ),
    ] = None,
    min_maf: MinMaf = None,
    max_missing: MaxMissing = None,
    min_matched: MinMatched = None,
    min_variants: Annotated[
        int | None, typer.Option(help="Genes with fewer variants are left out. [default: 10]")
    ] = None,
    effects: Annotated[
        int | None, typer.Option(help="Single effects at most, of a gene. [default: 10]")
    ] = None,
    coverage: Annotated[
        float | None, typer.Option(help="Probability that a credible set holds. [default: 0.95]")
    ] = None,
    purity: Annotated[
        float | None,
        typer.Option(help="Least correlation within a credible set. [default: 0.5]"),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Rounds over all effects at most. [default: 100]")
    ] = None,
    in_sample: Annotated[
        bool,
        typer.Option("--in-sample", help="GENOTYPES are of the people of SUMSTATS."),
    ] = False,
    ridge: Annotated[
        float | None,
        typer.Option(
            help="Share of linkage that is replaced by none. [default: 0 in sample, else the "
            "likeliest]"
        ),
    ] = None,
    config: opt.Config = None,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Fine-map eQTLs by SuSiE, from summary statistics or expression, into labels of `eqtl`.

    Example: cisray evaluate finemap --sumstats blood.tsv.gz --genotypes 1000g.vcf.gz --out labels
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.finemap_eqtls import FinemapEqtls

    log_to_stderr(verbose=verbose)
    done = load_config(FinemapEqtls, given, config).evaluate()
    if as_json:
        output.as_json(done)
        return
    output.facts(_titled(done.path, new=done.new), _row_lines(done.rows) | _shown(done.numbers))


def sldp(
    genotypes: Annotated[
        list[Path] | None,
        typer.Option(help="VCF or BCF with genotypes, of a chromosome, say. Repeat to add."),
    ] = None,
    sumstats: Annotated[
        list[str] | None,
        typer.Option(metavar="TRAIT=TABLE", help="z and n of variants. Repeat to add."),
        opt.Holds.NAMED_PLACE,
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=RUN", help="A run of variants to judge. Repeat to add."),
        opt.Holds.NAMED_PLACE,
    ] = None,
    external: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TABLE", help="Somebody else's scores. Repeat to add."),
        opt.Holds.NAMED_PLACE,
    ] = None,
    out: OutFolder = None,
    statistic: Annotated[
        str | None, typer.Option(help="Statistic of the runs, with a sign. [default: SAD]")
    ] = None,
    tracks: opt.Tracks = None,
    blocks: Annotated[
        Path | None, typer.Option(help="BED of blocks of linkage. [default: windows]")
    ] = None,
    block_bp: Annotated[
        int | None, typer.Option(help="Bases of a window, without --blocks. [default: 1500000]")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave out blocks at this locus. Repeat to add. [default: the MHC, "
            "chr6:25,684,588-35,455,756]"
        ),
    ] = None,
    no_background: Annotated[
        bool,
        typer.Option(
            "--no-background", help="Leave out effects of minor alleles by their frequency."
        ),
    ] = False,
    chunks: Annotated[
        int | None, typer.Option(help="Chunks whose signs are turned, at most. [default: 300]")
    ] = None,
    flips: Annotated[
        int | None, typer.Option(help="Sign vectors that are drawn. [default: 1000000]")
    ] = None,
    min_maf: MinMaf = None,
    max_missing: MaxMissing = None,
    min_scored: Annotated[
        float | None,
        typer.Option(help="Least share of the variants with scores. [default: 0.5]"),
    ] = None,
    min_matched: MinMatched = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the flips. [default: 0]")] = None,
    config: opt.Config = None,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Ask whether scores point the way of traits' effects: signed LD profile regression.

    Example: cisray evaluate sldp --run runs/1000g --sumstats height=height.sumstats.gz --genotypes
    1000g.chr20.vcf.gz --blocks blocks.bed --out sldp
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_sldp import EvaluateSldp

    log_to_stderr(verbose=verbose)
    done = load_config(EvaluateSldp, given, config).evaluate()
    if as_json:
        output.as_json(done)
        return
    output.facts(_titled(done.path, new=done.new), _row_lines(done.rows))
    for line in done.strongest:
        typer.echo(f"  {line}")


def _titled(path: str, *, new: bool) -> str:
    return path if new else f"{path} (there already, of the same inputs and settings)"


def _row_lines(rows: dict[str, Any]) -> dict[str, str]:
    """Tell how many rows came in, were used and were left out, by reason, and further counts."""
    left = rows["left out"]
    lines = {"rows": f"{rows['read']:,} read = {rows['used']:,} used + {sum(left.values()):,} not"}
    lines |= {f"left out, {reason}": f"{count:,}" for reason, count in left.items()}
    for name, value in rows.items():
        if name in ("read", "used", "left out"):
            continue
        if isinstance(value, dict):
            lines |= {f"{name}, {key}": f"{count:,}" for key, count in value.items()}
        else:
            lines[name] = f"{value:,}" if isinstance(value, int) else str(value)
    return lines


def _shown(numbers: dict[str, float | None]) -> dict[str, str]:
    return {
        name: "undefined" if value is None else f"{value:,.4g}" for name, value in numbers.items()
    }
