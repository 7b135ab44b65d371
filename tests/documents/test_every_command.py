"""Every command that a document shows is run, or its reason not to be stands in docs/tried.md.

A command is in a block that is marked `run`, or on the page of messages, and its page runs; or it
is on docs/tried.md; all others are run here, in the reader's words, each in a copy of one small
world that has what the words name. What cannot hold in small is exchanged by the tables below.
"""

import re
import shlex
import shutil
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from documented_commands import COMMAND_LINE
from documents import DOCS, ROOT, SHELLS, Block, blocks, commands, find_command, pages
from effect_jobs import command

Words = tuple[str, ...]
TRIED = DOCS / "tried.md"
# Its commands are run by a test of its own (test_troubleshooting).
RUN_PAGES = {"troubleshooting.md"}


class StandIn(NamedTuple):
    """Words of the pages, what they become here in commands that begin so, and why."""

    words: str
    other: str
    why: str
    of: str = ""


STAND_INS = (
    StandIn("chr20:44,355,520-44,355,804", "chr20:5,001-5,010", "the small genome ends before"),
    StandIn("chr21:25,000,001-25,100,000", "chr21:5,001-6,000", "the small genome ends before"),
    StandIn("4828", "5", "the small model has 8 tracks"),
    StandIn("blood=4828", "blood=5", "the small model has 8 tracks"),
    StandIn("CAGE:*hepatocellular*", "CAGE:*liver*", "the small model has no such track"),
    StandIn("--tracks CAGE:alpha", "--tracks CAGE", "the small model has no such track"),
    StandIn("--size enformer", "--size tiny", "a gigabyte", "model init"),
    StandIn("human=targets_human.txt", "human=targets_of_three.txt",
            "the checkpoint that stands in has 3 tracks", "model convert"),
    StandIn("--size enformer --steps 300000", "--size tiny --steps 2", "weeks of GPUs"),
    StandIn("--workers 8 --num-gpus 1 --batch-size 64 --micro-batches 8", "--batch-size 2",
            "there is no GPU, and few examples"),
    StandIn("human=chr1,chr2,chr3", "human=chr20,chr21", "chromosomes of the small genome"),
    StandIn("human=chr8,chr9", "human=chr20", "chromosomes of the small genome"),
    StandIn("human=chr10", "human=chr21", "chromosomes of the small genome"),
    StandIn("--folds 8", "--folds 2", "there are few regions"),
    StandIn("--valid 0.1 --test 0.1", "--valid 0.2 --test 0.2", "there are few regions"),
    StandIn("--extend-to 196608", "--extend-to 12288", "records of 8,192 bp"),
    StandIn("--crop-to 196608 --target-bins 896", "--crop-to 4096 --target-bins 16",
            "records of 8,192 bp"),
    StandIn("--node-cache /scratch", "--node-cache {here}", "there is no such disk"),
)  # fmt: skip
# What is said besides, where a command has the option and the page does not say it.
BESIDES = {
    "--workers": ("0", "no Ray"),
    "--threads": ("1", "tests share a machine"),
    "--quiet": ("", "no progress"),
    "--device": ("cpu", "no GPU"),
    "--repeats": ("1", "a hundredth of the forests"),
    "--folds": ("2", "a fifth of the forests"),
    "--bootstraps": ("20", "intervals are not looked at"),
    "--min-genes": ("3", "the small genome has 8 genes"),
}
SMALL_MODEL = {
    "dataset split": "--input-bp 4096 --region-bp 4500",
    "dataset build": "--input-bp 4096 --target-bins 16",
    "dataset synthetic": "--chromosomes 3 --chromosome-bp 60000 --individuals 20",
    "model convert": "--input-bp 64 --target-bins 4",
    "train": "--warmup-rounds 1 --valid-every 2 --checkpoint-every 2",
}
# Folds are of `dataset split` as well, where they are another thing.
NOT_BESIDES = {("dataset split", "--folds")}
# What a reader has done before, in the same folder.
NIGHTLY = "schedule add nightly --cron '0 3 * * *' -- runs list runs"
BEFORE = {
    f"schedule {name}": NIGHTLY for name in ("pause", "remove", "resume", "run-now", "show", "stop")
}
# Exit codes that are an answer: runs in two precisions differ, if only in what they are made from.
ANSWERS = {
    "runs diff runs/chr21 runs/chr21-bfloat16": 1,
    "runs diff runs/chr21 runs/chr21-bfloat16 --tolerance 0.01": 1,
}


class Shown(NamedTuple):
    """A command, and the first block that shows it."""

    words: Words
    block: Block

    @property
    def line(self) -> str:
        return shlex.join(self.words)


class Tried(NamedTuple):
    """A row of docs/tried.md: how some commands begin, why no test runs them, and what was done."""

    words: Words
    why: str
    how: str


def shown() -> list[Shown]:
    """List every command of the pages once."""
    found: dict[Words, Shown] = {}
    for page in pages():
        for block in blocks(page):
            for words in commands(block.text) if block.language in SHELLS else ():
                found.setdefault(tuple(words), Shown(tuple(words), block))
    return list(found.values())


def run_elsewhere() -> set[Words]:
    """Give the commands of blocks and pages that tests of their own run."""
    return {
        tuple(words)
        for page in pages()
        for block in blocks(page)
        if "run" in block.marks or page.name in RUN_PAGES
        for words in commands(block.text)
    }


def tried() -> list[Tried]:
    """Read the tables of docs/tried.md, of which the commands of cisray are rows."""
    cells = re.findall(r"^\| `cisray (.+?)` \| (.+?) \| (.+?) \|$", TRIED.read_text(), re.MULTILINE)
    return [Tried(tuple(shlex.split(line)), why, how) for line, why, how in cells]


