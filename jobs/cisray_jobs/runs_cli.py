"""The commands `cisray runs`: what is done with runs that are there.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cisray_jobs.console import display_of, log_to_stderr
from cisray_jobs.options import (
    Device,
    Fasta,
    Holds,
    Json,
    LinkedRuns,
    Model,
    Plan,
    Quiet,
    Threads,
    Verbose,
    Workers,
    given_options,
)

runs_app = typer.Typer(
    help="Look at runs, check, compare, repeat and export them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@runs_app.callback()
def _root() -> None:
    """Look at runs, check, compare, repeat and export them."""


@runs_app.command("list")
def runs_list(
    folder: Annotated[
        str, typer.Argument(help="Folder or URL with runs below it."), Holds.PLACE
    ] = ".",
    depth: Annotated[
        int, typer.Option(min=0, help="How many levels below the folder to look for runs.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """List the runs in a folder: what each is, how far it is, how large.

    Example: cisray runs list runs
    """
    from cisray_jobs import output, run_output
    from cisray_jobs.run_facts import list_runs

    listed = list_runs(folder, depth)
    output.as_json(listed) if as_json else run_output.runs(listed, str(folder))


@runs_app.command("show")
def runs_show(
    run: Annotated[str, typer.Argument(help="Run directory or URL, sealed or not."), Holds.PLACE],
    cost_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Price of an hour of all that the run was scored on."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say everything about a run: what it is made from, where, how long it took, what failed.

    Example: cisray runs show runs/chr21 --cost-per-hour 3.50
    """
    from cisray_jobs import output, run_output
    from cisray_jobs.run_facts import describe_run

    facts = describe_run(run, cost_per_hour)
    output.as_json(facts) if as_json else run_output.run(facts)


@runs_app.command("watch")
def runs_watch(
    run: Annotated[
        str, typer.Argument(help="Run directory or URL, or folder of a training run."), Holds.PLACE
    ],
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print each look as a line of JSON.")] = (
        False
    ),
) -> None:
    """Follow a run, from any machine that sees it, until it is sealed; exit code 1 if it ends else.

    Tells how far it is, its speed, what failed, and whether nothing has been finished for long. It
    ends when the run is sealed, or when its driver has ended without that, or has died.

    Example: cisray runs watch s3://bucket/runs/chr21
    """
    from cisray_jobs import watching
    from cisray_jobs.watch_run import Glance

    looking = watching.watch_for(run)
    if as_json:
        last = watching.follow(
            looking, lambda seen: typer.echo(watching.as_line(seen)), every_s=every
        )
    else:
        last = watching.follow_on_screen(looking, every_s=every)
        for failure in last.failures if isinstance(last, Glance) else ():
            typer.echo(f"  shard {failure.shard} failed ({failure.attempts}): {failure.reason}")
        typer.echo(watching.ending(last))
    if last.state != "sealed":
        raise typer.Exit(1)


@runs_app.command("verify")
def runs_verify(
    run: Annotated[str, typer.Argument(help="Run directory or URL."), Holds.PLACE],
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="Accept a run that is not sealed: read what is done.")
    ] = False,
    rescore: Annotated[
        int | None,
        typer.Option(min=1, help="Also compute so many random rows (or tiles) again."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The model that was scored with, for --rescore.")
    ] = None,
    fasta: Annotated[
        Path | None, typer.Option(help="The genome that was scored, for --rescore.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which rows --rescore draws.")] = 0,
    since: LinkedRuns = None,
    device: Device = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a run again, every byte of it, and list everything that is wrong; exit code 1 then.

    Checksums, footers, rows against the plan (missing, foreign, twice, out of order), values that
    are not finite or not rounded, records, lists, and files that nothing names; the runs that this
    one links to as well.

    Example: cisray runs verify runs/chr21 --rescore 10 --model m.safetensors --fasta hg38.fa
    """
    from cisray_jobs import output, run_output
    from cisray_jobs.config import load_config
    from cisray_jobs.verify_job import VerifyRun

    given: dict[str, Any] = {
        "run": run,
        "unsealed": unsealed or None,
        "rescore": rescore,
        "model": model,
        "fasta": fasta,
        "seed": seed,
        "since": tuple(since) if since else None,
        "device": device,
        "threads": threads,
    }
    job = load_config(VerifyRun, given)
    with run_output.file_progress(quiet=quiet) as on_file:
        found = job.verify(on_file)
    output.as_json(found) if as_json else run_output.verified(found)
    if found.problems:
        raise typer.Exit(1)


@runs_app.command("diff")
def runs_diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="Run directory or URL, sealed."), Holds.PLACE
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another of the same kind."), Holds.PLACE],
    tracks: Annotated[
        list[str] | None,
        typer.Option(help="Only these tracks, as for score; repeat to add. All without it."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="Values are equal within this share of the larger of both."),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Compare two runs: what they are made from, their rows, and the values of common rows.

    As diff does: exit code 0 if they are equal, 1 if they differ in anything, 2 for bad usage.
    Rows are matched by bin, or by alleles (and site), whatever the order of the inputs.

    Example: cisray runs diff runs/chr21 runs/chr21-bfloat16 --tolerance 0.01
    """
    from cisray.store.compare import compare_runs
    from cisray.store.scan import open_run
    from cisray_jobs import output, run_output

    found = compare_runs(open_run(a), open_run(b), tracks=tracks or None, tolerance=tolerance)
    output.as_json(found) if as_json else run_output.difference(found)
    if not found.is_equal:
        raise typer.Exit(1)


@runs_app.command("rerun")
def runs_rerun(
    run: Annotated[str, typer.Argument(help="Run directory or URL."), Holds.PLACE],
    out: Annotated[
        str, typer.Option(help="Run directory or URL to write or to resume."), Holds.PLACE
    ],
    model: Model = None,
    fasta: Fasta = None,
    vcf: Annotated[Path | None, typer.Option(help="The variants, where they were moved.")] = None,
    at: Annotated[Path | None, typer.Option(help="The sites, where they were moved.")] = None,
    bed: Annotated[Path | None, typer.Option(help="The regions, where they were moved.")] = None,
    workers: Workers = None,
    device: Device = None,
    allow_changed_inputs: Annotated[
        bool,
        typer.Option("--allow-changed-inputs", help="Go on where an input is not what it was."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run the command that made a run once more, with its options, into another folder.

    Inputs are looked for where they were, and refused if their digests are others. What depends on
    the machine and was left open (shards, precision) is taken from the run.

    Example: cisray runs rerun runs/chr21 --out runs/chr21-again
    """
    given = given_options(locals())
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.rerun import Rerun
    from cisray_jobs.score_genome import ScoredGenome

    log_to_stderr(verbose=verbose)
    summary = load_config(Rerun, given).again(display_of(quiet=quiet))
    if as_json:
        output.as_json(summary)
    elif isinstance(summary, ScoredGenome):
        output.run(summary)
    else:
        output.effects(summary)


@runs_app.command("export")
def runs_export(
    run: Annotated[str, typer.Argument(help="Run directory or URL, sealed."), Holds.PLACE],
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
    since: LinkedRuns = None,
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
        "since": tuple(since) if since else None,
        "overwrite": overwrite or None,
    }
    written = load_config(ExportRun, given).export()
    output.as_json(written) if as_json else output.exported(written)


@runs_app.command("compact")
def runs_compact(
    run: Annotated[str, typer.Argument(help="Run directory or URL, sealed."), Holds.PLACE],
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
        str,
        typer.Argument(help="Run directory or URL, sealed: variants or saturation."),
        Holds.PLACE,
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
