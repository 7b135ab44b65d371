"""`cisray score variants --since`: what another run has scored is not scored again, and not lost.

Every shard has one row, so that a row's bits do not depend on which others there are.
"""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pysam
import pytest
from effect_jobs import (
    EXACT,
    genome_with_traps,
    score,
    values,
    write_genome,
    write_model,
    write_vcf,
)
from polars.testing import assert_frame_equal

from cisray.errors import StorageError
from cisray.inference import precision
from cisray.scoring.variants import VariantScorer
from cisray.store.linked_rows import check_links
from cisray.store.scan import Run, open_run

Record = tuple[str, int, str, str, str]
TEXTS = {name: text.upper() for name, text in genome_with_traps().items()}
HERE = ("--workers", 0, "--threads", 1, "--quiet")


def snv(chrom: str, pos: int, name: str = ".", turn: int = 1) -> Record:
    ref = TEXTS[chrom][pos - 1]
    return chrom, pos, name, ref, "ACGT"[("ACGT".index(ref) + turn) % 4]


def multi_allelic() -> Record:
    ref = TEXTS["chr2"][799:803]
    alts = (snv("chr2", 800)[4] + ref[1:], "<DEL>", ref[:3] + snv("chr2", 803)[4])
    return "chr2", 800, "many", ref, ",".join(alts)


# One A of 40 goes, named at three places; (CA)n; a deletion of four bases; the end of a chromosome.
OLD: list[Record] = [
    snv("chr2", 700, "second"),
    snv("chr1", 1_000, "first"),
    ("chr1", 320, "A40", "AA", "A"),
    ("chr1", 760, "CA", "A", "ACACA"),
    snv("chr1", 1_000, "again"),
    ("chr9", 5, "none", "A", "C"),
    snv("chr1", 3_000),
    ("chr2", 803, "part", TEXTS["chr2"][802], snv("chr2", 803)[4]),
    ("chr1", 1_200, "wrong", snv("chr1", 1_200)[4], TEXTS["chr1"][1_199]),
]
NEW: list[Record] = [
    ("1", 325, "A40_elsewhere", "AA", "A"),
    snv("chr1", 1_000, "first_renamed"),
    snv("chr1", 1_000, "same_place", turn=2),
    multi_allelic(),
    snv("chrM", 150),
    ("chr1", 338, "A40_at_its_end", "AAA", "AA"),
    snv("chr2", 700),
    ("chr1", 1_200, "wrong", snv("chr1", 1_200)[4], TEXTS["chr1"][1_199]),
    snv("chr1", 5),
    ("chr1", 700, "CA_from_its_beginning", "G", "GCACA"),
    snv("chr2", 700, "twice"),
    snv("chr1", 1_001),
]
# Entries of NEW by number; 4 is <DEL>, 9 is wrong. What OLD has: A40 (its 2), 1,000 (its 1), the
# third allele of the record of many (its 7), chr2:700 (its 0) and the CA (its 3).
LINKED = {0: 2, 1: 1, 5: 7, 7: 2, 8: 0, 11: 3, 12: 0}
SCORED = {2, 3, 6, 10, 13}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("inputs")
    model = write_model(folder / "m.safetensors")
    fasta = write_genome(folder / "g.fa", genome_with_traps())
    return ("--model", model, "--fasta", fasta, *EXACT, "--rows-per-shard", 1)


Scored = Callable[..., Run]


