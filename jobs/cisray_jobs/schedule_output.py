"""How schedules and their history look on a terminal.

Knows text; knows nothing of how it came about.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from cisray_jobs import output
from cisray_jobs.run_output import table
from cisray_jobs.schedule.facts import FireFacts, ScheduleFacts
from cisray_jobs.units import counted, duration

_SHOWN_CHANGES = 12
_HERE = "this machine"


def schedules(told: Sequence[ScheduleFacts], folder: str) -> None:
    """Print a line for each schedule."""
    if not told:
        typer.echo(f"No schedules in {folder}.")
        return
    head = ("name", "cron", "timezone", "runs on", "last", "due", "next")
    lines = [
        (
            one.name,
            one.cron,
            one.timezone,
            one.address or _HERE,
            one.last or "",
            one.last_due or "",
            "paused" if one.paused else one.next[0],
        )
        for one in told
    ]
    table(head, lines, right=set())


def schedule(told: ScheduleFacts) -> None:
    """Print a schedule and its fires, the latest first."""
    lines = {
        "command": told.command,
        "folder": told.folder,
        "runs on": told.address or _HERE,
        **({"shared": ", ".join(told.shared)} if told.shared else {}),
        "due": f"{told.cron} in {told.timezone}",
        **({} if told.watch is None else {"watches": told.watch}),
        "overlap": told.overlap,
        "catch-up": told.catch_up,
        "retries": f"{told.retries}, the first after {duration(told.back_off_s)}",
        "next": "paused" if told.paused else ", ".join(told.next),
    }
    output.facts(told.name, lines)
    for fire in told.fires:
        typer.echo("")
        _fire(fire)


def _fire(fire: FireFacts) -> None:
    lines = {
        "state": fire.state + (f": {fire.note}" if fire.note else ""),
        **({} if fire.cause == "cron" else {"cause": fire.cause}),
        **({"missed": f"{fire.missed:,} before it"} if fire.missed else {}),
        **{name: value for name, value in _made(fire) if value},
    }
    for attempt in fire.attempts:
        code = "" if attempt.exit_code is None else f", exit code {attempt.exit_code}"
        lines[f"attempt {attempt.attempt}"] = (
            f"{attempt.started} to {attempt.ended or 'now'}{code}: {attempt.log or 'no log'}"
        )
        if attempt.job is not None:
            lines[f"job {attempt.attempt}"] = attempt.job
    output.facts(f"fire {fire.due}", lines)
    if fire.report is not None:
        _report(fire.report)


def _made(fire: FireFacts) -> list[tuple[str, str | None]]:
    return [
        ("command", fire.command),
        ("input", fire.input),
        ("run", fire.run),
        ("previous", fire.previous),
    ]


def _report(report: Mapping[str, Any]) -> None:
    summary, changes = report["summary"], report["changes"]
    typer.echo(
        f"  {counted(summary['rows'], 'row')}, {summary['linked']:,} linked, "
        f"{sum(summary['rejected'].values()):,} rejected"
    )
    if report["before"] is None:
        return
    typer.echo(f"  against {report['before']}: {counted(len(changes), 'number')} changed")
    if changes:
        lines = [
            (change["what"], _number(change["before"]), _number(change["after"]))
            for change in changes[:_SHOWN_CHANGES]
        ]
        table(("  what", "before", "after"), [(f"  {a}", b, c) for a, b, c in lines], right={1, 2})
    if len(changes) > _SHOWN_CHANGES:
        typer.echo(f"  and {len(changes) - _SHOWN_CHANGES:,} more: --json has all")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
