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
