"""How lists of runs, facts about one, problems and differences look on a terminal.

Knows text; knows nothing of how the results came about.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from cisray.store.compare import Compared, RunDifference
from cisray.store.differences import GroupDifference
from cisray.store.verify import OnFile
from cisray_jobs import output
from cisray_jobs.run_facts import ListedRun, RunFacts
from cisray_jobs.run_words import made_from, number_of, times_told
from cisray_jobs.units import counted, size

if TYPE_CHECKING:  # torch would come with it
    from cisray_jobs.verify_job import Verified

_SHOWN_FAILURES = 10


def runs(listed: Sequence[ListedRun], folder: str) -> None:
    """Print a line for each run."""
    if not listed:
        typer.echo(f"No runs in {folder}; --depth looks further down.")
        return
    head = ("name", "job", "state", "rows", "size", "created", "model", "genome")
    lines = [
        (
            run.name,
            run.job,
            _state_of(run),
            f"{run.rows:,}",
            size(run.bytes),
            run.created,
            run.model,
            run.genome,
        )
        for run in listed
    ]
    table(head, lines, right={3, 4})
    for run in listed:
        if run.damage:
            typer.echo(_paragraph(f"{run.name}: {run.damage}"))


def run(facts: RunFacts) -> None:
    """Print everything about a run."""
    lines = {
        "run": f"{facts.run_id}, {facts.table}",
        "state": f"{facts.state}: {facts.done:,} of {counted(facts.shards, 'shard')} done",
        "rows": f"{facts.rows_done:,} of {facts.rows:,}",
        **{f"linked to {run_id}": f"{rows:,} rows" for run_id, rows in facts.linked.items()},
        "files": f"{counted(facts.files, 'file')}, {size(number_of(facts.times, 'bytes'))}",
        "tracks": f"{sum(facts.tracks.values()):,} of head {facts.head}: "
        + ", ".join(f"{assay} {count:,}" for assay, count in facts.tracks.items()),
        **({} if facts.statistics is None else {"statistics": ", ".join(facts.statistics)}),
        **({} if facts.rejected is None else {"rejects": output.rejects(facts.rejected)}),
        "self-check": f"{facts.self_check.checked:,} checked: {facts.self_check.note}",
        **times_told(facts),
        **made_from(facts),
    }
    output.facts(facts.path, lines)
    for failure in facts.failures[:_SHOWN_FAILURES]:
        attempts = counted(int(str(failure["attempts"])), "attempt")
        told = f"shard {failure['shard']} failed ({attempts}): {failure['reason']}"
        typer.echo(_paragraph(told))
    more = len(facts.failures) - _SHOWN_FAILURES
    if more > 0:
        typer.echo(f"  and {counted(more, 'shard')} more failed")


@contextmanager
def file_progress(*, quiet: bool) -> Iterator[OnFile]:
    """Show on stderr how many files were read, if that is a terminal."""
    console = Console(stderr=True)
    shown = Progress(
        TextColumn("reading files"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def verified(found: "Verified") -> None:
    """Print what was read and everything that is wrong with it."""
    read = found.read
    gone = sum(problem.kind == "missing-file" for problem in found.problems)
    missing = f" ({gone:,} missing)" if gone else ""
    lines = {
        "run": f"{read.run_id}, {'sealed' if read.sealed else 'not sealed'}",
        "read": f"{counted(read.files, 'file')}{missing} of {counted(read.shards, 'shard')}, "
        f"{size(read.bytes)}: {read.rows:,} rows, {read.values:,} values",
    }
    if found.linked:
        lines["linked"] = f"{found.linked:,} rows of other runs, which were read as well"
    if found.rescored is not None:
        again = found.rescored
        lines["rescored"] = (
            f"{counted(again.checked, again.unit)} (seed {again.seed}); the largest deviation is "
            f"{again.worst:.2g} of what is tolerated"
        )
    lines["problems"] = f"{len(found.problems):,}" if found.problems else "none"
    output.facts(f"Verified {read.path}", lines)
    for number, problem in enumerate(found.problems, start=1):
        shard = "" if problem.shard is None else f", shard {problem.shard}"
        told = problem.message.replace(f"{read.path}/", "")
        typer.echo(_paragraph(f"{number}. {problem.kind}{shard}: {told}"))


def difference(found: RunDifference) -> None:
    """Print in what two runs differ."""
    typer.echo(f"A  {found.a}")
    typer.echo(f"B  {found.b}")
    if found.is_equal:
        typer.echo("The runs are equal.")
    elif found.same_values:
        typer.echo("Rows and values are equal; the runs differ in what they are made from.")
    for field in found.identity:
        typer.echo(_paragraph(f"{field.field}: {field.a} in A, {field.b} in B"))
    _compared("rows", found.rows)
    _compared("columns", found.columns)
    if found.groups:
        head = ("group", "columns", "values", "differing", "missing", "largest", "relative",
                "correlation")  # fmt: skip
        table(head, [_group_line(group) for group in found.groups], right=set(range(1, 8)))
    for group in found.groups:
        for one in group.largest:
            typer.echo(
                f"  {group.group} {one.place} {one.column}: {_value(one.a)} in A, "
                f"{_value(one.b)} in B"
            )


def _compared(what: str, found: Compared) -> None:
    typer.echo(
        f"{what}: {found.common:,} in both, {found.only_a:,} only in A, {found.only_b:,} only in B"
    )
    for side, names, count in (
        ("A", found.first_only_a, found.only_a),
        ("B", found.first_only_b, found.only_b),
    ):
        if names:
            more = ", ..." if count > len(names) else ""
            typer.echo(_paragraph(f"only in {side}: {', '.join(names)}{more}"))


def _group_line(group: GroupDifference) -> tuple[str, ...]:
    lowest = group.lowest_correlation
    return (
        group.group,
        f"{group.columns:,}",
        f"{group.values:,}",
        f"{group.differing:,}",
        f"{group.missing:,}",
        f"{group.largest_absolute:.3g}",
        f"{group.largest_relative:.3g}",
        "" if lowest is None else f"{lowest:.6f} ({group.lowest_in})",
    )


def _state_of(run: ListedRun) -> str:
    if run.state in ("sealed", "damaged"):
        return run.state
    failed = f", {run.failed:,} failed" if run.failed else ""
    return f"{run.done:,} of {run.shards:,} shards{failed}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]], *, right: set[int]) -> None:
    """Print lines of cells under a head, those of the columns in `right` flush right."""
    widths = [max(len(line[at]) for line in (head, *lines)) for at in range(len(head))]
    for line in (head, *lines):
        cells = (
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        typer.echo("  ".join(cells).rstrip())


def _paragraph(text: str) -> str:
    return textwrap.fill(
        text,
        output.WIDTH,
        initial_indent="  ",
        subsequent_indent="     ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: float | None) -> str:
    return "no value" if value is None else f"{value:.6g}"
