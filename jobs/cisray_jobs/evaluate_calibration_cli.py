"""The commands `cisray evaluate calibration` and `calibrate`.

Knows options and how results are printed; what is done is the business of the modules that are
called. Heavy imports wait until a command needs them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cisray_jobs import options as opt
from cisray_jobs.console import log_to_stderr


def calibration(
    run: Annotated[
        str | None,
        typer.Option(help="A sealed run of variants, such as common ones."),
        opt.Holds.PLACE,
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write.")] = None,
    statistic: Annotated[
        str | None, typer.Option(help="Statistic of the run. [default: SAD]")
    ] = None,
    tracks: opt.Tracks = None,
    select: Annotated[
        Path | None,
        typer.Option(help="Only the variants of this table: chrom, pos, ref, alt, or variant."),
    ] = None,
    vcf: Annotated[
        Path | None, typer.Option(help="VCF whose INFO has AF, to choose by frequency.")
    ] = None,
    min_maf: Annotated[
        float | None, typer.Option(help="Least minor allele frequency. [default: 0]")
    ] = None,
    max_maf: Annotated[
        float | None, typer.Option(help="Largest minor allele frequency. [default: 0.5]")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(help="Run whose variants' distances from starts of genes are to be matched."),
        opt.Holds.PLACE,
    ] = None,
    starts: Annotated[
        Path | None, typer.Option(help="Starts of genes, for --match: GTF, GFF3 or BED.")
    ] = None,
    fasta: opt.Fasta = None,
    seed: Annotated[int | None, typer.Option(help="Seed of what is drawn. [default: 0]")] = None,
    config: opt.Config = None,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Make a background out of a run of variants: quantiles and moments of each track's scores.

    Example: cisray evaluate calibration --run runs/common --vcf common.vcf.gz --min-maf 0.05
    --out calibrations/common
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_calibration import MakeCalibration

    log_to_stderr(verbose=verbose)
    done = load_config(MakeCalibration, given, config).evaluate()
    output.as_json(done) if as_json else output.facts(done.path, _told(done.rows))


def calibrate(
    run: Annotated[
        str, typer.Argument(help="A sealed run of variants or of saturation."), opt.Holds.PLACE
    ],
    background: Annotated[
        Path | None, typer.Option(help="Folder of `evaluate calibration`, or its file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file to write.")] = None,
    tracks: opt.Tracks = None,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="Compare sizes, whatever the sign.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
    config: opt.Config = None,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Tell scores of a run as quantiles and z-scores of a background, track by track.

    Example: cisray evaluate calibrate runs/patient --background calibrations/common
    --out patient.parquet
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.calibrate_run import CalibrateRun
    from cisray_jobs.config import load_config

    log_to_stderr(verbose=verbose)
    done = load_config(CalibrateRun, given, config).calibrate()
    if as_json:
        output.as_json(done)
        return
    lines = {
        "rows": f"{done.rows:,}",
        "columns": f"{done.columns:,}, quantiles and z-scores",
        "background": f"{done.background_n:,} values; no quantile is finer than {done.finest:.1g}",
    }
    output.facts(done.path, lines)


def _told(rows: Any) -> dict[str, str]:
    """Tell how many variants were read, used and left out."""
    left: Mapping[str, int] = rows["left out"]
    named = ("read", "used", "left out")
    others = {name: f"{count:,}" for name, count in rows.items() if name not in named}
    return {
        "variants": f"{rows['read']:,} read = {rows['used']:,} used + {sum(left.values()):,} not",
        **{f"left out, {reason}": f"{count:,}" for reason, count in left.items()},
        **others,
    }
