"""The scores of a shard are those of its windows one by one, each row at its place."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Window, WindowSpec, tiles
from cisray.inference.predictor import PlainPredictor
from cisray.model.registry import load_model
from cisray.scoring.tiles import TileScorer
from cisray.tracks import TrackSet
from cisray_jobs.models import init_model

SPEC = WindowSpec(input_bp=56, bin_bp=8, target_bins=3)
LENGTH = 130  # 6 tiles: 5 of 3 bins, the last with 10 bp, of which 2 bins start inside
LETTERS = "ACGTN"


@dataclass
class Telling:
    """A predictor whose values tell window, bin and track, and which keeps what it was given."""

    spec: WindowSpec = SPEC
    tracks: TrackSet = field(default_factory=lambda: TrackSet.unnamed("human", 4))
    given: list[np.ndarray] = field(default_factory=list)

    def predict(self, codes_BL: np.ndarray) -> np.ndarray:
        seen = sum(len(batch) for batch in self.given)
        self.given.append(codes_BL.copy())
        window = 100 * (seen + np.arange(len(codes_BL)))[:, None, None]
        bins, tracks = 10 * np.arange(3)[:, None], np.arange(4)
        return (window + bins + tracks).astype(np.float32)


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    text = "".join(np.random.default_rng(3).choice(list(LETTERS), LENGTH))
    (tmp_path / "g.fa").write_text(f">chr1\n{text}\n>chr2\n{text[::-1]}\n")
    return Genome.open(tmp_path / "g.fa")


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6, 50])
def test_rows_are_bins_in_order(genome: Genome, batch_size: int) -> None:
    grid = [(tile.window, tile.bins_inside) for tile in tiles("chr2", LENGTH, SPEC)]
    assert [bins for _, bins in grid] == [3, 3, 3, 3, 3, 2]
    predictor = Telling()
    scores = TileScorer(predictor, genome, batch_size=batch_size).score(grid)
    assert scores.start.tolist() == list(range(0, 17 * 8, 8))
    assert scores.start.dtype == np.int32
    assert scores.values_TM.shape == (4, 17)
    # 17 = 5 x 3 + 2 rows: window w, bin b of track t is 100 w + 10 b + t.
    for track in range(4):
        expected = [100 * (row // 3) + 10 * (row % 3) + track for row in range(17)]
        assert scores.values_TM[track].tolist() == expected
    assert scores.values_TM.flags["C_CONTIGUOUS"]
    assert [len(batch) for batch in predictor.given] == [
        min(batch_size, 6 - first) for first in range(0, 6, batch_size)
    ]


def test_windows_hold_the_bases_of_their_chromosome(genome: Genome) -> None:
    predictor = Telling()
    grid = [(tile.window, tile.bins_inside) for tile in tiles("chr2", LENGTH, SPEC)]
    TileScorer(predictor, genome, batch_size=4).score(grid)
    text = genome.path.read_text().split(">chr2\n")[1].strip()
    # Tile i reads from 24 i - 16, 56 bases; beyond the ends there is N.
    padded = "N" * 16 + text + "N" * 60
    for index, codes_L in enumerate(np.concatenate(predictor.given)):
        window = padded[24 * index : 24 * index + 56]
        assert "".join(LETTERS[code] for code in codes_L) == window


def test_tiles_need_not_be_neighbours(genome: Genome) -> None:
    chosen = [tile for tile in tiles("chr1", LENGTH, SPEC) if tile.index in (1, 4, 5)]
    grid = [(tile.window, tile.bins_inside) for tile in chosen]
    scores = TileScorer(Telling(), genome).score(grid)
    assert scores.start.tolist() == [24, 32, 40, 96, 104, 112, 120, 128]


def test_a_chromosome_shorter_than_a_bin(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">tiny\nACG\n")
    window = Window(Interval("tiny", -16, 40), Interval("tiny", 0, 24), 8)
    predictor = Telling()
    scores = TileScorer(predictor, Genome.open(tmp_path / "g.fa")).score([(window, 1)])
    assert scores.start.tolist() == [0]
    assert predictor.given[0].tolist() == [[4] * 16 + [0, 1, 2] + [4] * 37]


def test_with_a_real_model(tmp_path: Path) -> None:
    """Against one call of the model per window, with bases cut out of a string."""
    info = init_model(tmp_path / "m.safetensors", "tiny", seed=9, randomise_all=True)
    model = load_model(info.path)
    text = "".join(np.random.default_rng(4).choice(list(LETTERS), 5_000))
    (tmp_path / "g.fa").write_text(f">chr1\n{text}\n")
    tracks = model.tracks["human"].select("CAGE")
    predictor = PlainPredictor(model, tracks, device=torch.device("cpu"))
    spec = predictor.spec
    grid = [(tile.window, tile.bins_inside) for tile in tiles("chr1", 5_000, spec)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scores = TileScorer(predictor, Genome.open(tmp_path / "g.fa")).score(grid)
        padded = "N" * 1024 + text + "N" * 4096
        row = 0
        # 5,000 bp: tiles of 2,048 bp with 16, 16 and ceil(904 / 128) = 8 bins.
        for index, bins in enumerate([16, 16, 8]):
            window = padded[2048 * index : 2048 * index + 4096]
            onehot_LA = torch.tensor([[float(base == a) for a in "ACGT"] for base in window])
            with torch.no_grad():
                pred_NT = model(onehot_LA[None], head="human")[0].numpy()
            theirs = pred_NT[:bins, [3, 7]].T  # the fourth of every four tracks is CAGE
            np.testing.assert_array_equal(scores.values_TM[:, row : row + bins], theirs)
            row += bins
    finally:
        torch.set_num_threads(threads)
    assert scores.start.tolist() == [128 * i for i in range(40)]
