"""The commands `cisray score`: from options to a job, its plan or its result.

Knows options; everything else is a job's business. Heavy imports wait until a command needs them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cisray_jobs import options as opt
from cisray_jobs.console import display_of, log_to_stderr

score_app = typer.Typer(
    help="Score sequence with a model and write a run.", no_args_is_help=True, rich_markup_mode=None
)


@score_app.command("genome")
def score_genome(
    model: opt.Model = None,
    fasta: opt.Fasta = None,
    out: opt.Out = None,
    chromosomes: Annotated[
        str | None, typer.Option(help="Comma-separated names; all of the FASTA without it.")
    ] = None,
    bed: Annotated[
        Path | None, typer.Option(help="Score only tiles that meet these regions.")
    ] = None,
    tracks: opt.Tracks = None,
    head: opt.Head = None,
    workers: opt.Workers = None,
    num_gpus: opt.NumGpus = None,
    device: opt.Device = None,
    threads: opt.Threads = None,
    predictor: Annotated[
        str | None,
        typer.Option(
            help="fast, which shares work between tiles, or plain, one forward pass per tile. "
            "[default: fast]"
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 (products in 8 significant bits: faster, less exact), or auto: "
            "float32 for tracks. [default: auto]"
        ),
    ] = None,
    self_check: Annotated[
        str | None,
        typer.Option(
            help="How many tiles to predict the plain way as well, to compare: auto (1 in 1,000, "
            "at least 3), a number, or off. [default: auto]"
        ),
    ] = None,
    mantissa_bits: opt.MantissaBits = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            help="Windows per forward pass; auto is 1 on a CPU and on a shared GPU, and on a GPU "
            "of its own what a worker finds to fit. [default: auto]"
        ),
    ] = None,
    tiles_per_shard: Annotated[
        str | None, typer.Option(help="Tiles per unit of work. [default: auto]")
    ] = None,
    shard_timeout: opt.ShardTimeout = None,
    address: opt.Address = None,
    node_cache: opt.NodeCache = None,
    config: opt.Config = None,
    plan: opt.Plan = False,
    restart: opt.Restart = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Predict tracks along chromosomes, tile by tile, into a run directory of Parquet files.

    Run the same command again to finish a run that was interrupted.

    Example: cisray score genome --model m.safetensors --fasta hg38.fa --out runs/chr21
    --chromosomes chr21 --tracks 'CAGE:*K562*'
    """
    given = opt.given_options(locals())
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.score_genome import ScoreGenome

    log_to_stderr(verbose=verbose)
    job = load_config(ScoreGenome, given, config)
    if plan:
        told = job.foresee()
        output.as_json(told) if as_json else output.plan(told)
        return
    summary = job.run(display_of(quiet=quiet))
    output.as_json(summary) if as_json else output.run(summary)


@score_app.command("variants")
@opt.taking(opt.OfEffects)
def score_variants(
    model: opt.Model = None,
    fasta: opt.Fasta = None,
    vcf: Annotated[
        Path | None,
        typer.Option(
            help="VCF (plain, gzip or bgzip), BCF, or a list: chrom pos ref alt [id], or ids such "
            "as chr1:100:A:G, one a line."
        ),
    ] = None,
    since: opt.Since = None,
    at: Annotated[
        Path | None,
        typer.Option(
            help="BED of sites (TSSs, genes): a row per allele and site in its window's target, "
            "with statistics over the bins of the site, instead of --bins."
        ),
    ] = None,
    out: opt.Out = None,
    keep_alleles: Annotated[
        bool,
        typer.Option(
            "--keep-alleles", help="Score alleles as given: no trimming, no left-aligning."
        ),
    ] = False,
    max_allele_bp: Annotated[
        int | None,
        typer.Option(help="Reject longer alleles. [default: half of what the model predicts]"),
    ] = None,
    max_mismatches: Annotated[
        float | None,
        typer.Option(
            help="Stop when a larger share of REF differs from the FASTA; 1 never stops. "
            "[default: 0.05]"
        ),
    ] = None,
    **more: Any,
) -> None:
    """Score every allele of a file of variants, or say why not, into a run directory.

    Run the same command again to finish a run that was interrupted.

    Example: cisray score variants --model m.safetensors --fasta hg38.fa --vcf cohort.vcf.gz
    --out runs/cohort --tracks 'CAGE:*K562*' --stats SAD,SADR
    """
    given = opt.given_options(locals())
    from cisray_jobs.score_variants import ScoreVariants

    _score_effects(ScoreVariants, given, more)


@score_app.command("saturation")
@opt.taking(opt.OfEffects)
def score_saturation(
    model: opt.Model = None,
    fasta: opt.Fasta = None,
    bed: Annotated[Path | None, typer.Option(help="Regions to saturate.")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="Or a locus, as chr20:44,355,520-44,355,804 (1-based, inclusive); repeat to add."
        ),
    ] = None,
    out: opt.Out = None,
    method: opt.SaturationMethod = None,
    rank_then_exact: opt.RankThenExact = None,
    **more: Any,
) -> None:
    """Score every substitution of every base of some regions, into a run directory.

    Windows lie on the grid of bins unless asked otherwise. Run the same command again to finish a
    run that was interrupted.

    Example: cisray score saturation --model m.safetensors --fasta hg38.fa
    --region chr20:44,355,520-44,355,804 --out runs/hnf4a --tracks 'CAGE:*hepatocellular*'

    Many regions, approximated, and the 20 largest substitutions of each computed: cisray score
    saturation --model m.safetensors --fasta hg38.fa --bed peaks.bed --out runs/peaks --tracks
    'CAGE:*hepatocellular*' --stats SAD --method gradient --rank-then-exact 20
    """
    given = opt.given_options(locals())
    from cisray_jobs.saturate import Saturate

    _score_effects(Saturate, given, more)


def _score_effects(job: Any, given: dict[str, Any], asked: Mapping[str, Any]) -> None:
    from cisray_jobs import output
    from cisray_jobs.config import load_config

    log_to_stderr(verbose=asked["verbose"])
    loaded = load_config(job, given, asked["config"])
    if asked["plan"]:
        told = loaded.foresee()
        output.as_json(told) if asked["as_json"] else output.effect_plan(told)
        return
    summary = loaded.run(display_of(quiet=asked["quiet"]))
    output.as_json(summary) if asked["as_json"] else output.effects(summary)
