"""The commands `cisray schedule`: recurring runs.

Knows options and exit codes; what is done is the business of `cisray_jobs.schedule`. Heavy imports
wait until a command needs them.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import uuid4

import typer

from cisray_jobs.console import log_to_stderr
from cisray_jobs.options import JobVariables, Json, Quiet, ServerAddress, SharedFolders, Verbose
from cisray_jobs.schedule_places import backends, parser_for, settled_cluster

if TYPE_CHECKING:
    from cisray_jobs.schedule.ledger import Ledger
    from cisray_jobs.schedule.tick import Event, Ticker

schedule_app = typer.Typer(
    help="Run commands again and again: at times, and where inputs are new.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Name of the schedule.")]
LedgerFolder = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        envvar="CISRAY_SCHEDULE",
        help="Folder of the ledger, on a disk of this machine. [default: cisray/schedule in "
        "$XDG_STATE_HOME, or in ~/.local/state]",
    ),
]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Go on until nothing is in flight; exit code 1 if a fire failed."),
]


@schedule_app.callback()
def _root() -> None:
    """Run commands again and again: at times, and where inputs are new."""


@schedule_app.command("add")
def schedule_add(
    context: typer.Context,
    name: Name,
    command: Annotated[
        list[str],
        typer.Argument(
            help="Any cisray command, after --. {time}, {date}, {previous} (--out of the last "
            "success) and {input} (what is watched) are filled in by each fire."
        ),
    ],
    cron: Annotated[
        str,
        typer.Option(help="When: minute hour day month weekday, as '0 3 * * MON'."),
    ],
    timezone: Annotated[str, typer.Option(help="Zone of --cron, as Europe/Berlin.")] = "UTC",
    overlap: Annotated[
        Literal["skip", "queue"],
        typer.Option(
            help="While a fire is in flight the next one is skipped, or waits; one at most waits."
        ),
    ] = "skip",
    catch_up: Annotated[
        Literal["once", "none"],
        typer.Option(
            help="Of times that nothing looked at the ledger: the latest fires, or only if it is "
            "no later than --max-late."
        ),
    ] = "once",
    max_late: Annotated[
        str, typer.Option(help="With --catch-up none: how late a fire may be, as 10m or 2h.")
    ] = "10m",
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="How often a failed command is run again.")
    ] = 0,
    back_off: Annotated[
        str, typer.Option(help="Wait before the first retry; twice as long before each next one.")
    ] = "60s",
    watch: Annotated[
        str | None,
        typer.Option(
            help="Fire only if this has changed since the last success: a file, an http(s) URL, or "
            "a pattern ('incoming/*.vcf.gz') for files that are new."
        ),
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Fires are jobs of a Ray cluster, as of `cisray submit`, and no processes of this "
            "machine.",
        ),
    ] = False,
    address: ServerAddress = None,
    shared: SharedFolders = None,
    env: JobVariables = None,
    ledger: LedgerFolder = None,
    as_json: Json = False,
) -> None:
    """Add a schedule. Its command is parsed now, so that a wrong option is found now.

    The command runs in the folder that this one is given in, with the environment of the process
    that ticks. With --cluster what it names must be seen by the cluster, which must answer now.

    Example: cisray schedule add nightly --cron '0 3 * * *' -- score variants --out runs/{time} ...
    """
    from cisray_jobs import output, schedule_output
    from cisray_jobs.schedule.adding import checked_schedule, seconds_of
    from cisray_jobs.schedule.clock import SystemClock
    from cisray_jobs.schedule.definition import Schedule
    from cisray_jobs.schedule.facts import list_schedules
    from cisray_jobs.schedule.tick import inputs_of

    if not cluster and (address or shared or env):
        raise typer.BadParameter("--address, --shared and --env go with --cluster.")
    now = SystemClock().now()
    schedule = Schedule(
        name=name,
        uid=uuid4().hex[:8],
        cron=cron,
        timezone=timezone,
        command=tuple(command),
        folder=str(Path.cwd()),
        overlap=overlap,
        catch_up=catch_up,
        max_late_s=seconds_of(max_late, "--max-late"),
        retries=retries,
        back_off_s=seconds_of(back_off, "--back-off"),
        watch=watch,
        cluster=settled_cluster(address, shared or [], env or []) if cluster else None,
        created=now,
    )
    parse = parser_for(context.find_root().command, schedule.cluster)
    checked = checked_schedule(schedule, parse, inputs_of(_place(ledger)))
    with _opened(ledger) as held:
        held.add(checked)
        (added,) = [one for one in list_schedules(held, now) if one.name == name]
    output.as_json(added) if as_json else schedule_output.schedule(added)


@schedule_app.command("settle", hidden=True)
def schedule_settle(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(help="Any cisray command, after --.")],
    shared: SharedFolders = None,
    all_here: Annotated[
        bool, typer.Option("--all-here", help="The cluster is this machine alone.")
    ] = False,
) -> None:
    """Print a command as a cluster gets it, for passes: JSON with its words and its settings.

    Example: cisray schedule settle --shared /data -- score genome --out /data/run ...
    """
    from cisray_jobs.schedule.settling import settled
    from cisray_jobs.submit.places import SharedPaths

    paths = SharedPaths(tuple(map(Path, shared or ())), all_here=all_here)
    with redirect_stdout(sys.stderr):  # nothing else may be printed
        told = settled(context.find_root().command, command, paths)
    # Not by what prints results, which takes seconds to import.
    typer.echo(json.dumps(asdict(told)))


@schedule_app.command("list")
def schedule_list(ledger: LedgerFolder = None, as_json: Json = False) -> None:
    """List the schedules: when each is due, and how its latest fire went.

    Example: cisray schedule list
    """
    from cisray_jobs import output, schedule_output
    from cisray_jobs.schedule.clock import SystemClock
    from cisray_jobs.schedule.facts import list_schedules

    with _opened(ledger) as held:
        told = list_schedules(held, SystemClock().now())
        output.as_json(told) if as_json else schedule_output.schedules(told, str(held.folder))


@schedule_app.command("show")
def schedule_show(
    name: Name,
    fires: Annotated[int, typer.Option(min=0, help="How many of the latest fires.")] = 10,
    ledger: LedgerFolder = None,
    as_json: Json = False,
) -> None:
    """Say everything about a schedule: commands, runs, exit codes, logs, and how runs drift.

    Example: cisray schedule show nightly --fires 3
    """
    from cisray_jobs import output, schedule_output
    from cisray_jobs.schedule.facts import describe_schedule

    with _ticking(ledger) as ticker:
        told = describe_schedule(ticker, name, fires)
    output.as_json(told) if as_json else schedule_output.schedule(told)


@schedule_app.command("remove")
def schedule_remove(name: Name, ledger: LedgerFolder = None) -> None:
    """Forget a schedule and its history. Runs and logs stay; what is in flight must end first.

    Example: cisray schedule remove nightly
    """
    with _opened(ledger) as held:
        held.remove(name)


@schedule_app.command("pause")
def schedule_pause(name: Name, ledger: LedgerFolder = None) -> None:
    """Let a schedule fire no more until it is resumed; what runs goes on.

    Example: cisray schedule pause nightly
    """
    _set_paused(name, ledger, paused=True)


@schedule_app.command("resume")
def schedule_resume(name: Name, ledger: LedgerFolder = None) -> None:
    """Let a paused schedule fire again, from now on: times within the pause are not caught up.

    Example: cisray schedule resume nightly
    """
    _set_paused(name, ledger, paused=False)


def _set_paused(name: str, ledger: Path | None, *, paused: bool) -> None:
    from cisray_jobs.schedule.clock import SystemClock

    with _opened(ledger) as held:
        held.pause(name, paused=paused, now=SystemClock().now())


@schedule_app.command("stop")
def schedule_stop(name: Name, ledger: LedgerFolder = None) -> None:
    """End the fire of a schedule that is in flight; it is not retried. The schedule goes on.

    Example: cisray schedule stop nightly
    """
    with _ticking(ledger) as ticker:
        ticker.stop(name)


@schedule_app.command("run-now")
def schedule_run_now(
    name: Name, wait: Wait = False, ledger: LedgerFolder = None, as_json: Json = False
) -> None:
    """Fire a schedule once, now, paused or not, and whether its input has changed or not.

    It waits for a fire that is in flight. Without --wait it may be a later pass that starts it.

    Example: cisray schedule run-now nightly --wait
    """
    with _ticking(ledger) as ticker:
        ticker.ledger.ask(name, ticker.clock.now())
        _make_passes(ticker, name, wait=wait, as_json=as_json)


@schedule_app.command("tick")
def schedule_tick(
    wait: Wait = False,
    ledger: LedgerFolder = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make one pass: put down what has ended, start what is due. For cron, systemd, Kubernetes.

    Any number of processes may do so at once, and as often as they like: each time fires once.

    Example: cisray schedule tick
    """
    log_to_stderr(verbose=verbose)
    with _ticking(ledger) as ticker:
        _make_passes(ticker, None, wait=wait, as_json=as_json)


