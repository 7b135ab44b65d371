"""The commands `cisray evaluate all` and `cisray evaluate page`.

Knows options and how outcomes are printed. Heavy imports wait until a command needs them.
"""

from pathlib import Path
from typing import Annotated

import typer

from cisray_jobs import options as opt
from cisray_jobs.console import display_of, log_to_stderr


def evaluate_all(
    config: Annotated[
        Path,
        typer.Option(
            help="YAML file of evaluations by name, each with its kind and the options of that "
            "command; relative paths are relative to the file."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, with a folder for each evaluation.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Only the evaluation of this name. Repeat to add.")
    ] = None,
    workers: opt.Workers = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Do the evaluations of one file; the same command goes on where it was stopped.

    Example: cisray evaluate all --config evaluations.yaml --out evaluations
    """
    from cisray_jobs import output
    from cisray_jobs.evaluate_all import evaluate_all as run

    log_to_stderr(verbose=verbose)
    found = run(config, out, only=only or (), workers=workers, display=display_of(quiet=quiet))
    if as_json:
        output.as_json(found)
    else:
        lines = {one.name: f"{one.kind}, {one.state}" for one in found.evaluations}
        lines |= {"numbers": f"{found.numbers:,}", "page": found.page}
        output.facts(found.path, lines)
    if found.failure is not None:
        raise found.failure


def evaluate_page(
    folder: Annotated[Path, typer.Argument(help="Folder of `evaluate all`, or of one evaluation.")],
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write. [default: index.html in FOLDER]")
    ] = None,
) -> None:
    """Write the HTML page of evaluations that are there.

    Example: cisray evaluate page evaluations
    """
    from cisray_jobs.evaluation_page import write_page

    typer.echo(write_page(folder, out))
