"""The commands of the workflow snippets parse, with what a workflow fills in filled in.

Neither Snakemake nor Nextflow is here; docs/workflows/README.md says what was run by hand.
"""

import re
import shlex

import pytest
from documented_commands import problem
from documents import DOCS

FOLDER = DOCS / "workflows"
# {input.vcf}, {params.tracks:q}, ${task.cpus}: a number serves for all.
FILLED_IN = re.compile(r"\$?\{[\w.:]+\}")


def snakemake_commands(text: str) -> list[str]:
    """Join the strings of each shell directive."""
    directives = re.findall(r'shell:\n((?:\s+"[^"\n]*"\n?)+)', text)
    return ["".join(re.findall(r'"([^"\n]*)"', found)) for found in directives]


def nextflow_commands(text: str) -> list[str]:
    """Take the lines of each script, with their continuations."""
    scripts = re.findall(r'"""\n(.*?)"""', text, re.DOTALL)
    joined = [re.sub(r"\\\\\n\s*", "", script) for script in scripts]
    return [line.strip() for script in joined for line in script.splitlines() if line.strip()]


def words_of(line: str) -> list[str]:
    """Make a line of shell the words of a command of cisray."""
    program, *words = shlex.split(FILLED_IN.sub("1", line).split(" > ")[0])
    assert program == "cisray"
    return words


@pytest.mark.parametrize(
    ("name", "found"), [("Snakefile", snakemake_commands), ("main.nf", nextflow_commands)]
)
def test_the_commands_parse(name, found) -> None:
    lines = found((FOLDER / name).read_text(encoding="utf-8"))
    commands = [words_of(line) for line in lines]
    assert [words[:2] for words in commands] == [["score", "variants"], ["runs", "export"]]
    assert [problem(words) for words in commands] == [None, None]
    assert problem([*commands[0], "--thread", "2"]) is not None