def begins(words: Words, beginning: Words) -> bool:
    return words[: len(beginning)] == beginning


def run_here() -> list[Shown]:
    """List what is left for this test to run."""
    left = tried()
    elsewhere = run_elsewhere()
    return [
        one
        for one in shown()
        if one.words not in elsewhere and not any(begins(one.words, row.words) for row in left)
    ]


def exchange(line: str, one: StandIn) -> str:
    """Put a stand-in into a command that is quoted, with a space at both ends."""
    if not line.startswith(f" {one.of}"):
        return line
    exact, other = (
        f" {' '.join(map(shlex.quote, text.split()))} " for text in (one.words, one.other)
    )
    return line.replace(exact, other)


def in_small(words: Words) -> list[str]:
    """Exchange what cannot hold in small, and say what the page leaves to the machine."""
    exchanged = shlex.split(reduce(exchange, STAND_INS, f" {shlex.join(words)} "))
    return [*exchanged, *besides(exchanged)]


def besides(words: list[str]) -> list[str]:
    """Give the options that are said besides, those that the command has and does not say."""
    names, leaf, _ = find_command(COMMAND_LINE, words)
    own = " ".join(names)
    more = shlex.split(SMALL_MODEL.get(own, ""))
    known = {name for parameter in leaf.params for name in parameter.opts}
    for option, (value, _) in BESIDES.items():
        if option in known and option not in words and (own, option) not in NOT_BESIDES:
            more += [option, value] if value else [option]
    return more


def made_by(words: list[str]) -> Path | None:
    """Say what a command makes: --out, or what `model` writes."""
    if "--out" in words:
        return Path(words[words.index("--out") + 1])
    places = {"convert": 3, "init": 2}
    return Path(words[places[words[1]]]) if words[0] == "model" and words[1] in places else None


@pytest.fixture(scope="module")
def reader_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from reader_world import write_reader_world

    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return write_reader_world(folder)


@pytest.fixture
def here(reader_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world, as the current folder, with a ledger of its own."""
    folder = tmp_path / "here"
    shutil.copytree(reader_world, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CISRAY_SCHEDULE", str(folder / "ledger"))
    return folder


def into_bucket(words: list[str], bucket: str) -> list[str]:
    """Put the bucket of the tests in the place of the reader's."""
    return [re.sub(r"^s3://(bucket|BUCKET)", bucket, word) for word in words]


def prepare(words: list[str]) -> None:
    """Leave what the command makes unmade, and have done what it goes on with."""
    made = made_by(words)
    if made is not None and made.is_dir():
        shutil.rmtree(made)
    elif made is not None:
        made.unlink(missing_ok=True)
    for beginning, line in BEFORE.items():
        if begins(tuple(words), tuple(beginning.split())):
            assert command(*shlex.split(line)) == 0, line
    stored = [word for word in words if word.startswith("s3://")]
    if stored and words[0] == "runs":
        model = ("--model", "enformer.safetensors", "--fasta", "hg38.fa", "--workers", 0)
        assert command("score", "genome", *model, "--out", stored[0]) == 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("one", run_here(), ids=lambda one: one.line[:70])
def test_it_runs(one: Shown, here: Path, request: pytest.FixtureRequest) -> None:
    words = in_small(one.words)
    if any(word.startswith("s3://") for word in words):
        words = into_bucket(words, request.getfixturevalue("bucket"))
    words = [word.replace("{here}", str(here)) for word in words]
    prepare(words)
    assert command(*words) == ANSWERS.get(one.line, 0), f"{one.block.place}: {shlex.join(words)}"


README_STAND_INS = (
    ("t4828", "t0005"),
    ("chr21:25,000,000-25,100,000", "chr21:5,000-6,000"),
    ("25_000_000, 25_000_001", "5_000, 5_001"),
    ("cisray.WindowSpec()", "cisray.WindowSpec(4_096, 128, 8)"),
)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_python_of_the_readme_runs(here: Path) -> None:
    names: dict[str, Any] = {}
    found = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    for block in found:
        text = block.text
        for words, other in README_STAND_INS:
            text = text.replace(words, other)
        exec(compile(text, block.place, "exec"), names)
    assert len(found) == 3
    assert names["pred_BNT"].shape == (1, 8, 8)
    assert names["frame"].collect().height > 0


def test_every_command_is_run_or_its_reason_is_told() -> None:
    """A new command is run here, unless docs/tried.md says why not; no row there is left over."""
    every, elsewhere = {one.words for one in shown()}, run_elsewhere()
    for row in tried():
        covered = [words for words in every - elsewhere if begins(words, row.words)]
        assert covered, (
            f"docs/tried.md: {shlex.join(row.words)} stands on no page, or a test runs it"
        )
    counted = (len(elsewhere), len(run_here()), len(tried()))
    assert all(counted), counted
    assert len(every) > 150


def test_what_is_named_as_run_instead_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TRIED.read_text()))
    assert len(named) > 5
    for path, function in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {function}" in text, f"{path} has no {function}"


def test_every_stand_in_is_needed() -> None:
    lines = [f" {one.line} " for one in run_here()]
    for one in STAND_INS:
        made = [exchange(line, one) for line in lines]
        assert made != lines, f"no command says {one.words}"
        lines = made


def test_how_a_command_is_made_small() -> None:
    words = ("runs", "summarise", "runs/eqtl", "--group", "blood=4828", "--group", "a=14828")
    assert in_small(words)[:7] == [*words[:4], "blood=5", "--group", "a=14828"]
