"""The command `cisray evaluate expression`.

Knows options and how results are printed; what is done is the business of the modules that are
called. Heavy imports wait until the command needs them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cisray_jobs import options as opt
from cisray_jobs.console import log_to_stderr


def expression(
    starts: Annotated[
        Path | None,
        typer.Option(
            help="Starts of genes: GTF or GFF3 (first bases of transcripts), or BED of single "
            "bases with the gene in column 4."
        ),
    ] = None,
    fasta: opt.Fasta = None,
    run: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=RUN", help="A sealed run of `score genome`; repeat to add."),
        opt.Holds.NAMED_PLACE,
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write.")] = None,
    targets: Annotated[
        Path | None,
        typer.Option(help="Measured tracks: a table of targets that names bigWig files."),
    ] = None,
    bigwig_dir: Annotated[
        Path | None, typer.Option(help="Folder of the files. [default: the table's]")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Or the examples of a dataset, in their bins alone.")
    ] = None,
    head: opt.Head = None,
    split: Annotated[
        str | None, typer.Option(help="Which examples of the dataset. [default: test]")
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="BED: only starts and bins inside. [default: the bins of the dataset's examples, "
            "else all]"
        ),
    ] = None,
    tracks: Annotated[
        list[str] | None,
        typer.Option(help="Which tracks of the runs; repeat to add. [default: CAGE]"),
    ] = None,
    gene_type: Annotated[
        str | None,
        typer.Option(
            help="Type of genes that count, or all. [default: protein_coding, if the file tells "
            "types]"
        ),
    ] = None,
    unmappable: Annotated[
        Path | None,
        typer.Option(help="BED: starts with a bin of which a tenth lies there are left out."),
    ] = None,
    blacklist: Annotated[
        Path | None, typer.Option(help="BED of bases that count as 0 in bigWig files.")
    ] = None,
    allow_missing_chromosomes: Annotated[
        bool,
        typer.Option(
            "--allow-missing-chromosomes", help="A chromosome that a bigWig lacks counts as 0."
        ),
    ] = False,
    external: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TABLE",
            help="Somebody else's predictions: a column gene, and one per track; repeat to add.",
        ),
        opt.Holds.NAMED_PLACE,
    ] = None,
    genes_only: Annotated[
        bool, typer.Option("--genes-only", help="Do not correlate over all bins.")
    ] = False,
    min_genes: Annotated[
        int | None, typer.Option(help="Fewer genes have no numbers. [default: 30]")
    ] = None,
    bootstraps: Annotated[
        int | None, typer.Option(help="Draws of a bootstrap interval. [default: 1000]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of all that is drawn. [default: 0]")
    ] = None,
    config: opt.Config = None,
    as_json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> None:
    """Hold a genome run against measured tracks: expression of genes, and bins along the genome.

    Example: cisray evaluate expression --starts gencode.gtf.gz --fasta hg38.fa --run runs/genome
    --targets targets.txt --regions test.bed --out evaluations/expression
    """
    given = opt.given_options(dict(locals()))
    from cisray_jobs import output
    from cisray_jobs.config import load_config
    from cisray_jobs.evaluate_expression import EvaluateExpression

    log_to_stderr(verbose=verbose)
    done = load_config(EvaluateExpression, given, config).evaluate()
    if as_json:
        output.as_json(done)
        return
    numbers = {
        f"{metric}, {name}": "undefined" if value is None else f"{value:.3f}"
        for metric, of_scores in done.means.items()
        for name, value in of_scores.items()
    }
    output.facts(done.path, _told(done.rows) | numbers)


def _told(rows: Any) -> dict[str, str]:
    """Tell how many starts, genes, tracks and bins were read, used and left out."""
    left: Mapping[str, int] = rows["left out"]
    genes, tracks, bins = rows["genes"], rows["tracks"], rows["bins"]
    lines = {
        "starts": f"{rows['read']:,} read = {rows['used']:,} used + {sum(left.values()):,} not",
        **{f"left out, {reason}": f"{count:,}" for reason, count in left.items()},
        "genes": f"{genes['read']:,} read, {genes['used']:,} used",
        "tracks": f"{tracks['chosen']:,} chosen, {tracks['not measured']:,} not measured; paired "
        f"by {tracks['paired by']}",
    }
    if bins:
        lines["bins"] = f"{bins['read']:,} asked for, {bins['used']:,} used"
        lines |= {f"bins left out, {why}": f"{n:,}" for why, n in bins["left out"].items()}
    return lines
