"""Evaluations of one file: what is checked first, what is done, found, failed, and shown."""

import json
from collections.abc import Callable
from pathlib import Path

import made_up_eqtls as made
import numpy as np
import polars as pl
import pytest

from cisray.store.lock import RunLock
from cisray_jobs import evaluate_all
from cisray_jobs.evaluation_kinds import KINDS
from cisray_jobs.evaluation_output import read_metrics, read_record
from cisray_schemas import METRICS, NAMED_METRICS

PAIRS = "chrom\tchromStart\tchromEnd\tmeasuredGeneSymbol\tstartTSS\tendTSS\tRegulated\n"
WHOLE = """
seed: 7
workers: 0
external: [good=tables/good.tsv, bad=tables/bad.tsv]
evaluations:
  single:
    kind: eqtl
    labels: tables/labels.tsv
    score: max-abs
  forests:
    kind: eqtl
    labels: tables/labels.tsv
    external: [good=tables/good.tsv]
    repeats: 1
    folds: 2
    seed: 3
  screens: {kind: enhancers, pairs: tables/pairs.tsv, bootstraps: 20, edges: [0, 1000]}
"""
# The same without a forest, which takes a second.
QUICK = WHOLE.replace("    repeats: 1\n    folds: 2\n", "    score: mean-abs\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "plan"
    (home / "tables").mkdir(parents=True)
    labels = made.associations(tissues=1, genes=12)
    made.write(home / "tables/labels.tsv", labels)
    made.write(home / "tables/good.tsv", made.scores(labels, 4))
    made.write(home / "tables/bad.tsv", made.scores(labels, 0))
    rows = [f"1\t{at}\t{at + 100}\tG\t900\t901\t{at % 3 == 0}\n" for at in range(0, 4_000, 97)]
    (home / "tables/pairs.tsv").write_text(PAIRS + "".join(rows))
    return home


@pytest.fixture
def run(folder: Path, tmp_path: Path, cisray) -> Callable:
    """Write the file and evaluate from elsewhere."""

    def evaluate(text: str, *more: object):
        (folder / "plan.yaml").write_text(text)
        given = ("--config", folder / "plan.yaml", "--out", tmp_path / "out", "-q")
        return cisray("evaluate", "all", *given, *more)

    return evaluate


def stamps(out: Path) -> dict[str, int]:
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.glob("*/*")}


def test_all_evaluations_of_a_file_are_done_once_and_found_again(run, tmp_path, cisray) -> None:
    told = run(WHOLE)
    assert told.code == 0, told.err
    out = tmp_path / "out"
    # Shared defaults reach whom they concern, and an evaluation's own option wins.
    assert [read_record(out / name)["settings"]["seed"] for name in ("single", "forests")] == [7, 3]
    assert {*read_record(out / "forests")["inputs"]} == {"labels", "external good"}
    assert {*read_record(out / "screens")["inputs"]} == {"pairs"}
    table = pl.read_parquet(out / "metrics.parquet")
    assert table.schema == pl.DataFrame(NAMED_METRICS.schema.empty_table()).schema
    for name in ("single", "forests", "screens"):
        own = pl.DataFrame(read_metrics(out / name))
        assert (
            table.filter(name=name)
            .drop("name")
            .sort(METRICS.sort_by)
            .equals(own.sort(METRICS.sort_by))
        )
    assert table.height == sum(read_metrics(out / n).num_rows for n in table["name"].unique())
    page = (out / "index.html").read_text()
    assert all(f">{name}</h2>" in page for name in ("single", "forests", "screens"))
    before = stamps(out)
    again = run(WHOLE)
    assert again.code == 0
    assert again.out.count("there already") == 3
    assert stamps(out) == before
    # The page alone, again and of one evaluation elsewhere.
    (out / "index.html").unlink()
    assert cisray("evaluate", "page", out).out.strip() == str(out / "index.html")
    assert "single" in (out / "index.html").read_text()
    assert cisray("evaluate", "page", out / "single", "--out", tmp_path / "one.html").code == 0
    assert "forests" not in (tmp_path / "one.html").read_text()
    cisray("evaluate", "page", tmp_path / "plan").assert_one_paragraph("has no evaluations")


