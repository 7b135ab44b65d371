"""The scores of a shard are those of its windows one by one, each row at its place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Window, WindowSpec, tiles
from cisray.inference.predictor import PlainPredictor
from cisray.model.registry import load_model
from cisray.scoring.tiles import TileScorer, stretches
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
    stretches: list[list[np.ndarray]] = field(default_factory=list)

    @property
    def windows(self) -> list[np.ndarray]:
        return [window for stretch in self.stretches for window in stretch]

    def predict(self, codes_BL: np.ndarray) -> np.ndarray:
        raise AssertionError("tiles are predicted along their stretch")

    def predict_along(self, codes_S: np.ndarray, starts: Sequence[int]) -> Iterator[np.ndarray]:
        self.stretches.append([])
        for start in starts:
            window = 100 * len(self.windows)
            self.stretches[-1].append(codes_S[start : start + 56].copy())
            yield (window + 10 * np.arange(3)[:, None] + np.arange(4)).astype(np.float32)


@dataclass
class Counting:
    """A genome that keeps the intervals it was asked for."""

    genome: Genome
    fetched: list[Interval] = field(default_factory=list)

    def fetch_padded(self, interval: Interval) -> np.ndarray:
        self.fetched.append(interval)
        return self.genome.fetch_padded(interval)


def grid(chrom: str, chosen: Sequence[int] | None = None) -> list[tuple[Window, int]]:
    return [
        (tile.window, tile.bins_inside)
        for tile in tiles(chrom, LENGTH, SPEC)
        if chosen is None or tile.index in chosen
    ]


@pytest.fixture
def genome(tmp_path: Path) -> Genome:
    text = "".join(np.random.default_rng(3).choice(list(LETTERS), LENGTH))
    (tmp_path / "g.fa").write_text(f">chr1\n{text}\n>chr2\n{text[::-1]}\n")
    return Genome.open(tmp_path / "g.fa")


def test_rows_are_bins_in_order(genome: Genome) -> None:
    assert [bins for _, bins in grid("chr2")] == [3, 3, 3, 3, 3, 2]
    scores = TileScorer(Telling(), genome).score(grid("chr2"))
    assert scores.start.tolist() == list(range(0, 17 * 8, 8))
    assert scores.start.dtype == np.int32
    assert scores.values_TM.shape == (4, 17)
    # 17 = 5 x 3 + 2 rows: window w, bin b of track t is 100 w + 10 b + t.
    for track in range(4):
        expected = [100 * (row // 3) + 10 * (row % 3) + track for row in range(17)]
        assert scores.values_TM[track].tolist() == expected
    assert scores.values_TM.flags["C_CONTIGUOUS"]


def test_windows_hold_the_bases_of_their_chromosome(genome: Genome) -> None:
    predictor = Telling()
    TileScorer(predictor, genome).score(grid("chr2"))
    text = genome.path.read_text().split(">chr2\n")[1].strip()
    # Tile i reads from 24 i - 16, 56 bases; beyond the ends there is N.
    padded = "N" * 16 + text + "N" * 60
    for index, codes_L in enumerate(predictor.windows):
        window = padded[24 * index : 24 * index + 56]
        assert "".join(LETTERS[code] for code in codes_L) == window


def test_tiles_need_not_be_neighbours(genome: Genome) -> None:
    scores = TileScorer(Telling(), genome).score(grid("chr1", (1, 4, 5)))
    assert scores.start.tolist() == [24, 32, 40, 96, 104, 112, 120, 128]


def test_a_whole_chromosome_is_fetched_once(genome: Genome) -> None:
    counting = Counting(genome)
    TileScorer(Telling(), counting).score(grid("chr1"))
    # Tile 5 reads from 5 x 24 - 16 = 104 on, 56 bases.
    assert counting.fetched == [Interval("chr1", -16, 160)]


@pytest.mark.parametrize(
    ("chosen", "fetched"),
    [
        # Tile i reads 24 i - 16 .. 24 i + 40: two tiles on, 8 bases are shared (48 - 16 < 40),
        ((0, 2, 4), [(-16, 136)]),
        # three tiles on, 16 bases lie between (72 - 16 - 40).
        ((0, 3), [(-16, 40), (56, 112)]),
        ((0, 1, 4, 5), [(-16, 64), (80, 160)]),
        ((2,), [(32, 88)]),
    ],
)
def test_what_lies_apart_is_fetched_apart(genome: Genome, chosen, fetched) -> None:
    counting, predictor = Counting(genome), Telling()
    TileScorer(predictor, counting).score(grid("chr1", chosen))
    assert [(interval.start, interval.end) for interval in counting.fetched] == fetched
    assert len(predictor.stretches) == len(fetched)
    assert len(predictor.windows) == len(chosen)


def test_inputs_that_touch_are_one_stretch() -> None:
    windows = [
        (Window(Interval("c", at, at + 8), Interval("c", at, at + 8), 8), 1)
        for at in (3, 11, 20, 28)
    ]
    assert [[w.input.start for w, _ in part] for part in stretches(windows)] == [[3, 11], [20, 28]]


@given(starts=st.lists(st.integers(0, 300), unique=True, max_size=12), width=st.integers(1, 40))
def test_stretches_are_the_tiles_in_order_and_whole(starts: list[int], width: int) -> None:
    spans = [Interval("c", start, start + width) for start in sorted(starts)]
    windows = [(Window(span, span, width), 1) for span in spans]
    cut = list(stretches(windows))
    assert [entry for part in cut for entry in part] == windows
    covered = [
        set().union(*(range(w.input.start, w.input.end + 1) for w, _ in part)) for part in cut
    ]
    for part, bases in zip(cut, covered, strict=True):
        first, last = part[0][0].input.start, part[-1][0].input.end
        assert bases == set(range(first, last + 1))  # ends included: touching is together
    for left, right in pairwise(covered):
        assert not left & right


def test_nothing_is_nothing(genome: Genome) -> None:
    scores = TileScorer(Telling(), genome).score([])
    assert (scores.start.shape, scores.values_TM.shape) == ((0,), (4, 0))


def test_a_chromosome_shorter_than_a_bin(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">tiny\nACG\n")
    window = Window(Interval("tiny", -16, 40), Interval("tiny", 0, 24), 8)
    predictor = Telling()
    scores = TileScorer(predictor, Genome.open(tmp_path / "g.fa")).score([(window, 1)])
    assert scores.start.tolist() == [0]
    assert predictor.windows[0].tolist() == [4] * 16 + [0, 1, 2] + [4] * 37


def test_with_a_real_model(tmp_path: Path) -> None:
    """Against one call of the model per window, with bases cut out of a string."""
    info = init_model(tmp_path / "m.safetensors", "tiny", seed=9, randomise_all=True)
    model = load_model(info.path)
    text = "".join(np.random.default_rng(4).choice(list(LETTERS), 5_000))
    (tmp_path / "g.fa").write_text(f">chr1\n{text}\n")
    tracks = model.tracks["human"].select("CAGE")
    predictor = PlainPredictor(model, tracks, device=torch.device("cpu"))
    spec = predictor.spec
    three = [(tile.window, tile.bins_inside) for tile in tiles("chr1", 5_000, spec)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scores = TileScorer(predictor, Genome.open(tmp_path / "g.fa")).score(three)
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
