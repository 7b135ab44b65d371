"""Workers that open copies on their machine: the same results, and nothing read from afar again."""

import json
import multiprocessing
import os
import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from measuring import mapped_bytes
from polars.testing import assert_frame_equal

from cisray.errors import FastaError, RunConflict
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.model.module import SequenceModule
from cisray.model.registry import load_model
from cisray.store import node_cache
from cisray.store.scan import open_run
from cisray_jobs.node_copies import VARIABLE, NodeCopies, wanted_folder
from cisray_jobs.scoring_job import ScoringJob

MEASURES = ("Rss", "Pss", "Private_Dirty", "Anonymous", "Shared_Clean")  # of /proc/PID/smaps
CHR_A = Interval("chrA", 0, 9_000)


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_cache, "SPARE_BYTES", 0)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def shared_place(inputs, tmp_path: Path) -> Path:
    """A folder with the inputs that can be taken away: a model folder, a FASTA, its index."""
    folder = tmp_path / "shared"
    (folder / "model").mkdir(parents=True)
    shutil.copy(inputs.model, folder / "model" / "model.safetensors")
    shutil.copy(inputs.fasta, folder / "genome.fa")
    Genome.open(folder / "genome.fa").close()
    return folder


def digests(folder: Path) -> tuple[str, str]:
    with Genome.open(folder / "genome.fa") as genome:
        return load_model(folder / "model").digest, genome.sha256


