"""When a schedule is due: cron expressions in time zones, to seconds since 1970 UTC.

Knows cronsim, which follows Debian's cron; knows nothing of ledgers. At a change to summer time,
what stands at an hour that does not exist is due when the clocks have been moved. At a change
back, an expression with a fixed hour is due once, the first time; one with * in the hour or the
minute is due in both hours.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from cisray.errors import ConfigError

_FIELDS = 5


class Due(NamedTuple):
    """Times of a schedule that have come: the `latest`, and the `number` of them with it."""

    latest: int
    number: int


def checked_cron(expression: str) -> str:
    """Give an expression back, its spaces tidied.

    Raises ConfigError where it is none, or is never due.
    """
    tidy = " ".join(expression.split())
    try:
        if len(tidy.split(" ")) != _FIELDS:
            raise CronSimError(f"{len(tidy.split())} fields")
        next(CronSim(tidy, datetime(2026, 1, 1, tzinfo=UTC)))
    except StopIteration:
        raise ConfigError(
            f"--cron {expression!r} is never due: no year has such a day. Write five fields, "
            f"minute hour day month weekday, as '0 3 * * *' for every night at 3."
        ) from None
    except CronSimError as error:
        raise ConfigError(
            f"--cron {expression!r} is no cron expression ({error}). Write five fields, "
            f"minute hour day month weekday, as '0 3 * * *' for every night at 3."
        ) from None
    return tidy


def checked_zone(name: str) -> str:
    """Give the name of a time zone back. Raises ConfigError where there is no such zone."""
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ConfigError(
            f"--timezone {name!r} is no time zone of this machine. Write a name of the IANA "
            f"database, as Europe/Berlin or UTC."
        ) from None
    return name


def times_after(expression: str, zone: str, after: int) -> Iterator[int]:
    """Give the times at which an expression is due, all later than `after`, without end.

    >>> next(times_after("30 2 * * *", "UTC", 0))
    9000
    """
    begin = datetime.fromtimestamp(after, ZoneInfo(zone))
    last = after
    for due in CronSim(expression, begin):
        moment = int(due.timestamp())
        # Two local times of a change of clocks may be one moment.
        if moment > last:
            yield moment
            last = moment


def due_between(expression: str, zone: str, after: int, until: int) -> Due | None:
    """Find the times that are later than `after` and no later than `until`; None for none."""
    found = None
    for count, moment in enumerate(times_after(expression, zone, after), start=1):
        if moment > until:
            break
        found = Due(moment, count)
    return found


def next_times(expression: str, zone: str, after: int, count: int) -> list[int]:
    """Give the next few times."""
    return list(islice(times_after(expression, zone, after), count))


def told_time(moment: int) -> str:
    """Write a moment as names of files have it, in UTC.

    >>> told_time(9000)
    '19700101T023000Z'
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%Y%m%dT%H%M%SZ")
