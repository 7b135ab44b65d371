"""The command `cisray`: parse, build a configuration, run a job, say how it went.

Knows options, exit codes and how results are printed; everything else is a job's business.
Heavy imports wait until a command needs them, so that `cisray --help` answers at once.
Exit codes: 0 done, 1 failed, 2 bad input or usage, 130 interrupted.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from cisray.errors import CisrayError, ConfigError
from cisray.version import __version__
from cisray_jobs.cache_cli import cache_app
from cisray_jobs.console import choose_log_format, is_json, log_to_stderr
from cisray_jobs.dataset_cli import dataset_app
from cisray_jobs.evaluate_all_cli import evaluate_all, evaluate_page
from cisray_jobs.evaluate_calibration_cli import calibrate, calibration
from cisray_jobs.evaluate_cli import evaluate_app
from cisray_jobs.evaluate_elements_cli import enhancers, mpra, mpra_variants
from cisray_jobs.evaluate_expression_cli import expression
from cisray_jobs.evaluate_linkage_cli import finemap, sldp
from cisray_jobs.options import Holds, Json, Quiet
from cisray_jobs.report_cli import runs_report
from cisray_jobs.runs_cli import runs_app
from cisray_jobs.schedule_cli import schedule_app
from cisray_jobs.score_cli import score_app
from cisray_jobs.submit_cli import jobs_app, submit
from cisray_jobs.train_cli import train

INTERRUPTED = 130
# Commands that go on where they were stopped.
_KEEP_ALWAYS = (["score"], ["demo"], ["train"])
_KEEP_WHAT_IS_DONE = {
    ("runs", "rerun"),
    ("dataset", "build"),
    ("dataset", "import"),
    ("evaluate", "eqtl"),
    ("evaluate", "enhancers"),
    ("evaluate", "all"),
}
MAX_SEED = 2**63 - 1

log = logging.getLogger("cisray.cli")

app = typer.Typer(
    help="Genome-wide scoring with sequence-to-function models: FASTA in, Parquet out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
model_app = typer.Typer(
    help="Make, inspect, convert and fetch models.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(model_app, name="model")
app.add_typer(score_app, name="score")
app.add_typer(runs_app, name="runs")
app.add_typer(schedule_app, name="schedule")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(dataset_app, name="dataset")
app.add_typer(jobs_app, name="jobs")
app.add_typer(cache_app, name="cache")
app.command("train")(train)
app.command("submit", context_settings={"allow_interspersed_args": False})(submit)
runs_app.command("report")(runs_report)
evaluate_app.command("mpra-variants")(mpra_variants)
evaluate_app.command("mpra")(mpra)
evaluate_app.command("enhancers")(enhancers)
evaluate_app.command("all")(evaluate_all)
evaluate_app.command("page")(evaluate_page)
evaluate_app.command("expression")(expression)
evaluate_app.command("calibration")(calibration)
evaluate_app.command("calibrate")(calibrate)
evaluate_app.command("finemap")(finemap)
evaluate_app.command("sldp")(sldp)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--tracks",
        metavar="HEAD=TABLE",
        help="Basenji targets table that names a head's tracks, as human=targets_human.txt; "
        "repeat for several heads. Without it tracks have numbers and, in the published sizes, "
        "assays.",
    ),
    Holds.NAMED_PLACE,
]


def main() -> NoReturn:
    """Run the command line and exit with its code; a user's mistake is never a traceback."""
    if os.environ.get("RAY_JOB_STOP_SIGNAL") == "SIGINT":
        # A job of a cluster is stopped by it; one that a script has started in the background lets
        # its jobs inherit that it is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


@cache
def command_line() -> Any:
    """Give the command of all commands, made once: to make it, every option's type is read."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    arguments = list(arguments)
    try:
        command_line()(arguments, prog_name="cisray")
    except CisrayError as error:
        _complain(str(error))
        return error.exit_code
    except OSError as error:
        # A path that cannot be used in a way that nobody below foresaw.
        where = f": {error.filename}" if error.filename is not None else ""
        _complain(f"{error.strerror or error}{where}")
        return CisrayError.exit_code
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        code = INTERRUPTED
    else:
        code = 0
    if code == INTERRUPTED:
        keeps = tuple(arguments[:2]) in _KEEP_WHAT_IS_DONE or arguments[:1] in _KEEP_ALWAYS
        kept = " What is finished is kept; the same command goes on from there." if keeps else ""
        _complain(f"interrupted.{kept}")
    return code


def _complain(message: str) -> None:
    from cisray_jobs import output

    log.error("%s", message) if is_json() else output.error(message)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cisray {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(
            envvar="CISRAY_LOG_FORMAT",
            help="How progress, warnings and errors are written to stderr: json is one object a "
            "line, with the run, the worker and the shard.",
        ),
    ] = "text",
) -> None:
    """Genome-wide scoring with sequence-to-function models: FASTA in, Parquet out."""
    choose_log_format(log_format)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the genome, the model and the run.")] = Path(
        "demo-run"
    ),
    workers: Annotated[str, typer.Option(help="Ray actors; 0 is this process without Ray.")] = "2",
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Seed of the genome and of the training.")
    ] = 1,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Half a minute: all runs, on a tenth, and nothing is learnt."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make a genome up, train a model on it, score and judge it, and report: seven minutes.

    Example: cisray demo --out demo-run
    """
    from cisray_jobs.demo.run import run_demo

    log_to_stderr(verbose=False)
    run_demo(out, workers=workers, say=typer.echo, seed=seed, quick=quick, quiet=quiet)


