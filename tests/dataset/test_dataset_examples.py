"""Reading a dataset: every example, base and bin stands where it was put, and nothing else does."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import MARGIN, SIZES, SPEC, TRACKS, begin, content, example, examples_of, write

from cisray.dataset.examples import Dataset
from cisray.errors import DatasetError
from cisray.genome.encode import reverse_complement

HEADS_AND_SPLITS = [(head, split) for head, splits in SIZES.items() for split in splits]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset")
    write(path)
    return path


@pytest.mark.parametrize(("head", "split"), HEADS_AND_SPLITS)
def test_every_example_is_what_was_written(root: Path, head: str, split: str) -> None:
    dataset = Dataset.open(root)
    found = dataset.examples(head, split)
    places = content(head).sequences.of(split)
    assert len(found) == SIZES[head][split] == len(places)
    # Backwards, so that no example can lean on the one before it.
    for index in reversed(range(len(found))):
        expected = example(head, places[index])
        assert found.interval(index) == places[index]
        np.testing.assert_array_equal(found.codes_L(index), expected.codes_S[MARGIN:-MARGIN])
        target_NT = found.target_NT(index)
        assert target_NT.dtype == np.float32
        np.testing.assert_array_equal(target_NT, expected.target_NT.astype(np.float32))


@pytest.mark.parametrize("shift", range(-MARGIN, MARGIN + 1))
def test_a_shift_starts_so_many_bases_later_on_the_chromosome(root: Path, shift: int) -> None:
    found = Dataset.open(root).examples("human", "train")
    codes_L = found.codes_L(1, shift)
    assert codes_L.dtype == np.uint8
    start = found.interval(1).start + shift
    assert codes_L.tolist() == [position % 5 for position in range(start, start + SPEC.input_bp)]
    # The other strand of a shifted input is that of the same bases.
    assert reverse_complement(codes_L)[0] == (3 - codes_L[-1] if codes_L[-1] < 4 else 4)


@pytest.mark.parametrize("shift", [MARGIN + 1, -MARGIN - 1])
def test_a_shift_beyond_the_margin_is_refused(root: Path, shift: int) -> None:
    with pytest.raises(DatasetError, match=r"shift of .* beyond the 3 bp .*--margin-bp"):
        Dataset.open(root).examples("human", "train").codes_L(0, shift)


@pytest.mark.parametrize("index", [-1, 5])
def test_an_example_that_there_is_not_is_an_index_error(root: Path, index: int) -> None:
    found = Dataset.open(root).examples("human", "train")
    with pytest.raises(IndexError, match=f"example {index} of 5"):
        found.target_NT(index)


def test_a_set_that_was_used_can_be_pickled_and_goes_on(root: Path) -> None:
    found = Dataset.open(root).examples("human", "train")
    before = found.target_NT(4)
    copy = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(copy.target_NT(4), before)


def test_the_dataset_tells_its_geometry_heads_sets_and_tracks(root: Path) -> None:
    dataset = Dataset.open(root)
    assert (dataset.spec, dataset.margin_bp, dataset.heads) == (SPEC, MARGIN, ("human", "mouse"))
    for head, splits in SIZES.items():
        assert dataset.splits(head) == tuple(splits)
        assert len(dataset.tracks(head)) == TRACKS[head]


def test_what_is_not_there_is_named_with_what_is(root: Path) -> None:
    dataset = Dataset.open(root)
    with pytest.raises(DatasetError, match=r"no head 'humna'; it has human, mouse\. Did you mean"):
        dataset.splits("humna")
    with pytest.raises(DatasetError, match="no set 'test' of head human; it has train, valid"):
        dataset.examples("human", "test")


def test_a_folder_that_is_none_and_one_unfinished_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no dataset, .*cisray dataset build"):
        Dataset.open(tmp_path)
    writer = begin(tmp_path / "unfinished")
    for number in writer.pending():
        writer.write(number, examples_of(writer, number))
    with pytest.raises(DatasetError, match="not finished: run the command that builds it again"):
        Dataset.open(tmp_path / "unfinished")


def damaged(root: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    return copy


def test_a_lost_shard_and_one_cut_short_are_found_on_opening(root: Path, tmp_path: Path) -> None:
    copy = damaged(root, tmp_path)
    shard = copy / "human/train-00001.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(DatasetError, match=r"train-00001.arrow has .* bytes, dataset.json says"):
        Dataset.open(copy)
    shard.unlink()
    with pytest.raises(DatasetError, match=r"train-00001.arrow cannot be read"):
        Dataset.open(copy)


def test_a_shard_of_another_head_is_found_when_it_is_read(root: Path, tmp_path: Path) -> None:
    copy = damaged(root, tmp_path)
    dataset = Dataset.open(copy)
    shutil.copy(copy / "mouse/train-00000.arrow", copy / "human/train-00000.arrow")
    with pytest.raises(DatasetError, match="of another dataset: it holds 2 examples"):
        dataset.examples("human", "train").target_NT(0)


def test_another_table_of_tracks_is_found(root: Path, tmp_path: Path) -> None:
    copy = damaged(root, tmp_path)
    shutil.copy(copy / "mouse/tracks.parquet", copy / "human/tracks.parquet")
    with pytest.raises(DatasetError, match="not the table that the dataset was made with"):
        Dataset.open(copy).tracks("human")


def test_a_manifest_of_another_version_is_named(root: Path, tmp_path: Path) -> None:
    copy = damaged(root, tmp_path)
    text = (copy / "dataset.json").read_text()
    (copy / "dataset.json").write_text(text.replace("cisray.dataset/1", "cisray.dataset/9"))
    with pytest.raises(DatasetError, match=r"of another version of cisray: format"):
        Dataset.open(copy)
