"""Bins of bigWig files and of examples are those that training data have."""

from pathlib import Path

import measured_genomes as made
import numpy as np
import pytest
import tiny_datasets

from cisray.dataset.coverage import Stretches
from cisray.dataset.examples import Dataset
from cisray.dataset.targets import Coverage, MaskedRegions, read_targets
from cisray.errors import EvaluationError, TargetsError
from cisray.evaluation import observed
from cisray.evaluation.bin_masks import BinMask, Stretch
from cisray.evaluation.observed import BigWigBins, ExampleBins, read_all
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import WindowSpec

BIN = 20
SPEC = WindowSpec(input_bp=400, bin_bp=BIN, target_bins=10)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    made.write_fasta(folder / "g.fa")
    holes = [entry for entry in made.steps() if entry[1] % 90]
    for number in range(3):
        entries = [(*entry[:3], entry[3] * (number + 1)) for entry in holes]
        made.write_bigwig(folder / f"{number}.bw", entries)
    rows = [
        {"file": "0.bw"},
        {"file": "1.bw", "clip": 700, "clip_soft": 300},
        {"file": "2.bw", "scale": 0.5, "sum_stat": "mean_sqrt"},
    ]
    made.write_table(folder / "t.txt", rows)
    return folder


def bins_of(files: Path, **more: object) -> BigWigBins:
    genome = Genome.open(files / "g.fa")
    mask = BinMask.none(genome.chromosomes, BIN)
    mask.add("chr1", 0, 99)
    return BigWigBins(*read_targets(files / "t.txt", "human"), genome, mask, **more)


def test_bins_are_the_targets_of_a_training_window(files: Path) -> None:
    """Ten bins from base 700 on, by the code that builds datasets."""
    bins = bins_of(files)
    coverage = Coverage(bins.measured, bins.genome, SPEC, MaskedRegions())
    expected = coverage.targets_BNT([Interval("chr1", 600, 1_000)])[0]
    with bins.open([0, 1, 2]) as read:
        found = read(Stretch("chr1", 35, 45))
    np.testing.assert_array_equal(found, expected.astype(np.float64))
    assert len(np.unique(found)) > 15
    with bins.open([2]) as read:
        np.testing.assert_array_equal(read(Stretch("chr1", 36, 38)), found[1:3, 2:])


def test_tracks_come_in_pieces_of_open_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stretches = [Stretch("chr1", 3, 5), Stretch("chr1", 9, 10)]

    def values() -> dict[tuple[int, int], list[float]]:
        return {
            (rows[piece][at], number): values_NT[:, at].tolist()
            for piece, number, values_NT in read_all(bins, rows, stretches)
            for at in range(values_NT.shape[1])
        }

    bins, rows = bins_of(files), [2, 0, 1]
    whole = values()
    monkeypatch.setattr(observed, "_FILES", 2)
    assert values() == whole
    assert len(whole) == 6


def test_blacklisted_bases_count_as_0(files: Path) -> None:
    """Widened by 20 bp, as for training: bins 3 to 5 are within, bin 6 is not."""
    plain, masked = (
        bins_of(files),
        bins_of(files, blacklist=Stretches.of([Interval("chr1", 80, 100)])),
    )
    stretch = Stretch("chr1", 2, 8)
    with plain.open([0]) as before, masked.open([0]) as after:
        was, now = before(stretch)[:, 0], after(stretch)[:, 0]
    assert now.tolist() == [was[0], 0, 0, 0, was[4], was[5]]
    assert was.all()


def test_a_chromosome_that_a_file_lacks_is_refused_or_0(files: Path, tmp_path: Path) -> None:
    made.write_fasta(tmp_path / "g.fa")
    lengths = {"chr2": made.LENGTHS["chr2"]}
    made.write_bigwig(tmp_path / "a.bw", [("chr2", 0, 10, 1.0)], lengths)
    made.write_table(tmp_path / "t.txt", [{"file": "a.bw"}])
    with pytest.raises(TargetsError, match="has no chromosome chr1"), bins_of(tmp_path).open([0]):
        pass
    with bins_of(tmp_path, allow_missing=True).open([0]) as read:
        assert read(Stretch("chr1", 0, 3)).tolist() == [[0]] * 3


def test_examples_whose_bins_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    """Targets begin at 116, 180, ...: bins of 8 bp would begin at multiples of 8."""
    tiny_datasets.write(tmp_path / "d")
    (tmp_path / "g.fa").write_text(f">chr1\n{'A' * 1_000}\n")
    genome = Genome.open(tmp_path / "g.fa")
    dataset = Dataset.open(tmp_path / "d")
    mask = BinMask.none(genome.chromosomes, 8)
    examples = dataset.examples("human", "train")
    with pytest.raises(EvaluationError, match="none of the 5 examples has bins where the run"):
        ExampleBins(examples, dataset.tracks("human"), mask, genome)
