"""Commands with places that each fire fills in.

Knows the names of the places; knows nothing of what commands mean.

    {time}      when the fire was due, in UTC: 20261127T203000Z
    {date}      the same day in the schedule's time zone: 2026-11-27
    {previous}  --out of the last fire that succeeded
    {input}     what is watched: the file that is new, or was fetched

Braces that are meant are written twice. While there is no previous success, an argument with
{previous} is left out, and so is the option before it: of `--since {previous}` both words.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from string import Formatter
from zoneinfo import ZoneInfo

from cisray.errors import ConfigError, near_matches
from cisray_jobs.schedule.cron import told_time

PREVIOUS, INPUT = "previous", "input"
PLACES = ("time", "date", PREVIOUS, INPUT)


def places_in(arguments: Sequence[str]) -> set[str]:
    """Find which places a command has.

    Raises ConfigError for a name that is none of `PLACES`, and for single braces.
    """
    return {place for argument in arguments for place in _places(argument)}


def _places(argument: str) -> Iterator[str]:
    try:
        for _, name, form, conversion in Formatter().parse(argument):
            if name is not None:
                if name not in PLACES or form or conversion:
                    raise ConfigError(
                        f"{argument!r} of the command has {{{name}}}, which is no place to fill in."
                        f"{near_matches(name, PLACES)} There are {{time}}, {{date}}, {{previous}} "
                        f"and {{input}}; braces that are meant are written twice."
                    )
                yield name
    except ValueError as error:
        raise ConfigError(
            f"{argument!r} of the command has a brace of its own ({error}). Braces that are meant "
            f"are written twice: {{{{ and }}}}."
        ) from None


def values_of(moment: int, zone: str) -> dict[str, str]:
    """Give what {time} and {date} are for a fire.

    >>> values_of(9000, "Europe/Berlin")
    {'time': '19700101T023000Z', 'date': '1970-01-01'}
    """
    local = datetime.fromtimestamp(moment, ZoneInfo(zone))
    return {"time": told_time(moment), "date": local.date().isoformat()}


def render(arguments: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Fill a command in, and leave out what needs a {previous} that is not among the values.

    Raises ConfigError where {previous} is not, or not after, an option that can be left out.

    >>> render(["--since", "{previous}", "--out", "runs/{time}"], {"time": "T"})
    ('--out', 'runs/T')
    """
    rendered: list[str] = []
    for argument in arguments:
        if PREVIOUS in places_in([argument]) and PREVIOUS not in values:
            if not argument.startswith("--"):
                _drop_option(rendered, argument)
            continue
        rendered.append(argument.format_map(values))
    return tuple(rendered)


def _drop_option(rendered: list[str], argument: str) -> None:
    if not rendered or not rendered[-1].startswith("-"):
        raise ConfigError(
            f"{argument!r} of the command stands after no option. The first fire has no previous "
            f"one and leaves it out, with the option before it: write --since {{previous}}."
        )
    rendered.pop()


def option_value(arguments: Sequence[str], option: str) -> str | None:
    """Give the last value of an option among filled-in arguments, None where it is not given.

    >>> option_value(["--out", "a", "--out=b"], "--out")
    'b'
    """
    value = None
    for at, argument in enumerate(arguments):
        if argument == option and at + 1 < len(arguments):
            value = arguments[at + 1]
        elif argument.startswith(f"{option}="):
            value = argument.partition("=")[2]
    return value