def weights_of(model: SequenceModule) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def test_a_second_worker_opens_what_lies_here_and_reads_nothing_from_afar(
    shared_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, sha256 = digests(shared_place)
    expected = weights_of(load_model(shared_place / "model"))
    with Genome.open(shared_place / "genome.fa") as genome:
        letters = genome.letters(CHR_A)
    near = NodeCopies(tmp_path / "disk", "now")
    near.model(shared_place / "model", weights)
    near.genome(shared_place / "genome.fa", sha256).close()

    for path in (shared_place / "model" / "model.safetensors", shared_place / "genome.fa"):
        path.write_bytes(b"")  # still there, to be looked for; nothing in it
    (shared_place / "genome.fa.fai").write_text("")
    model = near.model(shared_place / "model", weights)
    assert (model.digest, model.training) == (weights, False)
    np.testing.assert_equal(weights_of(model), expected)
    with near.genome(shared_place / "genome.fa", sha256) as genome:
        assert genome.letters(CHR_A) == letters
        assert genome.sha256 == sha256
        assert genome.path.is_relative_to(tmp_path / "disk")


def change_weights(folder: Path) -> None:
    path = folder / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def change_genome(folder: Path) -> None:
    path = folder / "genome.fa"
    path.write_bytes(path.read_bytes().replace(b"ACGT", b"ACGA", 1))


@pytest.mark.parametrize("cached", [True, False])
def test_what_is_not_what_the_run_began_with_is_refused(
    shared_place: Path, tmp_path: Path, cached: bool
) -> None:
    weights, sha256 = digests(shared_place)
    near = NodeCopies(tmp_path / "disk" if cached else None, "now")
    change_genome(shared_place)
    with pytest.raises(RunConflict, match=rf"genome.fa on .* is not what .* has {sha256}"):
        near.genome(shared_place / "genome.fa", sha256)
    with pytest.raises(RunConflict, match=rf"model on .* its digest is {weights}, the run has 00"):
        near.model(shared_place / "model", "0" * 64)
    assert node_cache.NodeCache.below(tmp_path / "disk").copies() == []


def test_the_index_goes_along_and_is_held_against_the_copy(
    shared_place: Path, tmp_path: Path
) -> None:
    """One that does not fit is refused as it would be where it lies."""
    _, sha256 = digests(shared_place)
    index = shared_place / "genome.fa.fai"
    index.write_text(index.read_text().replace("\t9000\t", "\t8999\t"))
    for folder in (None, tmp_path / "disk"):
        with pytest.raises(FastaError, match="does not fit"):
            NodeCopies(folder, "now").genome(shared_place / "genome.fa", sha256)


def test_a_folder_that_is_asked_for_comes_before_the_machine_s_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert wanted_folder(None) is None
    monkeypatch.setenv(VARIABLE, "")
    assert wanted_folder(None) is None
    monkeypatch.setenv(VARIABLE, "/of/the/machine")
    assert wanted_folder(None) == Path("/of/the/machine")
    assert wanted_folder("/asked") == Path("/asked")


def test_a_run_with_copies_equals_one_without(
    cisray, inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, first, second = (tmp_path / name for name in ("plain", "first", "second"))
    disk = tmp_path / "disk"
    assert cisray(*inputs.options(plain, "--quiet")).code == 0
    assert cisray(*inputs.options(first, "--quiet", "--node-cache", disk)).code == 0
    monkeypatch.setenv(VARIABLE, str(disk))
    assert cisray(*inputs.options(second, "--quiet")).code == 0
    runs = [open_run(run) for run in (plain, first, second)]
    assert len({run.manifest.digest for run in runs}) == 1
    for run in runs[1:]:
        assert_frame_equal(run.scan().collect(), runs[0].scan().collect(), check_exact=True)

    told = json.loads(cisray("cache", "list", "--json").out)
    assert [copy["kind"] for copy in told] == ["fasta", "model"]
    assert [copy["source"] for copy in told] == [str(inputs.fasta), str(inputs.model)]
    assert told[0]["digest"] == runs[0].manifest.genome_sha256
    assert told[1]["digest"] == runs[0].manifest.model_sha256
    assert "2 copies" in cisray("cache", "list", "--node-cache", disk).out
    assert "Removed:" in cisray("cache", "clear").out
    assert json.loads(cisray("cache", "list", "--json").out) == []
    assert list((disk / next(disk.iterdir()).name).iterdir()) == []


def test_which_folder_must_be_said(cisray, inputs, tmp_path: Path) -> None:
    cisray("cache", "list").assert_one_paragraph("Give --node-cache", VARIABLE)
    answer = cisray(*inputs.options(tmp_path / "run", "--node-cache", "scratch"))
    answer.assert_one_paragraph("--node-cache: must be an absolute path", "'scratch'")


def test_a_run_that_is_made_again_elsewhere_does_not_look_for_the_old_folder() -> None:
    """Where a machine keeps copies is of that try, as its --out is."""
    from cisray_jobs import rerun

    assert "node_cache" in ScoringJob.model_fields
    assert "node_cache" in rerun._OF_THE_TRY


def hold(path: Path, told: Connection) -> None:
    """Load a model, look at every weight, and stay until told to go."""
    model = load_model(path)
    told.send(sum(float(tensor.sum()) for tensor in model.state_dict().values()))
    told.recv()


@pytest.mark.long
def test_processes_of_a_machine_share_the_pages_of_the_weights(inputs, tmp_path: Path) -> None:
    """Each has all of them mapped, none has a page of its own: together they take the file once."""
    copies = NodeCopies(tmp_path / "disk", "now")
    copies.model(inputs.model, load_model(inputs.model).digest)
    (path,) = (tmp_path / "disk").rglob("*.safetensors")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=hold, args=(path, theirs))
    other.start()
    try:
        model = load_model(path)
        total = sum(float(tensor.sum()) for tensor in model.state_dict().values())
        assert ours.recv() == total
        found = [
            {name: mapped_bytes(path, name, pid) for name in MEASURES}
            for pid in (os.getpid(), other.pid)
        ]
    finally:
        ours.send("go")
        other.join()
    size = path.stat().st_size
    for sums in found:
        assert sums["Rss"] >= size * 0.99  # all of it is there ...
        assert sums["Private_Dirty"] == sums["Anonymous"] == 0  # ... and nothing was copied
        assert sums["Shared_Clean"] >= size * 0.95
    assert sum(sums["Pss"] for sums in found) <= size * 1.1
