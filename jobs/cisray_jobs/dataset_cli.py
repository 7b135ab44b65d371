"""The commands `cisray dataset`: what a model learns from.

Knows options and exit codes; what is done is the business of the modules that are called. Heavy
imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated

import typer

from cisray_jobs.options import Json

dataset_app = typer.Typer(
    help="Make what a model learns from.", no_args_is_help=True, rich_markup_mode=None
)


@dataset_app.callback()
def _root() -> None:
    """Make what a model learns from."""


@dataset_app.command("synthetic")
def dataset_synthetic(
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist, or be empty.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    chromosomes: Annotated[int, typer.Option(min=1, help="How many chromosomes.")] = 5,
    chromosome_bp: Annotated[int, typer.Option(help="Bases of each chromosome.")] = 600_000,
    individuals: Annotated[int, typer.Option(min=10, help="People with genotypes.")] = 200,
    as_json: Json = False,
) -> None:
    """Make up a small lifelike genome with tracks, variants in linkage, and the truth about them.

    Example: cisray dataset synthetic --out made-up --seed 1
    """
    from cisray_jobs import output
    from cisray_jobs.synthetic_data import make_synthetic

    made = make_synthetic(
        out,
        seed=seed,
        chromosomes=chromosomes,
        chromosome_bp=chromosome_bp,
        individuals=individuals,
    )
    if as_json:
        output.as_json(made)
        return
    output.facts(
        made.path,
        {
            "bases": f"{made.bases:,}",
            "tracks": f"{made.tracks}",
            "genes": f"{made.genes:,}, {made.elements:,} promoters and enhancers",
            "decoys": f"{made.decoys:,} sites without effect",
            "variants": f"{made.variants:,}, {made.causal:,} of them causal",
        },
    )