@pytest.fixture(scope="module")
def scored(inputs, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """Score records in a new run, since others."""

    def run(records: list[Record], *since: Run, out: Path | None = None) -> Run:
        folder = tmp_path_factory.mktemp("run")
        vcf = write_vcf(folder / "v.vcf", records)
        names = [word for other in since for word in ("--since", other.path)]
        return score("variants", out or folder / "run", *inputs, "--vcf", vcf, *names)

    return run


@pytest.fixture(scope="module")
def old(scored: Scored) -> Run:
    return scored(OLD)


@pytest.fixture(scope="module")
def full(scored: Scored) -> Run:
    """All of the new file, without the old run."""
    return scored(NEW)


@pytest.fixture(scope="module")
def new(scored: Scored, old: Run) -> Run:
    return scored(NEW, old)


def test_every_row_is_that_of_a_full_run(old: Run, full: Run, new: Run) -> None:
    """Bit for bit, in the same order, with the same schema."""
    assert_frame_equal(new.scan().collect(), full.scan().collect(), check_exact=True)
    assert_frame_equal(new.rejects.collect(), full.rejects.collect(), check_exact=True)
    config = new.manifest.config
    counts = {name: config[name] for name in ("entries", "scored", "linked", "rejected", "rows")}
    assert counts == {"entries": 14, "scored": 5, "linked": 7, "rejected": 2, "rows": 5}
    links = new.linked.collect()
    assert dict(links.select("variant", "since_variant").iter_rows()) == LINKED
    assert set(links["since_run"]) == {old.manifest.run_id}
    assert set(values_of(new, linked=False)["variant"]) == SCORED
    assert new.verify() == new.files.height
    assert new.chromosomes == full.chromosomes == ["chr1", "chr2", "chrM"]
    for region in ("chr1:300-339", "chr2:800-803", "chrM", "chr1:1-5"):
        for stats in ("SAD", None):
            some = [run.scan(tracks="1,3", region=region, stats=stats) for run in (new, full)]
            assert_frame_equal(*(frame.collect() for frame in some), check_exact=True)


def values_of(run: Run, **options: bool) -> pl.DataFrame:
    return run.scan(**options).sort("variant").collect()


def test_shards_of_many_rows_differ_by_rounding_only(
    inputs, old: Run, full: Run, tmp_path: Path
) -> None:
    """What was scored in other company: linked rows are the old run's to the bit."""
    vcf = write_vcf(tmp_path / "v.vcf", NEW)
    many = (*inputs, "--rows-per-shard", 100, "--vcf", vcf, "--since", old.path)
    run = score("variants", tmp_path / "run", *many)
    assert_frame_equal(values(run), values(full), rel_tol=2e-4, abs_tol=1e-5)
    mine = values_of(run).filter(pl.col("variant").is_in(list(LINKED)))
    theirs = values_of(old)
    for row in mine.iter_rows(named=True):
        other = theirs.row(by_predicate=pl.col("variant") == LINKED[row["variant"]], named=True)
        names = [name for name in row if "_t0" in name]
        assert [row[name] for name in names] == [other[name] for name in names]
        assert row["id"] != other["id"]


def keyed(run: Run) -> pl.DataFrame:
    """Rows whatever their numbers."""
    keys = ["chrom", "pos", "ref", "alt", "id", "source_pos"]
    frame = run.scan().select(*keys, "missing_bp", pl.col("^SADR?_t.*$")).collect()
    return frame.sort(keys)


def test_the_order_of_lines_does_not_matter(scored: Scored, old: Run, new: Run) -> None:
    for seed in (1, 2):
        shuffled = random.Random(seed).sample(NEW, len(NEW))
        assert_frame_equal(keyed(scored(shuffled, old)), keyed(new), check_exact=True)


def test_a_chain_of_runs_leads_to_where_the_scores_are(scored: Scored, full: Run) -> None:
    """Each run of a file that has grown links to the one before; scores are looked up once."""
    first = scored(NEW[:4])
    second = scored(NEW[:8], first)
    third = scored(NEW, second)
    assert_frame_equal(third.scan().collect(), full.scan().collect(), check_exact=True)
    links = dict(third.linked.select("variant", "since_run").collect().iter_rows())
    ids = [run.manifest.run_id for run in (first, second)]
    # Entries 0 to 5 stand in four lines; of those of the next four, chrM:150 and chr2:700 are new.
    assert {links[n] for n in (0, 1, 2, 3, 5, 7, 11) if n in links} == {ids[0]}
    assert {links[n] for n in (6, 8, 12)} == {ids[1]}
    assert third.manifest.config["since"] == {
        run.manifest.run_id: run.manifest.digest for run in (first, second)
    }
    assert third.linked_runs().keys() == {*ids}
    fourth = scored(NEW, third)
    assert fourth.manifest.config["scored"] == 0
    assert fourth.manifest.config["since"].keys() == {*ids, third.manifest.run_id}
    assert_frame_equal(fourth.scan().collect(), full.scan().collect(), check_exact=True)


def test_of_several_runs_the_first_that_has_an_allele_counts(scored: Scored, old: Run) -> None:
    other = scored(
        [snv("chr1", 1_000, "also_here"), snv("chr1", 1_001), ("chr9", 1, ".", "A", "C")]
    )
    records = [snv("chr1", 1_001), snv("chr1", 1_000), snv("chr2", 700)]
    ids = old.manifest.run_id, other.manifest.run_id
    for runs, expected in (
        ((old, other), [(ids[1], 1), (ids[0], 1), (ids[0], 0)]),
        ((other, old), [(ids[1], 1), (ids[1], 0), (ids[0], 0)]),
    ):
        run = scored(records, *runs)
        links = run.linked.sort("variant").select("since_run", "since_variant").collect()
        assert links.rows() == expected
    # Which runs were named and not needed is no part of what the run is.
    assert (
        scored(records[:1], other).manifest.digest
        == scored(records[:1], other, old).manifest.digest
    )


def test_a_file_with_nothing_new_gives_a_run_without_rows(
    cisray, inputs, old: Run, tmp_path: Path
) -> None:
    records = [OLD[4], OLD[2], OLD[0], OLD[5]]
    vcf = write_vcf(tmp_path / "v.vcf", records)
    given = ("score", "variants", *inputs, *HERE, "--vcf", vcf, "--since", old.path)
    answer = cisray(*given, "--out", tmp_path / "run", "--json")
    told = json.loads(answer.out)
    assert (told["entries"], told["scored"], told["linked"]) == (4, 0, 3)
    assert (told["rejected"], told["rows"]) == ({"unknown_chromosome": 1}, 0)
    frame = values(open_run(tmp_path / "run"))
    assert frame["variant"].to_list() == [0, 1, 2]
    theirs = values(old)
    for row, number in enumerate((1, 2, 0)):
        same = theirs.filter(pl.col("variant") == number)
        assert frame[row].select("^SAD_.*$").rows() == same.select("^SAD_.*$").rows()


def test_what_is_printed_counts_links(cisray, inputs, old: Run, tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "v.vcf", NEW)
    given = ("score", "variants", *inputs, *HERE, "--vcf", vcf, "--out", tmp_path / "run")
    counted = "14: 5 scored, 7 linked, 2 rejected (1 symbolic_alt, 1 reference_mismatch)"
    plan = json.loads(cisray(*given, "--since", old.path, "--plan", "--json").out)
    assert (plan["entries"], plan["scored"], plan["linked"], plan["rows"]) == (14, 5, 7, 5)
    assert counted in cisray(*given, "--since", old.path, "--plan").out
    assert not (tmp_path / "run").exists()
    assert counted in cisray(*given, "--since", old.path).out
    plain = (*given, "--out", tmp_path / "plain")
    assert "linked" not in cisray(*plain).out
    assert json.loads(cisray(*plain, "--json").out)["linked"] is None


def test_an_interrupted_run_goes_on(cisray, inputs, old: Run, full: Run, tmp_path: Path) -> None:
    vcf = write_vcf(tmp_path / "v.vcf", NEW)
    out = tmp_path / "run"
    given = ("score", "variants", *inputs, *HERE, "--vcf", vcf, "--out", out, "--since", old.path)
    assert cisray(*given).code == 0
    digest = open_run(out).manifest.digest
    (out / "_SUCCESS").unlink()
    for shard in (1, 3):
        (lost,) = (out / "_commits").glob(f"{shard:06d}.*.json")
        lost.unlink()
    plan = json.loads(cisray(*given, "--plan", "--json").out)
    assert (plan["shards_done"], plan["rows_left"]) == (3, 2)
    without = cisray(*given[:-2])
    without.assert_one_paragraph("holds another run", "config.linked: 7 there, (absent) now")
    assert cisray(*given).code == 0
    assert open_run(out).manifest.digest == digest
    assert_frame_equal(open_run(out).scan().collect(), full.scan().collect(), check_exact=True)


CHANGES: list[tuple[tuple[object, ...], str]] = [
    (("--tracks", "0-3"), "tracks_sha256"),
    (("--stats", "SAD"), 'config.statistics: ["SAD","SADR"] there, ["SAD"] now'),
    (("--stats", "SADR,SAD"), 'config.statistics: ["SAD","SADR"] there, ["SADR","SAD"] now'),
    (("--bins", 4), "config.bins: [0,24] there, [10,14] now"),
    (("--window-placement", "grid"), 'config.window_placement: "centered" there, "grid" now'),
    (("--indels", "left"), 'config.indels: "stitch/1" there, "left/1" now'),
    (("--rc",), "config.reverse_complement: false there, true now"),
    (("--shifts", "0,3"), "config.shifts: [0] there, [0,3] now"),
    (("--std", "--rc"), '"SAD_sd"'),
    (("--predictor", "plain"), 'config.predictor: "fast" there, "plain" now'),
    (("--precision", "bfloat16"), 'config.precision: "float32" there, "bfloat16" now'),
    (("--mantissa-bits", 10), "mantissa_bits: 23 there, 10 now"),
    (("--head", "mouse"), 'config.head: "human" there, "mouse" now'),
]


@pytest.fixture
def refused(cisray, inputs, old: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run with other options; it must end before anything is planned, scored or begun."""
    for of, name in ((VariantScorer, "score"),):
        monkeypatch.setattr(of, name, lambda *_, **__: pytest.fail("scored"))
    monkeypatch.setattr(
        "cisray_jobs.score_variants.plan_variants", lambda *_, **__: pytest.fail("planned")
    )
    vcf = write_vcf(tmp_path / "v.vcf", NEW)
    given = ("score", "variants", *inputs, *HERE, "--vcf", vcf)

    def run(*options: object, since: object = old.path, out: object = tmp_path / "run"):
        answer = cisray(*given, "--out", out, "--since", since, *options)
        assert not (tmp_path / "run").exists()
        return answer

    return run


@pytest.mark.parametrize(("options", "told"), CHANGES, ids=lambda value: str(value)[:30])
def test_a_run_of_other_settings_is_refused(refused, old: Run, options, told: str) -> None:
    fragments = ("was scored otherwise", told, str(old.path), "leave out --since")
    refused(*options).assert_one_paragraph(*fragments)


def test_another_model_genome_or_version_is_refused(
    refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.safetensors", seed=6)
    refused("--model", model).assert_one_paragraph("was scored otherwise", "model_sha256")
    # The same names, in another order and with another base.
    texts = dict(reversed(genome_with_traps().items()))
    fasta = write_genome(tmp_path / "g.fa", texts | {"chrM": "A" + texts["chrM"][1:]})
    refused("--fasta", fasta).assert_one_paragraph("was scored otherwise", "genome_sha256")
    monkeypatch.setattr("cisray_jobs.prepared.__version__", "9.9.9")
    refused().assert_one_paragraph("was scored otherwise", "code_version", '"9.9.9" now')


def test_options_that_do_not_change_a_score_may_differ(
    scored: Scored, cisray, inputs, old: Run, tmp_path: Path
) -> None:
    vcf = write_vcf(tmp_path / "v.vcf", NEW[:2])
    given = ("score", "variants", *inputs, *HERE, "--vcf", vcf, "--since", old.path)
    other = ("--rows-per-shard", 7, "--self-check", 1, "--max-allele-bp", 20, "--batch-size", 3)
    assert cisray(*given, *other, "--out", tmp_path / "run").code == 0


def test_runs_that_cannot_be_built_on(
    refused, inputs, old: Run, scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = refused(since=tmp_path / "nothing")
    missing.assert_one_paragraph("holds no cisray run")
    monkeypatch.undo()
    here = (*inputs, "--rows-per-shard", 100)
    saturation = score("saturation", tmp_path / "sat", *here, "--region", "chr1:5-6")
    bed = tmp_path / "sites.bed"
    bed.write_text("chr1\t1000\t1001\n")
    vcf = write_vcf(tmp_path / "at.vcf", [snv("chr1", 1_000)])
    sites = score("variants", tmp_path / "sites", *here, "--vcf", vcf, "--at", bed)
    unsealed = scored(NEW[:2])
    os.unlink(Path(unsealed.path) / "_SUCCESS")
    for run, told in (
        (saturation, "cisray.saturation_scores/1"),
        (sites, "cisray.variant_site_scores/1"),
        (unsealed, "is not sealed. Finish it first"),
    ):
        refused(since=run.path).assert_one_paragraph(told)
    lost = scored(NEW[:2])
    next((Path(lost.path) / "data").rglob("*.parquet")).unlink()
    answer = refused(since=lost.path)
    assert answer.code == 1
    assert "is missing, the run recorded" in answer.told


def test_options_that_contradict_each_other(refused, old: Run, tmp_path: Path) -> None:
    bed = tmp_path / "sites.bed"
    bed.write_text("chr1\t1000\t1001\n")
    refused("--at", bed).assert_one_paragraph("--since", "--at", "leave out one of the two")
    refused(out=old.path).assert_one_paragraph("is --out itself")
    link = tmp_path / "link"
    link.symlink_to(old.path)
    refused(since=link, out=old.path).assert_one_paragraph("is --out itself")
    assert values(old).height == 7


def test_a_run_is_not_begun_anew_over_the_scores_that_it_would_link_to(
    refused, scored: Scored, new: Run, old: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = old.manifest.begun
    refused("--restart", since=new.path, out=old.path).assert_one_paragraph(
        "would link to itself", str(old.path)
    )
    assert open_run(old.path).manifest.begun == before
    assert old.verify() == old.files.height


def test_precision_is_that_of_the_earlier_run(
    cisray, inputs, old: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where auto alone would mean another one."""
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr("cisray_jobs.scoring_job.multiplies_bfloat16", lambda _: True)
    vcf = write_vcf(tmp_path / "v.vcf", NEW)
    given = ("score", "variants", *inputs, *HERE, "--vcf", vcf, "--out", tmp_path / "run")
    auto = (*given, "--precision", "auto", "--plan", "--json")
    assert json.loads(cisray(*auto).out)["precision"] == "bfloat16"
    told = json.loads(cisray(*auto, "--since", old.path).out)
    assert told["precision"] == "float32"
    assert told["precision_reason"].startswith(f"auto: that of the run in {old.path}")


def test_runs_that_were_moved_together(scored: Scored, full: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    first = scored(OLD, out=home / "first")
    scored(NEW, first, out=home / "second")
    os.rename(home, tmp_path / "moved")
    second = open_run(tmp_path / "moved" / "second")
    assert_frame_equal(second.scan().collect(), full.scan().collect(), check_exact=True)


def test_exports_have_linked_rows(cisray, inputs, new: Run, full: Run, tmp_path: Path) -> None:
    fasta = inputs[3]
    for name, run in (("new", new), ("full", full)):
        export = ("runs", "export", run.path, "--out")
        vcf = cisray(*export, tmp_path / f"{name}.vcf.gz", "--format", "vcf", "--fasta", fasta)
        assert vcf.code == 0, vcf.err
        assert cisray(*export, tmp_path / f"{name}.h5", "--format", "hdf5").code == 0
    lines = [
        [line for line in pysam.BGZFile(str(tmp_path / f"{name}.vcf.gz")) if line[:1] != b"#"]
        for name in ("new", "full")
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) == len(LINKED) + len(SCORED)
    with h5py.File(tmp_path / "new.h5") as mine, h5py.File(tmp_path / "full.h5") as theirs:
        assert mine["entry"][:].tolist() == full.scan().collect()["variant"].to_list()
        for name in ("SAD", "SADR", "pos", "ref", "alt", "snp"):
            np.testing.assert_array_equal(mine[name][:], theirs[name][:])


def test_verify_reads_the_runs_that_are_linked_to(
    cisray, scored: Scored, inputs, tmp_path: Path
) -> None:
    """And computes rows of the run itself again; what it links to is told of by name."""
    model, fasta = inputs[1], inputs[3]
    first = scored(OLD, out=tmp_path / "first")
    second = scored(NEW, first, out=tmp_path / "second")
    again = ("--rescore", 5, "--model", model, "--fasta", fasta)
    told = json.loads(cisray("runs", "verify", second.path, *again, "--json").out)
    assert (told["read"]["problems"], told["rescored"]["checked"]) == ([], 5)
    assert told["linked"] == 7
    os.rename(first.path, tmp_path / "moved")
    verify = ("runs", "verify", second.path, "--json")
    answer = cisray(*verify)
    assert answer.code == 1
    problems = json.loads(answer.out)["read"]["problems"]
    assert [(one["kind"], one["file"]) for one in problems] == [("link", "linked.parquet")]
    assert first.manifest.run_id in answer.out
    found = ("--since", tmp_path / "moved")
    assert cisray(*verify, *found).code == 0
    table = ("runs", "export", second.path, "--format", "hdf5", "--out", tmp_path / "scores.h5")
    assert cisray(*table).code == 2
    assert cisray(*table, *found).code == 0
    data = max((tmp_path / "moved" / "data").rglob("*.parquet"))
    raw = bytearray(data.read_bytes())
    raw[100] ^= 1
    data.write_bytes(raw)
    problems = json.loads(cisray(*verify, *found).out)["read"]["problems"]
    assert {one["kind"] for one in problems} == {"link"}
    assert str(data) in problems[0]["message"]


def test_show_tells_how_many_rows_other_runs_hold(cisray, old: Run, new: Run) -> None:
    told = cisray("runs", "show", new.path).out
    assert f"linked to {old.manifest.run_id}" in told
    assert "7 rows" in told
    assert "23 bits: exact" in told
    assert json.loads(cisray("runs", "show", new.path, "--json").out)["linked"] == {
        old.manifest.run_id: 7
    }


def test_links_that_lead_to_other_alleles_are_found(cisray, scored: Scored, tmp_path: Path) -> None:
    first = scored(OLD, out=tmp_path / "first")
    second = scored(NEW, first, out=tmp_path / "second")
    path = tmp_path / "second" / "linked.parquet"
    links = pl.read_parquet(path)
    swapped = links.with_columns(since_variant=pl.col("since_variant").reverse())
    with pytest.raises(StorageError, match="links lead to rows of the run"):
        check_links(swapped.lazy(), first.manifest.run_id, first.variants, first.path)
    assert cisray("runs", "verify", second.path).code == 0


def test_a_run_is_compared_with_its_links(
    cisray, old: Run, full: Run, new: Run, tmp_path: Path
) -> None:
    """Rows and values are those of a full run; what they were made from is not."""
    told = json.loads(cisray("runs", "diff", full.path, new.path, "--json").out)
    assert told["rows"]["common"] == 12
    assert told["rows"]["only_a"] == told["rows"]["only_b"] == 0
    assert sum(group["differing"] for group in told["groups"]) == 0
    link = f"config.since.{old.manifest.run_id}"
    assert link in {field["field"] for field in told["identity"]}


def test_what_reads_files_one_by_one_refuses_links(cisray, new: Run, tmp_path: Path) -> None:
    delta = ("runs", "export", new.path, "--format", "delta", "--out", tmp_path / "delta")
    for command in (delta, ("runs", "summarise", new.path)):
        answer = cisray(*command)
        assert answer.code == 2
        answer.assert_one_paragraph("links to scores of other runs", "scan()")
    assert not (tmp_path / "delta").exists()
