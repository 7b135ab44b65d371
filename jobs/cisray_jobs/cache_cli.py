"""The commands `cisray cache`: what this machine keeps of models and genomes, and its removal.

Knows options and how copies are told; everything else is the cache's business.
"""

from typing import Annotated

import typer

from cisray_jobs.options import Json

cache_app = typer.Typer(
    help="Look at the copies of models and genomes on this machine, and remove them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[
    str | None,
    typer.Option(
        "--node-cache", help="The folder that runs were given. [default: CISRAY_NODE_CACHE]"
    ),
]


@cache_app.command("list")
def cache_list(node_cache: Folder = None, as_json: Json = False) -> None:
    """List the copies on this machine: kind, digest, size, when it was read in full, the original.

    Example: cisray cache list --node-cache /scratch
    """
    from cisray.store.node_cache import NodeCache
    from cisray_jobs import output
    from cisray_jobs.node_copies import told_folder

    copies = NodeCache.below(told_folder(node_cache), make=False).copies()
    output.as_json(copies) if as_json else output.copies(copies)


@cache_app.command("clear")
def cache_clear(node_cache: Folder = None, as_json: Json = False) -> None:
    """Remove the copies on this machine; what is being made or opened right now stays.

    Runs go on: those that have opened a copy keep it open, and others make a new one.

    Example: cisray cache clear --node-cache /scratch
    """
    from cisray.store.node_cache import NodeCache
    from cisray_jobs import output
    from cisray_jobs.node_copies import told_folder

    cleared = NodeCache.below(told_folder(node_cache), make=False).clear()
    output.as_json(cleared) if as_json else output.cleared(cleared)
