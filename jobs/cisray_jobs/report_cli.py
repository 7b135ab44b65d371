"""The command `cisray runs report`: a page about a run, for people.

Knows options; what is shown is the business of `cisray_jobs.report`. Heavy imports wait until the
command is given.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cisray_jobs.options import Holds, LinkedRuns


def runs_report(
    run: Annotated[
        list[str],
        typer.Argument(
            help="Run directory or URL, sealed or not; or the folder of a training run or of "
            "evaluations. Several, with --out, go into one file."
        ),
        Holds.PLACE,
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write. [default: NAME.report.html in the current folder]"),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="A locus to show, as chr21:25,000,001-25,100,000; repeat to add. [default: around "
            "the strongest bins, or the first regions of a saturation run]"
        ),
    ] = None,
    tracks: Annotated[
        list[str] | None,
        typer.Option(
            help="Which tracks to show, as for score; repeat to add. [default: up to six, of each "
            "assay in turn]"
        ),
    ] = None,
    stats: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated statistics to show. [default: SAD; of saturation three]"
        ),
    ] = None,
    genes: Annotated[
        Path | None,
        typer.Option(help="GTF, GFF3 or BED of genes to draw beside tracks, also compressed."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="So many of the strongest by each track, up to 1,000. [default: 100]"),
    ] = None,
    since: LinkedRuns = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
) -> None:
    """Write a report of a run, or of several: one HTML file that needs no network.

    Prints its path. An option is for the runs that it means something for.

    Example: cisray runs report runs/chr21 --genes genes.gtf.gz --region chr21:25,000,001-25,100,000
    """
    from cisray_jobs.config import load_config
    from cisray_jobs.report.options import ReportOptions
    from cisray_jobs.report.write import write_report

    given: dict[str, Any] = {
        "region": tuple(region) if region else None,
        "tracks": tuple(tracks) if tracks else None,
        "stats": stats,
        "genes": genes,
        "top": top,
        "since": tuple(since) if since else None,
        "overwrite": overwrite or None,
    }
    typer.echo(write_report(run, out, load_config(ReportOptions, given)))
