"""A schedule that scores a VCF which grows: its alleles, its commands, and what must come out.

Whoever uses it says where the commands run, and what is killed while the first of them does.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from effect_jobs import EXACT, genome_with_traps, write_genome, write_model, write_vcf
from schedules import Bench, minute, states

from cisray.store.scan import open_run
from cisray_jobs.schedule.drift import read_report
from cisray_jobs.schedule.tick import report_of

TEXT = genome_with_traps()["chr1"].upper()
Record = tuple[str, int, str, str, str]


def snv(pos: int) -> Record:
    return "chr1", pos, f"rs{pos}", TEXT[pos - 1], "ACGT"["CGTA".index(TEXT[pos - 1])]


# rs420 is in both, and the second file holds the first.
OLD, NEW = [snv(pos) for pos in range(400, 480, 4)], [snv(500), snv(420), snv(504)]


def until(there: Callable[[], object], *, wait_s: float = 120.0, every_s: float = 0.01) -> None:
    deadline = time.monotonic() + wait_s
    while not there():
        assert time.monotonic() < deadline
        time.sleep(every_s)


def write_first(folder: Path) -> Path:
    """The file as it is before the first pass; in seconds of its own, so that a change is seen."""
    vcf = write_vcf(folder / "in.vcf", OLD)
    os.utime(vcf, (minute(-9), minute(-9)))
    return vcf


def schedule_scores(bench: Bench, folder: Path, vcf: Path, *options: object) -> None:
    """Add the schedule `s`: every minute, if the file has changed, what is new in it."""
    given = ("--model", write_model(folder / "m.safetensors"), "--fasta",
             write_genome(folder / "g.fa", genome_with_traps()), *EXACT,
             "--rows-per-shard", 1, "--threads", 1, "--quiet", *options)  # fmt: skip
    command = ("score", "variants", "--vcf", "{input}", "--since", "{previous}", "--out",
               "runs/{time}", *map(str, given))  # fmt: skip
    bench.add("s", *command, watch=vcf.name)


def commits(run: Path) -> dict[Path, int]:
    """The records of finished shards, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in run.glob("_commits/*.json")}


def output(bench: Bench) -> Path:
    plan = bench.fires()[-1].plan
    assert plan is not None
    return Path(str(plan.output))


def succeeds(bench: Bench, *, wait_s: float = 120.0) -> None:
    until(lambda: states(bench.ticker.tick()) == ["succeeded"], wait_s=wait_s)


def assert_the_first_went_on(bench: Bench, run: Path, kept: dict[Path, int]) -> None:
    """What was finished before the loss is not scored again, and everything is there."""
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [a.exit_code for a in bench.ledger.attempts("s", minute(1))] == [None, 0]
    assert _ids(open_run(run).scan()) == _names(OLD)


def assert_the_next_scores_what_is_new(bench: Bench, vcf: Path, *, wait_s: float = 120.0) -> None:
    assert bench.tick(60) == ["due", "unchanged"]
    write_vcf(vcf, [*NEW, *OLD])
    os.utime(vcf, (minute(2), minute(2)))
    assert bench.tick(120) == ["due", "running"]
    succeeds(bench, wait_s=wait_s)
    second = open_run(output(bench))
    # rs420 stands twice in the file, and was scored before.
    assert _ids(second.scan(linked=False)) == _names([snv(500), snv(504)])
    assert _ids(second.scan()) == _names([*NEW, *OLD])
    report = read_report(report_of(bench.folder, bench.ledger.schedule("s")[0], minute(4)))
    assert report is not None
    told = {change.what: (change.before, change.after) for change in report.changes}
    assert (told["entries"], told["rows"], told["linked"]) == ((20, 23), (20, 2), (0, 21))


def _ids(rows: pl.LazyFrame) -> list[str]:
    found: list[str] = rows.select("id").collect()["id"].sort().to_list()
    return found


def _names(records: list[Record]) -> list[str]:
    return sorted(record[2] for record in records)
