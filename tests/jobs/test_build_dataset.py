"""`cisray dataset build` and `info`: every base and every bin against a direct reading."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_genomes import (
    LENGTHS,
    steps,
    write_bigwig,
    write_fasta,
    write_sequences,
    write_table,
)

from cisray.dataset.examples import Dataset
from cisray.dataset.sequences import read_sequences
from cisray.engine.progress import Display
from cisray.errors import CisrayError
from cisray.genome.reference import Genome
from cisray_jobs.build_dataset import BuildDataset
from cisray_jobs.cli import run
from cisray_jobs.config import load_config

BIN, BINS, INPUT = 16, 16, 512
CROP = (INPUT - BIN * BINS) // 2
ROWS = [
    ("chr1", 0, 512, "train"),
    ("chr1", 700, 1212, "train"),
    ("chr1", -100, 412, "valid"),  # overhangs, its target does not
    ("chr1", 2_600, 3_112, "train"),  # likewise at the end
    ("chr1", -200, 312, "train"),  # its target overhangs
    ("chr2", 100, 612, "train"),  # all N
    ("chr2", 800, 1312, "test"),
]
KEPT = [ROWS[i] for i in (0, 1, 2, 3, 6)]


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """The options of a build of two tracks, inline."""
    write_fasta(tmp_path / "g.fa")
    write_bigwig(tmp_path / "a.bw", steps())
    write_bigwig(tmp_path / "b.bw", steps(factor=0.25))
    write_table(
        tmp_path / "targets.txt",
        [{"file": "a.bw"}, {"file": "b.bw", "sum_stat": "mean", "scale": 2, "clip": 12}],
    )
    write_sequences(tmp_path / "s.bed", ROWS)
    return {
        "tracks": {"human": tmp_path / "targets.txt"},
        "fasta": {"human": tmp_path / "g.fa"},
        "sequences": {"human": tmp_path / "s.bed"},
        "input_bp": INPUT,
        "bin_bp": BIN,
        "target_bins": BINS,
        "examples_per_shard": 2,
        "out": tmp_path / "dataset",
        "workers": 0,
    }


def build(given: Mapping[str, Any], **other: Any) -> Dataset:
    load_config(BuildDataset, {**given, **other}).run(Display.NONE)
    return Dataset.open(given["out"])


def bases_of(chrom: str, factor: float = 1.0) -> np.ndarray:
    """The values of a whole chromosome, base by base."""
    values = np.zeros(LENGTHS[chrom])
    for name, start, end, value in steps(factor=factor):
        if name == chrom:
            values[start:end] = value
    return values


def test_every_base_and_every_bin_is_where_it_belongs(given: dict[str, Any]) -> None:
    dataset = build(given)
    genome = Genome.open(given["fasta"]["human"])
    text = {chrom: genome.letters(_whole(chrom)).decode() for chrom in LENGTHS}
    for split in ("train", "valid", "test"):
        rows = [row for row in KEPT if row[3] == split]
        found = dataset.examples("human", split)
        assert len(found) == len(rows)
        for index, (chrom, start, end, _) in enumerate(rows):
            assert found.interval(index) == _interval(chrom, start, end)
            for shift in (-3, 0, 2):
                letters = ["ACGTN"[code] for code in found.codes_L(index, shift_bp=shift).tolist()]
                expected = [
                    text[chrom][p] if 0 <= p < LENGTHS[chrom] else "N"
                    for p in range(start + shift, end + shift)
                ]
                assert letters == expected
            target_NT = found.target_NT(index)
            for number in range(BINS):
                first = start + CROP + number * BIN
                one = bases_of(chrom)[first : first + BIN].sum()
                two = min(12, 2 * bases_of(chrom, 0.25)[first : first + BIN].mean())
                assert target_NT[number].tolist() == [np.float16(one), np.float16(two)]


def _interval(chrom: str, start: int, end: int) -> Any:
    from cisray.genome.interval import Interval

    return Interval(chrom, start, end)


def _whole(chrom: str) -> Any:
    return _interval(chrom, 0, LENGTHS[chrom])


def test_rows_in_are_examples_and_dropped_rows_with_reasons(given: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    dataset = build(given)
    entry = dataset.manifest.heads["human"]
    assert entry.sequences == len(ROWS) == entry.examples + sum(entry.dropped.values())
    assert entry.dropped == {"no_known_base": 1, "target_leaves_chromosome": 1}
    dropped = pq.read_table(dataset.root / "human/dropped.parquet").to_pylist()
    assert [(row["line"], row["start"], row["reason"]) for row in dropped] == [
        (5, -200, "target_leaves_chromosome"),
        (6, 100, "no_known_base"),
    ]
    lines = (dataset.root / "human/sequences.bed").read_text().splitlines()
    assert lines == ["\t".join(map(str, row)) for row in KEPT]


def test_names_under_an_alias_give_the_same_examples(given: dict[str, Any], tmp_path: Path) -> None:
    before = build(given)
    lengths = {chrom.removeprefix("chr"): length for chrom, length in LENGTHS.items()}
    for name, factor in (("a.bw", 1.0), ("b.bw", 0.25)):
        entries = [(c.removeprefix("chr"), s, e, v) for c, s, e, v in steps(factor=factor)]
        write_bigwig(tmp_path / name, entries, lengths)
    write_sequences(tmp_path / "s.bed", [(r[0].removeprefix("chr"), *r[1:]) for r in ROWS])
    after = build(given, out=tmp_path / "again")
    for index in range(3):
        one, two = (d.examples("human", "train") for d in (before, after))
        assert one.interval(index) == two.interval(index)
        np.testing.assert_array_equal(one.target_NT(index), two.target_NT(index))


def files_of(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "_lock")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_how_it_is_cut_and_run_changes_no_example(given: dict[str, Any], tmp_path: Path) -> None:
    build(given)
    build({**given, "out": tmp_path / "other", "examples_per_shard": 3})
    one, two = (Dataset.open(tmp_path / name) for name in ("dataset", "other"))
    for index in range(3):
        np.testing.assert_array_equal(
            one.examples("human", "train").target_NT(index),
            two.examples("human", "train").target_NT(index),
        )


@pytest.mark.long
@pytest.mark.ray
def test_workers_write_the_same_bytes(given: dict[str, Any], tmp_path: Path, embedded_ray) -> None:
    build(given)
    build({**given, "out": tmp_path / "pooled", "workers": 2})
    assert files_of(tmp_path / "pooled") == files_of(tmp_path / "dataset")


def test_blacklisted_bases_are_capped_with_a_buffer(given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "black.bed").write_text("1\t900\t910\n")
    found = build(given, blacklist={"human": tmp_path / "black.bed"}).examples("human", "train")
    bases = bases_of("chr1")
    middle = np.median(bases[700:1212])
    bases[880:930] = np.minimum(bases[880:930], middle)
    first = 700 + CROP
    expected = bases[first : first + BIN * BINS].reshape(BINS, BIN).sum(axis=1)
    np.testing.assert_array_equal(found.target_NT(1)[:, 0], expected.astype(np.float16))


def test_unmappable_bins_are_capped(given: dict[str, Any], tmp_path: Path) -> None:
    plain = build(given).examples("human", "train").target_NT(1)
    first = 700 + CROP
    (tmp_path / "umap.bed").write_text(f"chr1\t{first}\t{first + 4 * BIN}\n")
    options = {"unmappable": {"human": tmp_path / "umap.bed"}, "unmappable_quantile": 0.0}
    found = build(given, out=tmp_path / "capped", **options)
    capped = Dataset.open(tmp_path / "capped").examples("human", "train").target_NT(1)
    assert found is not None
    np.testing.assert_array_equal(capped[:4], np.minimum(plain[:4], plain.min(axis=0)))
    np.testing.assert_array_equal(capped[4:], plain[4:])


def said(given: Mapping[str, Any], **other: Any) -> str:
    """What is said of a build that is refused before anything is written."""
    with pytest.raises(CisrayError) as caught:
        build(given, **other)
    assert caught.value.exit_code == 2
    assert not (given["out"] / "dataset.json").exists()
    return str(caught.value)


def test_a_bigwig_of_another_assembly_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    write_bigwig(tmp_path / "b.bw", [("chr1", 0, 10, 1.0), ("chr2", 0, 9, 1.0)], {
        "chr1": 3_000, "chr2": 2_001})  # fmt: skip
    text = said(given)
    assert "track E1: " in text
    assert "has 2,001 bases on chr2, and" in text
    assert "2,000 on chr2: they are of different assemblies" in text


def test_a_missing_chromosome_is_refused_or_taken_for_zero(
    given: dict[str, Any], tmp_path: Path
) -> None:
    entries = [entry for entry in steps(factor=0.25) if entry[0] == "chr1"]
    write_bigwig(tmp_path / "b.bw", entries, {"chr1": 3_000})
    assert "has no chromosome chr2, where there are sequences; it has chr1" in said(given)
    dataset = build(given, allow_missing_chromosomes=True)
    found = dataset.examples("human", "test").target_NT(0)
    assert (found[:, 1] == 0).all()
    assert (found[:, 0] > 0).all()


def test_an_empty_track_is_refused_unless_allowed(given: dict[str, Any], tmp_path: Path) -> None:
    write_bigwig(tmp_path / "b.bw", [("chr1", 0, 3_000, 0.0), ("chr2", 0, 2_000, 0.0)])
    assert "b.bw has no value but 0 anywhere" in said(given)
    dataset = build(given, allow_empty_tracks=True)
    assert dataset.manifest.heads["human"].all_zero == (1,)


def test_targets_that_are_all_zero_are_told_at_the_end_and_nothing_is_lost(
    given: dict[str, Any], tmp_path: Path
) -> None:
    write_bigwig(tmp_path / "b.bw", [("chr1", 2_990, 3_000, 4.0), ("chr2", 0, 5, 1.0)])
    assert "1 of 2 tracks of head human are zero in every example: E1" in said(given)
    kept = sorted((given["out"] / "human").glob("*.arrow"))
    times = [path.stat().st_mtime_ns for path in kept]
    build(given, allow_empty_tracks=True)
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_values_above_float16_are_named_with_track_and_place(
    given: dict[str, Any], tmp_path: Path
) -> None:
    write_bigwig(tmp_path / "a.bw", steps(factor=1e4))
    text = said(given)
    assert "track E0 (" in text
    assert "is above 65,504, the largest of float16" in text
    assert "at chr1:129-384" in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("chr1", 0, 511, "train"), "s.bed:1: the sequence chr1:1-511 has 511 bases"),
        (("chrX", 0, 512, "train"), "s.bed:1: .* has no chromosome 'chrX'"),
        (("chr1", 0, 512, "a/b"), "s.bed:1: .* is no sequence with a set"),
        (("chr1", "x", 512, "train"), "s.bed:1: .* cannot be read"),
    ],
)
def test_sequences_that_do_not_fit_are_named_by_line(
    given: dict[str, Any], tmp_path: Path, row: tuple[object, ...], message: str
) -> None:
    import re

    write_sequences(tmp_path / "s.bed", [row])  # type: ignore[list-item]
    assert re.search(message, said(given))


def test_a_sequence_in_two_sets_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    write_sequences(tmp_path / "s.bed", [ROWS[0], ROWS[1], (*ROWS[0][:3], "test")])
    assert "s.bed:3: the sequence chr1:1-512 is in line 1 already" in said(given)


def test_a_damaged_file_and_one_that_is_not_there_are_named(
    given: dict[str, Any], tmp_path: Path
) -> None:
    whole = (tmp_path / "a.bw").read_bytes()
    (tmp_path / "a.bw").write_bytes(b"no bigWig")
    (tmp_path / "b.bw").unlink()
    text = said(given)
    assert "a.bw cannot be read as a bigWig file" in text
    assert "(1 more tracks are wrong.)" in text
    (tmp_path / "a.bw").write_bytes(whole)
    assert "there is no bigWig file" in said(given)


def test_the_commands_as_typed(given: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "split").mkdir()
    (tmp_path / "s.bed").rename(tmp_path / "split/human.sequences.bed")
    arguments = [
        *("dataset", "build", "--split", str(tmp_path / "split")),
        *("--tracks", f"human={tmp_path / 'targets.txt'}"),
        *("--fasta", f"human={tmp_path / 'g.fa'}", "--out", str(tmp_path / "dataset")),
        *("--input-bp", str(INPUT), "--bin-bp", str(BIN), "--target-bins", str(BINS)),
        *("--workers", "0", "--quiet"),
    ]
    assert run(arguments) == 0
    assert "7 sequences = 5 examples + 2 dropped" in capsys.readouterr().out
    assert run(arguments) == 0, "what is finished is left as it is"
    capsys.readouterr()
    figures = tmp_path / "figures"
    info = ["dataset", "info", str(tmp_path / "dataset"), "--figures", str(figures), "--json"]
    assert run(info) == 0
    told = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in told["figures"]] == [
        "human-train.png",
        "human-valid.png",
        "human-test.png",
    ]
    dataset = Dataset.open(tmp_path / "dataset")
    values = np.concatenate([dataset.examples("human", "train").target_NT(i) for i in range(3)])
    track = told["heads"]["human"]["splits"]["train"]["tracks"]["t0001"]
    assert track["mean"] == pytest.approx(values[:, 1].mean())
    assert track["max"] == values[:, 1].max() == 12
    assert track["clipped"] == pytest.approx((values[:, 1] == 12).mean())
    assert 0 < track["clipped"] < 1
    assert track["quantiles"]["0.5"] == pytest.approx(np.median(values[:, 1]), rel=1 / 31)
    assert run(["dataset", "info", str(tmp_path / "dataset")]) == 0
    assert "t0001" in capsys.readouterr().out


@pytest.mark.realdata
def test_borzois_folds_are_read_as_they_are_published(shared: Path) -> None:
    rows = read_sequences(shared / "data/targets/borzoi_sequences_human.bed.gz", 196_608)
    assert len(rows) == 55_497
    assert {row.split for row in rows} == {f"fold{number}" for number in range(8)}


@pytest.mark.realdata
def test_a_real_bigwig_becomes_the_targets_of_a_direct_reading(
    shared: Path, tmp_path: Path
) -> None:
    """hg19 chr22, 20 to 21 Mb: the FASTA slice is put back where it lies on the chromosome."""
    import pybigtools

    bigwig = shared / "data/chr22_hg19/CTCF_ChIP_chr22_20-21Mb.hg19.bw"
    slice_of_it = shared / "data/chr22_hg19/hg19_chr22_20000001-21000000.fa.gz"
    with gzip.open(slice_of_it, "rt") as handle:
        letters = "".join(line.strip() for line in handle if not line.startswith(">"))
    whole, first = 51_304_566, 20_000_000
    fasta = tmp_path / "chr22.fa"
    fasta.write_text(f">22\n{'N' * first}{letters}{'N' * (whole - first - len(letters))}\n")
    # One line: the index says where it begins, how long it is, and how long its line.
    (tmp_path / "chr22.fa.fai").write_text(f"22\t{whole}\t4\t{whole}\t{whole + 1}\n")
    starts = [first + 123_457, first + 500_000]
    rows = [("chr22", start, start + 196_608, "train") for start in starts]
    write_sequences(tmp_path / "s.bed", rows)
    row = {"file": bigwig, "clip": 32, "scale": 2, "sum_stat": "mean"}
    write_table(tmp_path / "targets.txt", [row, {"file": bigwig, "clip": 384}])
    job = BuildDataset(
        tracks={"human": tmp_path / "targets.txt"},
        fasta={"human": fasta},
        sequences={"human": tmp_path / "s.bed"},
        out=tmp_path / "dataset",
        workers=0,
    )
    job.run(Display.NONE)
    found = Dataset.open(tmp_path / "dataset").examples("human", "train")
    # Record by record, as the file has them, not through `values`.
    bases = np.zeros(len(letters))
    for begin, end, value in pybigtools.open(str(bigwig)).records("chr22", first, first + 10**6):
        bases[max(begin - first, 0) : end - first] = value
    for index, start in enumerate(starts):
        offset = start - first + 40_960
        binned = bases[offset : offset + 896 * 128].reshape(896, 128)
        mean = np.minimum(2 * binned.mean(axis=1), 32).astype(np.float16)
        total = np.minimum(binned.sum(axis=1), 384).astype(np.float16)
        target_NT = found.target_NT(index)
        np.testing.assert_array_equal(target_NT, np.stack([mean, total], axis=1))
        assert target_NT.max() > 1
        text = letters[start - first : start - first + 196_608].upper()
        assert "".join(np.array(list("ACGTN"))[found.codes_L(index)]) == text
