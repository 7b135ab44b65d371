"""Write the reference pages that are made of the code: commands, tables, named errors.

Knows how typer, Arrow and `cisray.errors` describe themselves; knows no command and no table.
`make reference` calls it, and a test fails while a page is not what it would write.
"""

import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cisray import errors
from cisray_jobs.cli import command_line
from cisray_schemas import TABLES, Table

HERE = Path(__file__).resolve().parent / "reference"
MADE = "<!-- Made by `make reference` of the code. Change the code, not this page. -->\n"
_TYPES = {str: "TEXT", Path: "PATH", int: "INTEGER", float: "NUMBER", bool: ""}


def reference_pages() -> dict[str, str]:
    """Give every generated page: its path below docs/reference, and its text."""
    root = command_line()
    commands: dict[str, Any] = dict(sorted(root.commands.items()))  # type: ignore[attr-defined]  # a group
    return {
        "cli/README.md": list_of_commands(root, commands),
        **{f"cli/{name}.md": command_page(name, found) for name, found in commands.items()},
        "tables.md": tables_page(),
        "errors.md": errors_page(),
    }


def list_of_commands(root: Any, commands: dict[str, Any]) -> str:
    """Write the page that lists all commands, with the options that stand before any of them."""
    lines = [MADE, "# The command line", ""]
    lines += [
        "Every command has `--help`, says what it did on stdout, how it goes on stderr, and ends",
        "with one of four [exit codes](../errors.md). Below `Example:` stands what its help shows.",
        "`--tracks` and other options that may be repeated are marked; defaults stand in brackets.",
        "",
    ]
    for name, command in commands.items():
        lines.append(f"- [cisray {name}]({name}.md): {plain(first_line(command))}")
    lines += ["", "Before a command, as `cisray --version`:", "", *parameter_table(root)]
    return "\n".join(lines).rstrip() + "\n"


def command_page(name: str, command: Any) -> str:
    """Write the page of a command, or of a group with all of its commands."""
    sections = [section for found in leaves(name, command) for section in command_lines(*found)]
    head = [MADE, f"# cisray {name}", ""]
    if hasattr(command, "commands"):
        head += [plain(first_line(command)), ""]
    return "\n".join([*head, *sections]).rstrip() + "\n"


def leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Give the commands of a group by their full names; of a command itself."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for child in sorted(command.commands):
        yield from leaves(f"{name} {child}", command.commands[child])


def command_lines(name: str, command: Any) -> list[str]:
    """Describe one command: what it does, its arguments, its options."""
    lines = [f"## cisray {name}", ""]
    for paragraph in (command.help or "").split("\n\n"):
        lines += [as_example(paragraph), ""]
    return [*lines, *parameter_table(command)]


def parameter_table(command: Any) -> list[str]:
    """Describe what a command is given: a table, or nothing where it takes nothing."""
    hints = inspect.signature(command.callback).parameters
    rows = [row(parameter, hints) for parameter in command.params if parameter.name in hints]
    return ["| option | takes | what it is |", "|---|---|---|", *rows, ""] if rows else []


def row(parameter: Any, hints: Any) -> str:
    """Describe a parameter as a row of a table."""
    is_option = parameter.opts[0].startswith("-")
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name.upper()]
    annotation = hints[parameter.name].annotation
    notes = plain(help_of(annotation))
    if parameter.required:
        notes = f"*Required.* {notes}".rstrip()
    elif "default:" not in notes and parameter.default not in (None, False, True, ()):
        notes = f"{notes} [default: {plain(str(parameter.default))}]".strip()
    spelled = ", ".join(f"`{name}`" for name in names)
    return f"| {spelled} | {takes(annotation)} | {notes} |"


def help_of(annotation: Any) -> str:
    """Find a parameter's help; not every version of typer gives that of arguments."""
    notes = (getattr(note, "help", None) for note in getattr(annotation, "__metadata__", ()))
    return next((note for note in notes if note), "")


def takes(annotation: Any) -> str:
    """Say what kind of value an annotated parameter takes.

    >>> takes(list[Path] | None), takes(Literal["a", "b"]), takes(bool)
    ('PATH, may be repeated', '`a` or `b`', '')
    """
    kind = annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation
    several = False
    for _ in range(2):  # `list[X] | None`: two wrappings at most
        if get_origin(kind) is list:
            several, kind = True, get_args(kind)[0]
        elif type(None) in get_args(kind):
            kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    return _TYPES[kind] + (", may be repeated" if several else "")


