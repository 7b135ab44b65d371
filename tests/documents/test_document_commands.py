"""Every command that a document shows is one (`documented_commands` says how that is found out)."""

import re
from pathlib import Path

import pytest
from documented_commands import problem
from documents import ROOT, SHELLS, Block, blocks, commands, lines_of, pages

SLURM = re.compile(r"\s*sbatch deploy/ray-on-slurm\.sh -- (.+)")
# Its commands are wrong on purpose, and are run (test_troubleshooting).
WRONG = {"troubleshooting.md"}
PAGES = [page for page in pages() if page.name not in WRONG]


def shown(block: Block) -> list[list[str]]:
    """List the commands of a block, those that Slurm is given among them."""
    if block.language not in SHELLS:
        return []
    on_slurm = [found[1].split() for line in lines_of(block.text) if (found := SLURM.match(line))]
    return [*commands(block.text), *on_slurm]


def problems(page: Path) -> list[str]:
    found = [(block, problem(words)) for block in blocks(page) for words in shown(block)]
    return [f"{block.place}: {told}" for block, told in found if told is not None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page: Path) -> None:
    assert problems(page) == []


def test_hundreds_of_commands_are_seen() -> None:
    found = [words for page in PAGES for block in blocks(page) for words in shown(block)]
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
