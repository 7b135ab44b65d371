"""Every command that a document shows is one: its options exist, and its settings are accepted.

Nothing is opened and nothing computed. A word `...` means that a page leaves out the rest of a
command; then the options before it have to exist.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from documents import ROOT, SHELLS, Block, blocks, commands, find_command, lines_of, pages

from cisray.errors import CisrayError
from cisray_jobs.cli import app
from cisray_jobs.config import SettingsRead, rehearsed
from cisray_jobs.submit.command import READ_SETTINGS

COMMAND_LINE = typer.main.get_command(app)
# typer has its own copy of click, or uses that of the environment.
USAGE_ERROR: Any = typer.BadParameter.__base__
# They are given another command, after --.
CARRIERS = {("submit",), ("schedule", "add")}
SLURM = re.compile(r"\s*sbatch deploy/ray-on-slurm\.sh -- (.+)")
PLACEHOLDER = re.compile(r"[A-Z]+$")


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
    if "..." in rest:
        check_options(leaf, rest[: rest.index("...")])
        return
    if names in CARRIERS:
        rest, carried = split_at_dashes(rest)
        if not PLACEHOLDER.match(carried[0]):
            check(carried)
        rest = [*rest, "--", *carried]
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


def shown(block: Block) -> list[list[str]]:
    """List the commands of a block, those that Slurm is given among them."""
    if block.language not in SHELLS:
        return []
    on_slurm = [found[1].split() for line in lines_of(block.text) if (found := SLURM.match(line))]
    return [*commands(block.text), *on_slurm]


def problems(page: Path) -> list[str]:
    found = [(block, problem(words)) for block in blocks(page) for words in shown(block)]
    return [f"{block.place}: {told}" for block, told in found if told is not None]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page: Path) -> None:
    assert problems(page) == []


def test_hundreds_of_commands_are_seen() -> None:
    found = [words for page in pages() for block in blocks(page) for words in shown(block)]
    assert len(found) > 90
    assert {words[0] for words in found} >= {
        "dataset", "evaluate", "jobs", "model", "runs", "schedule", "score", "submit",
        "train",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cisray score tiles --out x", "cisray score tiles is no command"),
        ("cisray runs diff a b --tolerence 1", "No such option"),
        ("cisray runs export ... --format vcf", None),
        ("cisray runs export --formt ...", "no option --formt"),
        ("cisray score genome --model m --fasta f --out o --precision float12", "precision"),
        ("cisray submit -- score genome --modell m", "--modell"),
        ("cisray schedule add n --cron '0 3 * * *' -- runs list runs --dept 2", "--dept"),
    ],
)
def test_the_check_sees_what_is_wrong(line: str, told: str | None) -> None:
    (words,) = commands(line)
    found = problem(words)
    assert (found is None) if told is None else (found is not None and told in found)


def test_how_commands_are_found_in_a_block() -> None:
    text = "$ cisray a --b \\\n    c  # why\nX=1 /opt/bin/cisray d | less\n  not cisray e\n"
    assert list(commands(text)) == [["a", "--b", "c"], ["d"]]