@schedule_app.command("serve")
def schedule_serve(
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two passes at most.")
    ] = 15.0,
    ledger: LedgerFolder = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make passes until SIGTERM or Ctrl-C. Commands that run go on; the next pass finds them.

    Example: cisray schedule serve
    """
    from cisray_jobs.schedule.serve import ending, serve

    log_to_stderr(verbose=verbose)
    with _ticking(ledger) as ticker, ending() as flag:
        serve(ticker, flag, every, _hush if quiet else _tell)


def _make_passes(ticker: "Ticker", only: str | None, *, wait: bool, as_json: bool) -> None:
    from cisray_jobs.schedule.serve import ending, wait_for_all

    with ending() as flag:
        events = wait_for_all(ticker, flag, only, _hush if as_json else _tell, wait=wait)
    if as_json:
        from cisray_jobs import output

        output.as_json(events)
    if wait and any(event.state == "failed" for event in events):
        raise typer.Exit(1)


def _tell(event: "Event") -> None:
    """Print what a pass did to a fire. Here, as what prints results takes seconds to import."""
    note = f": {event.note}" if event.note else ""
    typer.echo(f"{event.schedule} {event.due} {event.state}{note}")


def _hush(event: "Event") -> None:
    """Print nothing."""


def _place(ledger: Path | None) -> Path:
    if ledger is not None:
        return ledger.absolute()
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state, "cisray", "schedule")


@contextmanager
def _opened(ledger: Path | None) -> Iterator["Ledger"]:
    from cisray_jobs.schedule.ledger import Ledger

    held = Ledger(_place(ledger))
    try:
        yield held
    finally:
        held.close()


@contextmanager
def _ticking(ledger: Path | None) -> Iterator["Ticker"]:
    from cisray_jobs.schedule.clock import SystemClock
    from cisray_jobs.schedule.tick import Ticker

    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
    with _opened(ledger) as held:
        yield Ticker(held, backends(held.folder / "jobs"), SystemClock(), owner)
