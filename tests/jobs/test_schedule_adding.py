"""What is refused when a schedule is added does not hang on the time of day at which it is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cisray.errors import ConfigError
from cisray_jobs.schedule.adding import checked_schedule
from cisray_jobs.schedule.definition import Schedule

DAY, HOUR = 86_400, 3_600
MIDNIGHT = 20_000 * DAY


def checked(cron: str, out: str, created: int, folder: Path) -> list[Sequence[str]]:
    """Add a schedule; give the commands that were parsed."""
    parsed: list[Sequence[str]] = []
    schedule = Schedule(
        name="night", uid="u", cron=cron, timezone="UTC", command=("score", "--out", out),
        folder=str(folder), created=created,
    )  # fmt: skip
    checked_schedule(schedule, parsed.append, folder / "inputs")
    return parsed


@pytest.mark.parametrize("hour", range(24))
def test_an_hourly_date_is_refused_at_any_hour(hour: int, tmp_path: Path) -> None:
    created = MIDNIGHT + hour * HOUR + 1_800
    with pytest.raises(ConfigError, match="both write to --out runs/2024-10-"):
        checked("0 * * * *", "runs/{date}", created, tmp_path)
    first, second = checked("0 * * * *", "runs/{time}", created, tmp_path)
    assert first != second


def test_a_nightly_date_is_not_refused(tmp_path: Path) -> None:
    assert len(checked("0 3 * * *", "runs/{date}", MIDNIGHT, tmp_path)) == 2
