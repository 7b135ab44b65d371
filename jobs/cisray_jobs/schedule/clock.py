"""What time it is; knows nothing of schedules.

Whoever needs the time is handed a clock, so that a test can be a week long and take a second.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells seconds since 1970-01-01 00:00 UTC."""

    def now(self) -> int:
        """Tell the time."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> int:
        """Tell the time."""
        return int(time.time())
