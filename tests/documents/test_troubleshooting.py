"""Every message of docs/troubleshooting.md is made by its command, word for word."""

import re
import shlex
from pathlib import Path

import pytest
from documents import DOCS, Block, blocks

from cisray_jobs import cli

PAGE = DOCS / "troubleshooting.md"
QUOTED = [block for block in blocks(PAGE) if block.language == "console"]
DIFFERS = "[...]"  # what is another on every machine


def parts(block: Block) -> tuple[list[str], str]:
    """Give a block's command without its program, and the message below it."""
    command, _, message = block.text.partition("\n")
    program, *words = shlex.split(command.removeprefix("$ "))
    assert program == "cisray", block.place
    return words, " ".join(message.split())


def pattern_of(message: str) -> str:
    """Make a pattern of a message: what differs may be any text."""
    return ".+".join(re.escape(part) for part in message.split(DIFFERS))


@pytest.mark.parametrize("block", QUOTED, ids=lambda block: f"line {block.line}")
def test_the_message_is_what_the_command_says(
    block: Block,
    broken_runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, message = parts(block)
    monkeypatch.chdir(broken_runs)
    assert cli.run(words) in (1, 2)
    captured = capsys.readouterr()
    told = " ".join((captured.out + captured.err).split()).replace(f"{broken_runs}/", "/data/")
    assert message, f"{block.place} quotes nothing; the command says: {told}"
    assert re.fullmatch(pattern_of(message), told), f"{block.place}: the command says: {told}"


def test_messages_are_compared_word_for_word() -> None:
    assert len(QUOTED) > 20
    assert re.fullmatch(pattern_of("torch [...] sees a|b."), "torch 2.13+cpu sees a|b.")
    assert not re.fullmatch(pattern_of("torch [...] sees a|b."), "torch 2.13+cpu sees a.")
