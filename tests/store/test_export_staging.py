"""Files appear whole, all of them, or not at all."""

import pytest

from cisray.errors import ConfigError, StorageError
from cisray.store.export.staging import staged


def test_files_appear_together_at_the_end(tmp_path) -> None:
    finals = [tmp_path / "new" / "a", tmp_path / "new" / "b"]
    with staged(finals) as folder:
        for name in "ab":
            (folder / name).write_text(name)
            assert not (tmp_path / "new" / name).exists()
    assert [path.read_text() for path in finals] == ["a", "b"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_is_there(tmp_path, error) -> None:
    final = tmp_path / "a"
    final.write_text("old")

    def export() -> None:
        with staged([final, tmp_path / "b"], overwrite=True) as folder:
            (folder / "a").write_text("new")
            raise error

    with pytest.raises(error):
        export()
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_file_that_was_not_written_moves_none(tmp_path) -> None:
    with pytest.raises(StorageError), staged([tmp_path / "a", tmp_path / "b"]) as folder:
        (folder / "a").write_text("a")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept_unless_told(tmp_path) -> None:
    final = tmp_path / "a"
    final.write_text("old")
    with pytest.raises(ConfigError, match="use --overwrite"), staged([final]):
        pass
    with staged([final], overwrite=True) as folder:
        (folder / "a").write_text("new")
    assert final.read_text() == "new"
    with pytest.raises(ConfigError, match="is a folder"), staged([tmp_path], overwrite=True):
        pass


def test_what_appears_meanwhile_is_kept(tmp_path) -> None:
    final = tmp_path / "a"

    def export() -> None:
        with staged([final]) as folder:
            (folder / "a").write_text("mine")
            final.write_text("theirs")

    with pytest.raises(ConfigError, match="use --overwrite"):
        export()
    assert final.read_text() == "theirs"


def test_errors_of_libraries_are_explained(tmp_path) -> None:
    with pytest.raises(StorageError, match="no room in the file"), staged([tmp_path / "a"]):
        raise OSError("no room in the file")
