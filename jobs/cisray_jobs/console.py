"""What long commands say beside their result: progress, and the log, both on stderr.

Knows how much of it was asked for, and in which form; knows no command.
"""

import logging
from typing import Any

from cisray.logs import LogFormat, LogSettings, choose, chosen, configure


def choose_log_format(form: LogFormat) -> None:
    """Have whatever this process and its workers say on stderr be text, or JSON line by line."""
    if form == "json":
        configure(LogSettings(form))
    else:
        choose(LogSettings(form))


def display_of(*, quiet: bool) -> Any:
    """Choose how progress is shown."""
    # Waits until a command needs it: `cisray --help` is to answer at once.
    from cisray.engine.progress import Display

    if quiet:
        return Display.NONE
    return Display.LOG if is_json() else Display.AUTO


def log_to_stderr(*, verbose: bool) -> None:
    """Log warnings, or what happens to workers as well."""
    form: LogFormat = "json" if is_json() else "text"
    configure(LogSettings(form, logging.INFO if verbose else logging.WARNING))


def is_json() -> bool:
    """Tell whether stderr is for machines."""
    settings = chosen()
    return settings is not None and settings.format == "json"
