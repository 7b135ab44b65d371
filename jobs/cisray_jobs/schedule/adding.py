"""A new schedule, refused for what would go wrong later: all is tried that can be, unstarted.

Knows definitions, templates and inputs; knows the command line only as something that parses.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from cisray.errors import ConfigError
from cisray_jobs.schedule.cron import checked_cron, checked_zone, next_times, told_time
from cisray_jobs.schedule.definition import Schedule
from cisray_jobs.schedule.template import (
    INPUT,
    PREVIOUS,
    option_value,
    places_in,
    render,
    values_of,
)
from cisray_jobs.schedule.watch import check_watch, is_pattern, is_url

Parse = Callable[[Sequence[str]], None]

# Times in a row whose outputs are told apart: an hourly {date} differs around midnight alone.
_AHEAD = 100
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str, option: str) -> int:
    """Read a length of time. Raises ConfigError for anything but a whole number and its unit.

    >>> seconds_of("90s", "--back-off"), seconds_of("2h", "--max-late")
    (90, 7200)
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise ConfigError(
            f"{option} {text!r} is no length of time: write a whole number and its unit, as 90s, "
            f"10m, 2h or 1d."
        )
    return int(found[1]) * _UNITS[found[2]]


def checked_schedule(schedule: Schedule, parse: Parse, inputs: Path) -> Schedule:
    """Give a schedule back with its expression tidied, if it can run as far as one can tell.

    `parse` raises ConfigError for a command line that is none, or with places that are not seen
    where it runs; below `inputs` lies what is fetched. Two times in a row are filled in, the first
    without a previous success and the second after it; no two of the next hundred in a row may have
    one --out.

    Raises ConfigError.
    """
    tidy = schedule.model_copy(
        update={
            "cron": checked_cron(schedule.cron),
            "timezone": checked_zone(schedule.timezone),
            "command": _without_program(schedule.command),
        }
    )
    _check_places(tidy)
    moments = next_times(tidy.cron, tidy.timezone, tidy.created, _AHEAD)
    first = _filled(tidy, moments[0], inputs)
    parse(first)
    parse(_filled(tidy, moments[1], inputs, option_value(first, "--out") or "previous-run"))
    _check_outputs(tidy, moments, inputs)
    return tidy


def _without_program(command: tuple[str, ...]) -> tuple[str, ...]:
    words = command[1:] if command[:1] == ("cisray",) else command
    if not words:
        raise ConfigError("no command is given: write it after --, as -- score variants ...")
    if words[0] == "schedule":
        raise ConfigError("a schedule cannot run cisray schedule. Give the command itself.")
    return words


def _check_places(schedule: Schedule) -> None:
    places = places_in(schedule.command)
    if INPUT in places and schedule.watch is None:
        raise ConfigError(
            "the command has {input}, and no --watch says what that is. Add --watch, or name the "
            "file."
        )
    if schedule.watch is not None:
        check_watch(schedule.watch, Path(schedule.folder))
        if is_pattern(schedule.watch) and INPUT not in places:
            raise ConfigError(
                f"--watch {schedule.watch!r} is a pattern, of which each fire takes one file, and "
                f"the command has no {{input}} to be given it. Write {{input}} where it belongs."
            )


def _filled(
    schedule: Schedule, moment: int, inputs: Path, previous: str | None = None
) -> tuple[str, ...]:
    values = values_of(moment, schedule.timezone)
    if previous is not None:
        values[PREVIOUS] = previous
    if schedule.watch is not None:
        fetched = inputs / schedule.key / "input"
        is_fetched = is_url(schedule.watch)
        values[INPUT] = str(fetched if is_fetched else Path(schedule.folder, schedule.watch))
    return render(schedule.command, values)


def _check_outputs(schedule: Schedule, moments: Sequence[int], inputs: Path) -> None:
    outputs = [option_value(_filled(schedule, moment, inputs), "--out") for moment in moments]
    if None in outputs and PREVIOUS in places_in(schedule.command):
        raise ConfigError(
            "the command has {previous}, the --out of the last success, and no --out. Add one."
        )
    for (one, first), (other, second) in pairwise(zip(moments, outputs, strict=True)):
        if first is not None and first == second:
            raise ConfigError(
                f"the fires of {told_time(one)} and {told_time(other)} would both write to --out "
                f"{first}. Put {{time}} into it, as --out runs/{{time}}."
            )
