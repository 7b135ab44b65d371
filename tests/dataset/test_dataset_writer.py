"""Writing a dataset: shards whole or not at all, resumed byte for byte, refused if it differs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tiny_datasets import (
    SIZES,
    begin,
    content,
    example,
    examples_of,
    layout,
    write,
)

from cisray.dataset.examples import Dataset
from cisray.dataset.writer import DatasetWriter, Example, ShardWriter, lock
from cisray.errors import DatasetError, RunConflict, TargetsError


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_directory_holds_what_the_documentation_says(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    names = set(files_of(tmp_path))
    assert names == {
        "dataset.json",
        *(f"human/{name}" for name in ("tracks.parquet", "sequences.bed", "dropped.parquet")),
        *(f"mouse/{name}" for name in ("tracks.parquet", "sequences.bed", "dropped.parquet")),
        *(f"human/train-0000{i}.arrow" for i in range(3)),
        "human/valid-00000.arrow",
        "mouse/train-00000.arrow",
        "mouse/train-00001.arrow",
    }
    assert {h: e.examples for h, e in manifest.heads.items()} == {
        head: sum(splits.values()) for head, splits in SIZES.items()
    }
    assert (tmp_path / "human/sequences.bed").read_text().splitlines()[5] == "chr1\t420\t484\tvalid"


def test_a_record_batch_holds_one_example(tmp_path: Path) -> None:
    write(tmp_path)
    with pa.memory_map(str(tmp_path / "human/train-00000.arrow")) as source:
        reader = pa.ipc.open_file(source)
        assert [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)] == [1, 1]


class Killed(BaseException):
    """What stands for SIGKILL in the middle of a shard."""


def dying(examples: list[Example]) -> Iterator[Example]:
    yield examples[0]
    raise Killed


def test_a_build_that_died_in_a_shard_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "undisturbed")
    root = tmp_path / "killed"
    writer = begin(root)
    first, second, *_ = writer.pending()
    writer.write(first, examples_of(writer, first))
    with pytest.raises(Killed):
        writer.write(second, dying(examples_of(writer, second)))
    # Left on its way by a writer that had no time to remove it.
    (next((root / "_building").glob("staging-*")) / "left").write_text("half")
    again = begin(root)
    assert first not in again.pending()
    assert second in again.pending()
    for number in again.pending():
        ShardWriter.attach(root).write(number, examples_of(again, number))
    again.seal()
    assert files_of(root) == files_of(tmp_path / "undisturbed")


def test_a_shard_that_lost_its_file_is_written_again(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    for number in writer.pending():
        writer.write(number, examples_of(writer, number))
    (tmp_path / writer.shards[1].path).write_bytes(b"short")
    assert writer.pending() == [1]
    with pytest.raises(DatasetError, match=r"train-00001.arrow is not written"):
        writer.seal()


def test_a_finished_dataset_is_left_alone_and_takes_another_head(tmp_path: Path) -> None:
    write(tmp_path, "human")
    before = files_of(tmp_path)
    assert DatasetWriter.begin(tmp_path, {"human": content("human")}, layout()) is None
    assert files_of(tmp_path) == before
    write(tmp_path, "mouse")
    assert Dataset.open(tmp_path).heads == ("human", "mouse")
    after = files_of(tmp_path)
    assert {name: after[name] for name in before if name != "dataset.json"} == {
        name: text for name, text in before.items() if name != "dataset.json"
    }


def test_a_build_with_other_settings_is_a_conflict_that_names_them(tmp_path: Path) -> None:
    begin(tmp_path, "human")
    other = {"human": content("human", clip=True)}
    with pytest.raises(RunConflict, match=r"unfinished build with other heads.human.settings.clip"):
        DatasetWriter.begin(tmp_path, other, layout())
    assert DatasetWriter.begin(tmp_path, other, layout(), restart=True) is not None


def test_a_finished_head_of_other_settings_or_geometry_is_a_conflict(tmp_path: Path) -> None:
    write(tmp_path, "human")
    other = {"human": content("human", clip=True)}
    with pytest.raises(RunConflict, match="head human was made from other files or settings"):
        DatasetWriter.begin(tmp_path, other, layout())
    with pytest.raises(RunConflict, match=r"a finished dataset with .* a margin of 3 bp"):
        DatasetWriter.begin(tmp_path, {"mouse": content("mouse")}, replace(layout(), margin_bp=4))


def test_a_restart_discards_its_heads_and_keeps_the_others(tmp_path: Path) -> None:
    write(tmp_path)
    writer = begin(tmp_path, "mouse", restart=True)
    assert Dataset.open(tmp_path).heads == ("human",)
    assert len(writer.pending()) == 2


def test_a_worker_of_a_discarded_build_publishes_nothing(tmp_path: Path) -> None:
    begin(tmp_path, "human")
    stale = ShardWriter.attach(tmp_path)
    writer = begin(tmp_path, "human", restart=True)
    with pytest.raises(Exception, match="cannot write"):
        stale.write(0, examples_of(writer, 0))
    assert 0 in writer.pending()


@pytest.mark.parametrize("count", [1, 3])
def test_a_shard_takes_exactly_its_examples(tmp_path: Path, count: int) -> None:
    writer = begin(tmp_path)
    places = content("human").sequences.of("train")[:count]
    with pytest.raises(DatasetError, match=f"to hold 2 examples, and {count} came"):
        writer.write(0, [example("human", place) for place in places])
    assert 0 in writer.pending()


def test_targets_of_another_shape_or_not_finite_are_refused(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    good = examples_of(writer, 0)
    wrong = replace(good[0], target_NT=good[0].target_NT[:, :2])
    with pytest.raises(DatasetError, match=r"targets \(4, 2\); the dataset has .* \(4, 3\)"):
        writer.write(0, [wrong, good[1]])
    infinite = replace(good[0], target_NT=np.full((4, 3), np.inf, np.float16))
    with pytest.raises(TargetsError, match=r"chr1:101-164 has targets that are not finite"):
        writer.write(0, [infinite, good[1]])


def test_tracks_that_are_zero_everywhere_are_refused_unless_allowed(tmp_path: Path) -> None:
    writer = begin(tmp_path, "mouse")
    for number in writer.pending():
        zeroed = [
            replace(one, target_NT=one.target_NT * np.array([1, 0], np.float16))
            for one in examples_of(writer, number)
        ]
        writer.write(number, zeroed)
    with pytest.raises(TargetsError, match=r"1 of 2 tracks of head mouse are zero .*: mouse_1"):
        writer.seal()
    again = begin(tmp_path, "mouse")
    assert again.pending() == []
    assert again.seal(allow_empty_tracks=True).heads["mouse"].all_zero == (1,)


def test_two_processes_do_not_write_one_dataset(tmp_path: Path) -> None:
    held = lock(tmp_path)
    with pytest.raises(RunConflict, match="written by another cisray process"):
        lock(tmp_path)
    held.release()
    lock(tmp_path).release()
