"""Whether a command that is shown somewhere is one, by the command line's own parser.

Names and options have to exist, and settings to be accepted, also those of a command that another
one is given after `--`. Nothing is opened and nothing computed. A word `...` means that the rest of
a command is left out; then the options before it have to exist.
"""

import re
from typing import Any

import pytest
import typer
from documents import find_command

from cisray.errors import CisrayError
from cisray_jobs.cli import command_line
from cisray_jobs.config import SettingsRead, rehearsed
from cisray_jobs.submit.command import READ_SETTINGS

COMMAND_LINE = command_line()
# typer has its own copy of click, or uses that of the environment.
USAGE_ERROR: Any = typer.BadParameter.__base__
# They are given another command, after --.
CARRIERS = {("submit",), ("schedule", "add"), ("schedule", "settle")}
FILLED_IN = re.compile(r"\{(\w+)\}")  # by a schedule
PLACEHOLDER = re.compile(r"[A-Z]+$")
LEFT_OUT = "..."


def problem(words: list[str]) -> str | None:
    """Say what is wrong with a command, or None."""
    try:
        check(words)
    except USAGE_ERROR as error:
        told = error.format_message()
    except (AssertionError, CisrayError) as error:
        told = str(error)
    else:
        return None
    return f"cisray {' '.join(words)}: {told}"


def check(words: list[str]) -> None:
    names, leaf, rest = find_command(COMMAND_LINE, words)
    if names in CARRIERS:
        _, carried = split_at_dashes(rest)
        if not PLACEHOLDER.match(carried[0]):
            check([FILLED_IN.sub(r"\1", word) for word in carried])
    elif LEFT_OUT in rest:
        check_options(leaf, rest[: rest.index(LEFT_OUT)])
        return
    # What the reader puts in is no name of a bucket.
    context = leaf.make_context(" ".join(names), [w.replace("//BUCKET", "//bucket") for w in rest])
    if names in READ_SETTINGS and context.params.get("config") is None:
        with rehearsed(), context, pytest.raises(SettingsRead):
            leaf.invoke(context)


def split_at_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    assert "--" in words, "no command after --"
    place = words.index("--")
    return words[:place], words[place + 1 :]


def check_options(leaf: Any, words: list[str]) -> None:
    known = {name for parameter in leaf.params for name in parameter.opts}
    for word in words:
        assert not word.startswith("--") or word.partition("=")[0] in known, f"no option {word}"