@model_app.command("init")
def model_init(
    out: Annotated[Path, typer.Argument(help="File to write, ending in .safetensors.")],
    size: Annotated[
        Literal["tiny", "small", "enformer", "basenji2-tiny", "basenji2"],
        typer.Option(
            help="enformer has the published 251 million parameters, basenji2 30 million; basenji2 "
            "has the human head alone."
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the random weights.")] = 0,
    randomise_all: Annotated[
        bool,
        typer.Option("--randomise-all", help="Also randomise what starts at zero or one."),
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a model with random weights.

    Example: cisray model init tiny.safetensors --size tiny --seed 0
    """
    from cisray_jobs import models

    _show_model(
        models.init_model(out, size, seed, randomise_all=randomise_all, overwrite=overwrite),
        as_json=as_json,
    )


@model_app.command("info")
def model_info(
    model: Annotated[Path, typer.Argument(help="Model file, or a folder with one.")],
    as_json: Json = False,
) -> None:
    """Print parameters, tracks by assay, digest and geometry of a model.

    Example: cisray model info enformer.safetensors
    """
    from cisray_jobs import models

    _show_model(models.describe_model(model), as_json=as_json)


@model_app.command("convert")
def model_convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="TensorFlow checkpoint prefix or folder, SavedModel folder, Hugging Face folder, "
            "a .bin or .safetensors file beside its config.json, or a Basenji2 saved by Keras "
            "(NAME.h5, with NAME_params.json beside it if there is one)."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="File to write, ending in .safetensors.")],
    tracks: Tables = None,
    input_bp: Annotated[
        int | None, typer.Option(help="Bases the model reads, where the source does not say.")
    ] = None,
    target_bins: Annotated[
        int | None, typer.Option(help="Bins the model predicts, where the source does not say.")
    ] = None,
    gamma: Annotated[
        Literal["auto", "per_feature", "per_position"],
        typer.Option(
            help="Axis on which gamma positions are normalised: auto, per_feature (the released "
            "weights), per_position (trained with enformer-pytorch's default)."
        ),
    ] = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Convert a foreign checkpoint into cisray's own format, refusing any tensor that does not fit.

    Example: cisray model convert enformer-fine-tuned-human-1 enformer.safetensors
    """
    from cisray.model.checkpoints.convert import ConvertOptions
    from cisray_jobs import models

    info = models.convert_model(
        source,
        out,
        track_tables=_tables(tracks),
        options=ConvertOptions(input_bp=input_bp, target_bins=target_bins, gamma=gamma),
        overwrite=overwrite,
    )
    _show_model(info, as_json=as_json)


@model_app.command("download")
def model_download(
    out: Annotated[Path, typer.Argument(help="File to write, ending in .safetensors.")],
    tracks: Tables = None,
    repository: Annotated[
        str, typer.Option(help="Repository on the Hugging Face hub.")
    ] = "EleutherAI/enformer-official-rough",
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fetch the published Enformer from the Hugging Face hub and convert it.

    Example: cisray model download enformer.safetensors --tracks human=targets_human.txt
    """
    from cisray_jobs import models

    info = models.download_model(
        out,
        repository=repository,
        revision=revision,
        track_tables=_tables(tracks),
        overwrite=overwrite,
    )
    _show_model(info, as_json=as_json)


def _show_model(info: Any, *, as_json: bool) -> None:
    from cisray_jobs import output

    output.as_json(info) if as_json else output.model(info)


def _tables(entries: list[str] | None) -> dict[str, Path]:
    tables = {}
    for entry in entries or []:
        head, separator, table = entry.partition("=")
        if not (head and separator and table):
            raise ConfigError(f"--tracks {entry!r}: write HEAD=TABLE, as human=targets_human.txt.")
        tables[head] = Path(table)
    return tables


if __name__ == "__main__":
    main()
