"""Files appear whole, all of them, or not at all; on a full disk too."""

import os
import subprocess
import sys

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


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
import polars as pl
from store_runs import make_tracks
from cisray.errors import StorageError
from cisray.store.export.bedgraph import write_bedgraph
from cisray.store.export.bigwig import write_bigwig
from cisray.store.export.columns import GenomeTracks, Scores
from cisray.store.export.hdf5 import write_hdf5
from cisray.store.export.staging import staged
from cisray.store.export.vcf import write_vcf

n, tracks = 40_000, make_tracks((3,))
value = pl.Series("t0003", np.random.default_rng(0).random(n), pl.Float32)
start = pl.int_range(0, n, dtype=pl.Int32) * 128
bins = pl.LazyFrame([value]).with_columns(start.alias("start"), (start + 128).alias("end"))
run = GenomeTracks(("c",), lambda *_: bins, {"c": n * 128}, tracks, {})
keys = {"variant": range(n), "chrom": ["c"] * n, "pos": range(1, n + 1), "ref": ["A"] * n}
rows = pl.LazyFrame(keys | {"alt": ["C"] * n, "SAD_t0003": value})
scores = Scores.of(rows, tracks, {})
writers = {
    "x.bw": lambda path: write_bigwig(run, "t0003", path),
    "x.bedgraph": lambda path: write_bedgraph(run, "t0003", path),
    "x.bedgraph.gz": lambda path: write_bedgraph(run, "t0003", path),
    "x.vcf.gz": lambda path: write_vcf(scores, run.lengths, path),
    "x.h5": lambda path: write_hdf5(scores, path),
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for name, write in writers.items():
    try:
        with staged([Path(name)]) as folder:
            write(folder / name)
    except StorageError as error:
        print("refused", name)
"""


def test_a_full_disk_leaves_nothing_and_is_told(tmp_path) -> None:
    """Each library has its own way to say it, and one of them says it on stderr alone."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    asked = subprocess.run(
        [sys.executable, "-c", FULL_DISK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # What pybigtools has to say it now and then says on stdout.
    told = [line for line in asked.stdout.splitlines() if line.startswith("refused")]
    names = ["x.bw", "x.bedgraph", "x.bedgraph.gz", "x.vcf.gz", "x.h5"]
    assert told == [f"refused {name}" for name in names], asked.stderr
    assert list(tmp_path.iterdir()) == []
