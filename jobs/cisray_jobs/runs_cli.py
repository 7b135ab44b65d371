"""The commands `cisray runs`: what is done with finished runs.

Knows options; what they do is the business of the modules they call. Heavy imports wait until a
command needs them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cisray_jobs.options import Json, Plan, Quiet

runs_app = typer.Typer(help="Use finished runs.", no_args_is_help=True, rich_markup_mode=None)


@runs_app.callback()
def _root() -> None:
    """Use finished runs."""


@runs_app.command("export")
def runs_export(
    run: Annotated[str, typer.Argument(help="Run directory or URL, sealed.")],
    form: Annotated[
        Literal["vcf", "hdf5", "bigwig", "bedgraph", "png", "svg", "delta"],
        typer.Option(
            "--format",
            help="bigwig, bedgraph (genome runs); vcf, hdf5 (variants, saturation); png, svg: "
            "letters and heat map of one region (saturation); delta: tables of the whole run.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File to write; a folder for delta, and bigwig and bedgraph of many tracks."
        ),
    ],
    tracks: Annotated[
        list[str] | None,
        typer.Option(
            help="Which tracks, as for score; repeat to add. A figure shows their mean. All "
            "without it."
        ),
    ] = None,
    stats: Annotated[
        str | None,
        typer.Option(help="Comma-separated statistics; all without it, in figures SAD."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Only rows that overlap this locus, as chr21:25,000,001-25,100,000."),
    ] = None,
    fasta: Annotated[
        Path | None,
        typer.Option(help="The genome that was scored, for lengths: vcf, bigwig and bedgraph."),
    ] = None,
    sar: Annotated[
        str | None,
        typer.Option(help="hdf5: which statistic the name SAR is to mean, logSAD or SADR."),
    ] = None,
    float16: Annotated[
        bool,
        typer.Option("--float16", help="hdf5: half precision, refused where it loses values."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Export a run to the files of other programs.

    Example: cisray runs export runs/chr21 --format bigwig --out tracks --tracks 'CAGE:*K562*'
    --fasta hg38.fa
    """
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.export import ExportRun

    given: dict[str, Any] = {
        "run": run,
        "format": form,
        "out": out,
        "tracks": tuple(tracks) if tracks else None,
        "stats": stats,
        "region": region,
        "fasta": fasta,
        "sar": sar,
        "float16": float16 or None,
        "overwrite": overwrite or None,
    }
    written = load_config(ExportRun, given).export()
    output.as_json(written) if as_json else output.exported(written)


@runs_app.command("compact")
def runs_compact(
    run: Annotated[str, typer.Argument(help="Run directory or URL, sealed.")],
    plan: Plan = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite many small files of a run into few of the recommended size; no value changes.

    Every new file is compared with the old ones, bit by bit, before they are removed. Until then
    there must be room for both.

    Example: cisray runs compact runs/enhancers --plan
    """
    from cisray.engine.progress import Display
    from cisray_jobs import output
    from cisray_jobs.compact import CompactRun
    from cisray_jobs.config import load_config

    job = load_config(CompactRun, {"run": run})
    if plan:
        told = job.foresee()
        output.as_json(told) if as_json else output.compaction_plan(told)
        return
    done = job.compact(Display.NONE if quiet else Display.AUTO)
    output.as_json(done) if as_json else output.compacted(done)


@runs_app.command("summarise")
def runs_summarise(
    run: Annotated[
        str, typer.Argument(help="Run directory or URL, sealed: variants or saturation.")
    ],
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=QUERY: a group of tracks, by a query as for score. Repeat to add groups, or "
            "queries to a group. Without any, each assay is a group."
        ),
    ] = None,
    stats: Annotated[
        str | None, typer.Option(help="Comma-separated statistics; all without it.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the strongest track of each row, for groups of tracks, and keep it with the run.

    Ranking variants by a group then reads two columns. A summary that is there is replaced.

    Example: cisray runs summarise runs/eqtl --group liver='*liver*' --group blood='*K562*'
    """
    from cisray.engine.progress import Display
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.summarise import SummariseRun

    given = {"run": run, "groups": tuple(group) if group else None, "stats": stats}
    done = load_config(SummariseRun, given).summarise(Display.NONE if quiet else Display.AUTO)
    output.as_json(done) if as_json else output.summarised(done)