def as_example(paragraph: str) -> str:
    """Set the example of a help text as code, and anything else as text."""
    example = re.fullmatch(r"\s*Example: (.*)", paragraph, re.DOTALL)
    if example is None:
        return plain(" ".join(paragraph.split()))
    return f"Example:\n\n    {' '.join(example[1].split())}"


def first_line(command: Any) -> str:
    """Give the first sentence or line of a command's help."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def plain(text: str) -> str:
    """Escape what Markdown would read as a sign; code between backticks stays code.

    >>> plain("'CAGE:*K562*' | <DEL> `a*b`")
    "'CAGE:\\\\*K562\\\\*' \\\\| &lt;DEL&gt; `a*b`"
    """
    parts = text.split("`")
    for place in range(0, len(parts), 2):
        escaped = re.sub(r"([*|\\\[\]_])", r"\\\1", parts[place])
        parts[place] = escaped.replace("<", "&lt;").replace(">", "&gt;")
    return "`".join(parts)


def tables_page() -> str:
    """Write the page of all tables."""
    lines = [MADE, "# Tables", ""]
    lines += [
        "What every Parquet and Arrow file of cisray holds. A table has a name and a version,",
        "which each file tells in its metadata; a changed column is a new version. Where they lie",
        "is said by [storage](../storage.md) for runs, [datasets](../datasets.md), the",
        "[made-up genome](../synthetic.md) and [evaluations](../evaluation.md). In Python:",
        "`cisray_schemas.TABLES`.",
        "",
    ]
    for table in TABLES.values():
        lines += table_lines(table)
    return "\n".join(lines).rstrip() + "\n"


def table_lines(table: Table) -> list[str]:
    """Describe a table: its order, and a row for each column."""
    order = ", ".join(f"`{name}`" for name in table.sort_by)
    lines = [f"## {table.format}", "", f"In the order of {order}.", ""]
    lines += ["| column | type | unit, base | meaning |", "|---|---|---|---|"]
    for field in table.schema:
        notes = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
        measure = ", ".join(notes[key] for key in ("unit", "base") if key in notes)
        kind = f"{field.type}, may be null" if field.nullable else str(field.type)
        meaning = plain(notes["meaning"])
        lines.append(f"| `{field.name}` | {plain(kind)} | {measure} | {meaning} |")
    if table.value_pattern:
        each = "statistic and track" if "{statistic}" in table.value_pattern else "track"
        kind = "float, null where the statistic is partial" if table.partial else "float"
        lines.append(f"| `{table.value_pattern}` | {kind} | | one column for each {each} |")
    return [*lines, ""]


def errors_page() -> str:
    """Write the page of exit codes and named errors."""
    lines = [MADE, "# Exit codes and named errors", ""]
    lines += [
        "| code | meaning |",
        "|---:|---|",
        "| 0 | done, and nothing wrong or different |",
        "| 1 | the work failed; or `runs verify` found a problem, `runs diff` a difference |",
        "| 2 | something in the input, the options or the files handed over is to be mended |",
        "| 130 | interrupted (Ctrl-C, SIGINT) |",
        "",
        "An error is one paragraph on stderr: the value, where it stands, and the way out, never a",
        "traceback. In Python each has a class in `cisray.errors`, all of them `CisrayError`.",
        "[Troubleshooting](../troubleshooting.md) quotes those that people meet.",
        "",
        "| class | code | when |",
        "|---|---:|---|",
    ]
    for found in named_errors():
        meaning = plain(" ".join((found.__doc__ or "").split("\n\n")[0].split()))
        lines.append(f"| `{found.__name__}` | {found.exit_code} | {meaning} |")
    return "\n".join(lines) + "\n"


def named_errors() -> list[type[errors.CisrayError]]:
    """List the errors of `cisray.errors` in the order of their definition."""
    classes = [found for found in vars(errors).values() if inspect.isclass(found)]
    return [found for found in classes if issubclass(found, errors.CisrayError)]


def write_pages(folder: Path) -> None:
    """Write every page below `folder`, and remove those of commands that are gone."""
    shutil.rmtree(folder / "cli", ignore_errors=True)
    for name, text in reference_pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages(HERE)
