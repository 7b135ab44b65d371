"""What long commands say beside their result: progress, and the log, both on stderr.

Knows how much of it was asked for; knows no command.
"""

import logging
from typing import Any


def display_of(*, quiet: bool) -> Any:
    """Choose how progress is shown."""
    # Waits until a command needs it: `cisray --help` is to answer at once.
    from cisray.engine.progress import Display

    return Display.NONE if quiet else Display.AUTO


def log_to_stderr(*, verbose: bool) -> None:
    """Log warnings, or what happens to workers as well."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
