"""`cisray dataset import`: published records become examples at their place, or a named error."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_genomes import LENGTHS, write_fasta
from real_records import FILE, publish
from tfrecord_writer import framed, payload, write_folder

from cisray.dataset.examples import Dataset
from cisray.engine.progress import Display
from cisray.errors import CisrayError
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray_jobs.cli import run
from cisray_jobs.config import load_config
from cisray_jobs.import_dataset import ImportDataset

BIN, BINS, TRACKS, LENGTH, CROP = 16, 8, 3, 256, 64
NUMBERS = {
    "num_targets": TRACKS,
    "seq_length": LENGTH,
    "pool_width": BIN,
    "crop_bp": CROP,
    "target_length": BINS,
}
# Twelve files of train, so that file 10 must not come after file 1; valid lies at a chromosome's
# end, so that extension overhangs.
STARTS = [64 * i for i in range(23)]
ROWS = [
    *(("chr1", start, start + LENGTH, "train") for start in STARTS),
    ("chr2", 1_700, 1_956, "valid"),
]


def target_of(start: int) -> np.ndarray:
    """Targets that tell their example, bin and track."""
    bins = np.arange(BINS)[:, None] / 8
    return (start / 4 + bins + 1 / 64 * np.arange(TRACKS)[None, :]).astype(np.float16)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """A folder of 12 files of train, two records each, and one of valid, with its genome."""
    fasta = write_fasta(tmp_path / "g.fa")
    with Genome.open(fasta) as genome:
        payloads = [
            payload(genome.fetch(Interval(chrom, start, end)), target_of(start), onehot=i % 2 == 0)
            for i, (chrom, start, end, _) in enumerate(ROWS)
        ]
    files = {f"train-{i}.tfr": payloads[2 * i : min(2 * i + 2, 23)] for i in range(12)}
    folder = write_folder(
        tmp_path / "pub", ROWS, {**files, "valid-0.tfr": payloads[23:]}, **NUMBERS
    )
    return {
        "folder": folder,
        "head": "human",
        "fasta": fasta,
        "out": tmp_path / "dataset",
        "workers": 0,
    }


def imported(given: Mapping[str, Any], **other: Any) -> Dataset:
    load_config(ImportDataset, {**given, **other}).run(Display.NONE)
    return Dataset.open(given["out"])


def test_records_lie_where_the_bed_says_in_the_order_of_numbers(given: dict[str, Any]) -> None:
    dataset = imported(given)
    train = dataset.examples("human", "train")
    assert [train.interval(i).start for i in range(len(train))] == STARTS
    for index, start in enumerate(STARTS):
        np.testing.assert_array_equal(train.target_NT(index), target_of(start))
    assert dataset.splits("human") == ("train", "valid")
    assert dataset.spec.target_bins == BINS


@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_extension_takes_the_bases_beside_from_the_fasta(given: dict[str, Any], shift: int) -> None:
    dataset = imported(given, extend_to=512)
    genome = Genome.open(given["fasta"])
    for split, index, start in (("train", 3, 192), ("train", 0, 0), ("valid", 0, 1_700)):
        found = dataset.examples("human", split)
        chrom = "chr1" if split == "train" else "chr2"
        wide = Interval(chrom, start - 128, start + 384)
        assert found.interval(index) == wide
        expected = genome.fetch_padded(wide.shift(shift))
        np.testing.assert_array_equal(found.codes_L(index, shift), expected)
        np.testing.assert_array_equal(found.target_NT(index), target_of(start))
    assert (dataset.examples("human", "valid").codes_L(0)[-84:] == 4).all(), LENGTHS["chr2"]


def test_a_crop_keeps_the_middle_of_bases_and_bins(given: dict[str, Any]) -> None:
    without = {**given, "fasta": None}
    dataset = imported(without, crop_to=192, target_bins=4)
    found = dataset.examples("human", "train")
    assert found.interval(2) == Interval("chr1", 128 + 32, 128 + 224)
    expected = Genome.open(given["fasta"]).fetch(Interval("chr1", 160 + 3, 352 + 3))
    np.testing.assert_array_equal(found.codes_L(2, 3), expected)
    np.testing.assert_array_equal(found.target_NT(2), target_of(128)[2:6])


def said(given: Mapping[str, Any], **other: Any) -> str:
    with pytest.raises(CisrayError) as caught:
        imported(given, **other)
    assert caught.value.exit_code == 2
    assert not (given["out"] / "dataset.json").exists()
    return str(caught.value)


def test_without_a_fasta_nothing_beyond_the_records_is_invented(given: dict[str, Any]) -> None:
    without = {**given, "fasta": None}
    assert "a margin of 3 bp are asked for: give --fasta" in said(without)
    assert imported(without, margin_bp=0).margin_bp == 0


def test_another_assembly_is_found_by_one_base(given: dict[str, Any]) -> None:
    text = given["fasta"].read_text()
    at = text.index("\n") + 1 + 64 * 5 + 200
    other = "A" if text[at] != "A" else "C"
    given["fasta"].write_text(text[:at] + other + text[at + 1 :])
    text = said(given)
    assert "train-2.tfr, record 1: its sequence is not that of" in text
    assert "1 bases differ, the first at chr1:521-521" in text


def test_bases_that_were_drawn_for_n_are_no_other_assembly(given: dict[str, Any]) -> None:
    """Basenji stored a random base for N; the genome says which bases those are."""
    text = given["fasta"].read_text()
    at = text.index("\n") + 1 + 64 * 5 + 200
    given["fasta"].write_text(text[:at] + "N" + text[at + 1 :])
    found = imported(given).examples("human", "train")
    assert found.codes_L(5)[200] == 4
    assert found.codes_L(5)[201] == Genome.open(given["fasta"]).fetch(Interval("chr1", 521, 522))


@pytest.mark.parametrize(("name", "record"), [("train-4.tfr", 1), ("valid-0.tfr", 0)])
def test_a_damaged_record_is_told_by_file_and_number(
    given: dict[str, Any], name: str, record: int
) -> None:
    path = given["folder"] / "tfrecords" / name
    raw = bytearray(zlib.decompress(path.read_bytes()))
    raw[-20] ^= 1
    path.write_bytes(zlib.compress(bytes(raw)))
    assert f"{name}, record {record}: its content is damaged" in said(given)


def test_a_file_with_fewer_records_and_a_missing_file_are_told(given: dict[str, Any]) -> None:
    folder = given["folder"] / "tfrecords"
    first = next(iter(read_raw(folder / "train-7.tfr")))
    (folder / "train-7.tfr").write_bytes(zlib.compress(framed(first)))
    assert "train-7.tfr holds 1 records, and sequences.bed has 2 rows for it" in said(given)
    (folder / "train-7.tfr").unlink()
    assert "lacks train-7.tfr: 11 files of train are there" in said(given)


def read_raw(path: Path) -> Any:
    from cisray.dataset.tfrecords import read_records

    return read_records(path)


def test_counts_that_disagree_are_told(given: dict[str, Any]) -> None:
    bed = given["folder"] / "sequences.bed"
    bed.write_text("".join(bed.read_text().splitlines(keepends=True)[1:]))
    assert "has 22 train, 1 valid, statistics.json says 23 train, 1 valid" in said(given)


def test_a_wrong_number_of_targets_is_told(given: dict[str, Any]) -> None:
    statistics = given["folder"] / "statistics.json"
    statistics.write_text(statistics.read_text().replace('"num_targets": 3', '"num_targets": 4'))
    assert "lists 3 tracks, but the head human has 4" in said(given)
    targets = given["folder"] / "targets.txt"
    targets.write_text(targets.read_text() + "3\tC3\t1\t1\tsum\tCAGE:more\n")
    assert "train-0.tfr, record 0: its target has 48 bytes; 8 bins of 4 tracks" in said(given)


def test_a_second_head_is_added_to_a_dataset(given: dict[str, Any]) -> None:
    imported(given)
    assert imported(given, head="mouse").heads == ("human", "mouse")


def test_the_command_as_typed(given: dict[str, Any], capsys: Any) -> None:
    arguments = ["dataset", "import", str(given["folder"]), "--fasta", str(given["fasta"])]
    arguments += ["--head", "human", "--extend-to", "384", "--out", str(given["out"])]
    assert run([*arguments, "--workers", "0", "--quiet"]) == 0
    assert "24 sequences = 24 examples + 0 dropped" in capsys.readouterr().out


def test_what_is_exported_as_records_comes_back_the_same(given: dict[str, Any]) -> None:
    """A round trip: examples as records of the other encoding, imported again."""
    first = imported(given)
    sets = [first.examples("human", split) for split in ("train", "valid")]
    payloads = [
        payload(found.codes_L(i), found.target_NT(i), onehot=False)
        for found in sets
        for i in range(len(found))
    ]
    files = {"train-0.tfr": payloads[:23], "valid-0.tfr": payloads[23:]}
    folder = write_folder(given["folder"].parent / "again", ROWS, files, **NUMBERS)
    out = given["out"].parent / "second"
    load_config(ImportDataset, {**given, "folder": folder, "out": out}).run(Display.NONE)
    second = Dataset.open(out)
    for split in ("train", "valid"):
        before, after = (one.examples("human", split) for one in (first, second))
        assert len(before) == len(after)
        for index in range(len(before)):
            assert before.interval(index) == after.interval(index)
            for shift in (-3, 3):
                one, two = (e.codes_L(index, shift) for e in (before, after))
                np.testing.assert_array_equal(one, two)
            np.testing.assert_array_equal(before.stored_NT(index), after.stored_NT(index))


@pytest.mark.realdata
def test_ten_real_records_become_examples_of_enformers_size(shared: Path, tmp_path: Path) -> None:
    options, records = publish(shared, tmp_path, 10)
    given = {**options, "out": tmp_path / "d"}
    found = imported(given, crop_to=196_608, target_bins=896).examples("human", "train")
    assert len(found) == len(records) == 10
    for index, record in enumerate(records):
        np.testing.assert_array_equal(found.codes_L(index), record.codes_L[32_768:-32_768])
        stored = record.target_NT[576:1472].astype(np.float16)
        np.testing.assert_array_equal(found.target_NT(index), stored)
        assert stored.max() > 0
    # Straight out of the file's bytes, so that the reader is not compared with itself.
    raw = zlib.decompress((shared / FILE).read_bytes())
    at = raw.index(b"\n\x06target") + 8
    header = raw.index(b"\x80\x80\x05", at) + 3
    first_NT = np.frombuffer(raw[header : header + 4 * 20_480], "<f4").reshape(2_048, 10)
    np.testing.assert_array_equal(found.target_NT(0), first_NT[576:1472].astype(np.float16))
