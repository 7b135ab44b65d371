"""When a schedule is due: zones, changes of clocks, and times that nobody looked at."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import ConfigError
from cisray_jobs.schedule.cron import (
    checked_cron,
    checked_zone,
    due_between,
    next_times,
    times_after,
)

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
CRONS = ("* * * * *", "*/7 * * * *", "30 2 * * *", "15 */2 * * *", "0 0 1 * *", "30 1 * * SUN")


def utc(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())


def told(cron: str, zone: str, after: str, count: int) -> list[str]:
    moments = next_times(cron, zone, utc(after), count)
    return [datetime.fromtimestamp(moment, UTC).strftime("%m-%d %H:%M") for moment in moments]


def test_a_local_hour_moves_in_utc_with_summer_time() -> None:
    # 03:00 in Berlin is 02:00 UTC in winter, 01:00 UTC in summer; clocks move on 03-29 and 10-25.
    assert told("0 3 * * *", "Europe/Berlin", "2026-03-27T12:00", 3) == [
        "03-28 02:00", "03-29 01:00", "03-30 01:00",
    ]  # fmt: skip


def test_a_time_in_the_hour_that_does_not_exist_is_due_when_clocks_have_moved() -> None:
    # 02:30 on 03-29 is not; 03:00 summer time is 01:00 UTC.
    assert told("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", 3) == [
        "03-28 01:30", "03-29 01:00", "03-30 00:30",
    ]  # fmt: skip


def test_a_fixed_time_in_the_doubled_hour_is_due_once() -> None:
    # 02:30 on 10-25 comes at 00:30 and at 01:30 UTC.
    assert told("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "10-25 00:30", "10-26 01:30",
    ]  # fmt: skip


def test_every_half_hour_goes_on_through_the_doubled_hour() -> None:
    assert told("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:30", 5) == [
        "10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00",
    ]  # fmt: skip


def test_a_fixed_time_is_not_due_again_when_a_pass_falls_between_the_doubled_hours() -> None:
    # Asked anew from 00:45 UTC, which is 02:45 the first time, the second 02:30 lies ahead.
    assert told("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45", 1) == ["10-26 01:30"]
    assert told("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15", 1) == ["10-26 01:30"]


@settings(deadline=None)
@given(
    cron=st.sampled_from(CRONS),
    zone=st.sampled_from(ZONES),
    begin=st.integers(utc("2026-01-01T00:00"), utc("2026-12-28T00:00")),
    cuts=st.lists(st.integers(0, 3 * 86_400), max_size=5),
)
def test_however_often_one_looks_every_time_is_due_once(
    cron: str, zone: str, begin: int, cuts: list[int]
) -> None:
    end = begin + 3 * 86_400
    whole = due_between(cron, zone, begin, end)
    looks = [begin, *(begin + cut for cut in sorted(cuts)), end]
    parts = [due_between(cron, zone, a, b) for a, b in pairwise(looks)]
    found = [part for part in parts if part is not None]
    assert sum(part.number for part in found) == (0 if whole is None else whole.number)
    assert (found[-1].latest if found else None) == (None if whole is None else whole.latest)
    assert all(a < part.latest <= b for part, (a, b) in zip(
        parts, pairwise(looks), strict=True) if part)  # fmt: skip


def test_a_time_is_later_than_where_one_looks_from() -> None:
    moment = utc("2026-11-23T12:00")
    assert next(times_after("* * * * *", "UTC", moment)) == moment + 60
    assert next(times_after("* * * * *", "UTC", moment - 1)) == moment
    assert due_between("* * * * *", "UTC", moment - 1, moment) == (moment, 1)
    assert due_between("* * * * *", "UTC", moment, moment + 59) is None
    assert due_between("* * * * *", "UTC", moment, moment - 300) is None


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "@daily", "0 0 * * MOON"]
)
def test_what_is_no_expression_or_never_due_is_refused(cron: str) -> None:
    with pytest.raises(ConfigError, match="--cron"):
        checked_cron(cron)


def test_spaces_are_tidied_and_zones_known() -> None:
    assert checked_cron(" 0  3 * *\tMON ") == "0 3 * * MON"
    assert checked_zone("Asia/Kolkata") == "Asia/Kolkata"
    for zone in ("Europe/Berlin2", "", "../etc/passwd"):
        with pytest.raises(ConfigError, match="--timezone"):
            checked_zone(zone)
