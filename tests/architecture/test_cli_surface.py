"""The command line is frozen: an option comes, goes or changes only together with this snapshot."""

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cisray_jobs.cli import command_line

SNAPSHOT = Path(__file__).parent / "snapshots" / "cli.txt"


def surface(command: Any, path: str = "cisray") -> Iterator[str]:
    """Every command and its parameters: names, type, default, and whether it may repeat."""
    children = getattr(command, "commands", None)
    yield path + ("" if children is None else " ...")
    hints = inspect.signature(command.callback).parameters if command.callback else {}
    for parameter in command.params:
        yield f"  {describe(parameter, hints)}"
    for name in sorted(children or {}):
        yield from surface(children[name], f"{path} {name}")


def describe(parameter: Any, hints: typing.Mapping[str, inspect.Parameter]) -> str:
    is_option = parameter.opts[0].startswith("-")
    names = " ".join(parameter.opts) if is_option else parameter.name.upper()
    hint = hints[parameter.name].annotation
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    words = [names, getattr(kind, "__name__", "") if isinstance(kind, type) else readable(kind)]
    if parameter.required:
        words.append("required")
    elif parameter.default is not None and parameter.default is not False:
        words.append(f"[{parameter.default}]")
    return " ".join(words)


def readable(kind: Any) -> str:
    return str(kind).replace("typing.", "").replace("pathlib.", "").replace(" | None", "")


def test_the_command_line_equals_its_snapshot() -> None:
    told = "\n".join(surface(command_line())) + "\n"
    assert told == SNAPSHOT.read_text(), (
        "The command line changed. If that is meant: what is removed or renamed breaks users' "
        "scripts, so say it in the changelog; then write the text on the left into "
        f"{SNAPSHOT.relative_to(SNAPSHOT.parents[3])}."
    )


def test_the_snapshot_sees_types_and_defaults() -> None:
    lines = list(surface(command_line()))
    assert (
        "  --size Literal['tiny', 'small', 'enformer', 'basenji2-tiny', 'basenji2'] required"
        in lines
    )
    assert "  --seed int [0]" in lines
    assert "  OUT Path required" in lines