def test_only_some_are_done_and_the_others_keep_their_numbers(run, tmp_path) -> None:
    assert run(QUICK, "--only", "single").code == 0
    out = tmp_path / "out"
    assert not (out / "forests").exists()
    assert pl.read_parquet(out / "metrics.parquet")["name"].unique().to_list() == ["single"]
    assert "It has not been done" in (out / "index.html").read_text()
    assert run(QUICK, "--only", "screens").code == 0
    assert set(pl.read_parquet(out / "metrics.parquet")["name"]) == {"single", "screens"}
    run(QUICK, "--only", "singel").assert_one_paragraph("--only singel", "single")


def test_one_that_fails_does_not_stop_the_others(run, folder, tmp_path) -> None:
    text = QUICK + "  late: {kind: direction, labels: tables/labels.tsv, assay: ''}\n"
    columns = (folder / "tables/labels.tsv").read_text().replace("tss_distance", "other")
    (folder / "tables/no_effect.tsv").write_text(columns.replace("effect", "size"))
    text = text.replace("  forests:", "  broken:\n    kind: direction\n"
                        "    labels: tables/no_effect.tsv\n  forests:")  # fmt: skip
    told = run(text)
    assert told.code == 2, told.err
    assert "1 of 5 evaluations failed" in told.told
    assert "broken: " in told.told
    out = tmp_path / "out"
    outcomes = json.loads((out / "evaluations.json").read_text())["evaluations"]
    assert [one["state"] for one in outcomes] == ["new", "failed", "new", "new", "new"]
    assert set(pl.read_parquet(out / "metrics.parquet")["name"]) == {
        "single", "forests", "screens", "late",
    }  # fmt: skip
    assert "Failed: broken." in (out / "index.html").read_text()
    # Mended, the same command does what is left.
    (folder / "tables/no_effect.tsv").write_text((folder / "tables/labels.tsv").read_text())
    before = stamps(out)
    assert run(text).code == 0
    assert before.items() <= stamps(out).items()


def test_an_error_of_ours_is_exit_code_1_and_told(run, tmp_path, monkeypatch) -> None:
    def broken(self, display) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(KINDS["enhancers"].job, "evaluate", broken)
    told = run(QUICK)
    assert told.code == 1
    assert "screens: ZeroDivisionError: by nothing" in told.told
    assert (tmp_path / "out/single").exists()


def test_other_settings_are_a_conflict_of_that_evaluation_alone(run, tmp_path) -> None:
    assert run(QUICK, "--only", "single").code == 0
    told = run(QUICK.replace("score: max-abs", "score: norm"))
    assert told.code == 2
    assert "score max-abs there, norm now" in told.told
    assert (tmp_path / "out/forests").exists()
    # Numbers of other settings are no numbers of this file.
    assert "single" not in set(pl.read_parquet(tmp_path / "out/metrics.parquet")["name"])


def test_an_interrupt_keeps_what_is_done(run, tmp_path, monkeypatch) -> None:
    done = evaluate_all._done

    def interrupted(one, display):
        if one.name == "screens":
            raise KeyboardInterrupt
        return done(one, display)

    monkeypatch.setattr(evaluate_all, "_done", interrupted)
    told = run(QUICK)
    assert told.code == 130
    assert "the same command goes on" in told.told
    before = stamps(tmp_path / "out")
    monkeypatch.undo()
    assert run(QUICK).code == 0
    assert before.items() <= stamps(tmp_path / "out").items()


def changed(old: str, new: str) -> str:
    assert old in WHOLE
    return WHOLE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (changed("score:", "scores:"), ("'single'", "unknown key 'scores'", "score")),
        (changed("kind: enhancers", "kind: enhancer"), ("'enhancer'", "enhancers")),
        (changed("    kind: eqtl\n    labels: tables/labels.tsv\n    score", "    score"),
         ("`kind:` is missing",)),
        (changed("  forests:", "  single:"), ("'single' was given in line 6 already",)),
        (changed("repeats: 1", "repeats: no"), ("--repeats",)),
        (changed("repeats: 1", "out: x"), ("'forests'", "leave `out` out")),
        (changed("  forests:", "  a/b:"), ("'a/b'", "letters, digits")),
        (changed("seed: 7", "sed: 7"), ("unknown key 'sed'", "seed")),
        ("evaluations: {}", ("has no evaluations",)),
        (changed("tables/pairs", "tables/pears"), ("screens: --pairs", "pears.tsv is not there")),
        (changed("bad=tables/bad", "bad=tables/worse"), ("--external", "worse.tsv is not there")),
        (changed("repeats: 1", "run: [a=nowhere]"), ("forests: --run", "nowhere")),
    ],
)  # fmt: skip
def test_nothing_is_done_until_all_is_checked(run, tmp_path, text, fragments) -> None:
    run(text).assert_one_paragraph(*fragments)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_stops_it_before_anything(run, tmp_path) -> None:
    (tmp_path / "out/forests").mkdir(parents=True)
    run(QUICK).assert_one_paragraph("forests: ", "is no folder of an evaluation")
    assert not (tmp_path / "out/single").exists()


