"""What a person sees of a job that runs elsewhere: its lines, how to leave it, how it ended.

Knows terminals and exit codes; knows nothing of what the job does.
"""

import sys
from collections.abc import Callable

import typer

from cisray.engine.jobs import JobFacts, Jobs

INTERRUPTED = 130
FAILED = 1


def follow(jobs: Jobs, job_id: str) -> int:
    """Print what a job prints until it ends, and give its exit code.

    Ctrl-C asks whether the job is to go on or to stop. Where nobody can answer it goes on.
    """
    try:
        facts = jobs.follow(job_id, lambda text: typer.echo(text, nl=False))
    except KeyboardInterrupt:
        return _interrupted(jobs, job_id)
    _say(f"{job_id}: {ended(facts)}")
    return exit_code(facts)


def exit_code(facts: JobFacts) -> int:
    """Give the exit code of the command, as a shell would: 128 and the signal that ended it.

    >>> from dataclasses import replace
    >>> done = JobFacts("a", "failed", "", None, None, 2, "", {})
    >>> [exit_code(replace(done, exit_code=code)) for code in (0, 2, -9, None)]
    [0, 2, 137, 1]
    >>> exit_code(replace(done, state="stopped"))
    130
    """
    if facts.state == "stopped":
        return INTERRUPTED
    if facts.exit_code is None:
        return 0 if facts.state == "succeeded" else FAILED
    return 128 - facts.exit_code if facts.exit_code < 0 else facts.exit_code


def ended(facts: JobFacts) -> str:
    """Say in a few words how a job ended; of a failure without an exit code, why."""
    if facts.exit_code is None and facts.state == "failed":
        return f"failed: {' '.join(facts.message.split())[-600:]}"
    code = "" if facts.exit_code is None else f", exit code {exit_code(facts)}"
    return f"{facts.state}{code}"


def how_to(job_id: str, address: str) -> str:
    """Say how a job is followed and stopped."""
    job = f"--address {address} {job_id}"
    return f"Follow it: cisray jobs logs {job} --follow\nStop it:   cisray jobs stop {job}"


def _interrupted(jobs: Jobs, job_id: str, ask: Callable[[], bool] | None = None) -> int:
    """Leave the job or stop it, as the person wants."""
    wants_stop = (ask or _asks_to_stop)()
    if wants_stop:
        jobs.stop(job_id)
        _say(f"{job_id} was asked to stop. What is finished is kept.")
    else:
        _say(f"{job_id} goes on.\n{how_to(job_id, jobs.url)}")
    return INTERRUPTED


def _asks_to_stop() -> bool:
    """Ask a person; a second Ctrl-C, the end of the input, or nobody there mean no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return typer.confirm("\nStop the job on the cluster as well?", default=False, err=True)
    except (typer.Abort, KeyboardInterrupt):
        return False


def _say(text: str) -> None:
    typer.echo(text, err=True)