def test_two_folders_of_evaluations_are_compared_name_by_name(
    run, folder, tmp_path, cisray
) -> None:
    assert run(QUICK).code == 0
    other = QUICK.replace("score: max-abs", "score: norm")
    (folder / "other.yaml").write_text(other)
    given = ("--config", folder / "other.yaml", "--out", tmp_path / "other", "-q")
    assert cisray("evaluate", "all", *given, "--only", "single", "--only", "screens").code == 0
    told = cisray("evaluate", "compare", tmp_path / "out", tmp_path / "other", "--out",
                  tmp_path / "compared")  # fmt: skip
    assert told.code == 0, told.err
    assert {p.name for p in (tmp_path / "compared").iterdir()} == {"single", "screens"}
    single = pl.read_parquet(tmp_path / "compared/single/comparisons.parquet")
    assert "DeLong" in set(single["test"])
    empty = tmp_path / "empty"
    empty.mkdir()
    cisray("evaluate", "compare", tmp_path / "out", empty).assert_one_paragraph(
        "no evaluation of one name"
    )


def test_two_processes_do_not_work_in_one_folder(run, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    lock = RunLock(tmp_path / "out/.lock")
    run(QUICK).assert_one_paragraph("another cisray process", code=1)
    lock.release()
    assert not (tmp_path / "out/single").exists()


def test_every_kind_has_a_job_with_a_folder_and_a_command() -> None:
    import typer

    from cisray_jobs.evaluate_cli import evaluate_app

    commands = typer.main.get_command(evaluate_app).commands
    for name, kind in KINDS.items():
        assert "out" in kind.job.model_fields
        assert callable(kind.job.evaluate)
        assert name in commands
        options = {p.name for p in commands[name].params}
        assert set(kind.job.model_fields) <= options  # what the file takes, the command takes


@pytest.mark.realdata
def test_real_tables_go_from_raw_file_to_page_at_chance(cisray, shared, tmp_path) -> None:
    """A score that knows nothing, beside published effects and screens."""
    assay = shared / "data" / "chr20_hg38" / "mpra_satmut_HNF4A.tsv"
    pairs = next((shared / "data" / "crispri").glob("EPCrisprBenchmark*.tsv.gz"))
    frame = pl.read_csv(
        assay, separator="\t", null_values="NA", schema_overrides={"Ref": pl.String}
    )
    alleles = frame.filter(Release="GRCh37").filter(pl.col("Alt").is_in(list("ACGT")))
    noise = np.random.default_rng(3).normal(size=alleles.height)
    key = {"chrom": pl.lit("20"), "pos": "Pos", "ref": "Ref", "alt": "Alt"}
    alleles.select(**key, score=pl.Series(noise)).write_csv(tmp_path / "noise.csv")
    fasta = shared / "data" / "chr20_hg19" / "hg19_chr20.whole.fa.gz"
    (tmp_path / "plan.yaml").write_text(
        f"evaluations:\n"
        f"  hnf4a: {{kind: mpra, table: {assay}, fasta: {fasta}, release: GRCh37,"
        f" external: [noise=noise.csv], bootstraps: 200}}\n"
        f"  screens: {{kind: enhancers, pairs: {pairs}, bootstraps: 20}}\n"
    )
    told = cisray("evaluate", "all", "--config", tmp_path / "plan.yaml", "--out", tmp_path / "o")
    assert told.code == 0, told.err
    table = pl.read_parquet(tmp_path / "o/metrics.parquet")
    chance = {("hnf4a", "noise", "pearson_r"): 0.0, ("screens", "random", "auroc"): 0.5}
    for (name, scores, number), value in chance.items():
        rows = table.filter(name=name, scores=scores, metric=number, stratum="all", folds="")
        for row in rows.iter_rows(named=True):
            # An interval of 95 % misses once in twenty; 3.3 errors are passed once in a thousand.
            assert abs(row["value"] - value) < 3.3 * row["se"]
            assert row["ci_high"] - row["ci_low"] < 0.4
    page = (tmp_path / "o/index.html").read_text()
    assert "of 10,356 rows read" in page.lower()
    assert page.count("<svg ") >= 2
