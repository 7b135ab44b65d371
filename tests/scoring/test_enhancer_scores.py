"""Scores of elements for a gene, held against the model's own passes written out here."""

import numpy as np
import pytest
import torch
from small_enformers import small_enformer

from cisray.errors import ConfigError
from cisray.genome.encode import UNKNOWN, decode
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome
from cisray.genome.windows import Window
from cisray.inference.attention import PlainAttention
from cisray.inference.choose import effect_predictor
from cisray.inference.gradients import PlainGradients
from cisray.inference.predictor import PlainPredictor
from cisray.scoring.enhancer_scores import PairOptions, PairScorer, Readers
from cisray.tracks import TrackSet

CPU = torch.device("cpu")
TRACKS = TrackSet.unnamed("human", 12).select("2,5")
OPTIONS = PairOptions(element_bp=40, samples=2, seed=3)
LENGTH = 9_000
# The window of the model has 2,432 bases: 1,215 before the TSS, 1,216 after it.
TSS = Interval("chr1", 4_001, 4_002)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    """Random bases, of which 200 from 4,600 on and all from 6,500 on are unknown."""
    codes = np.random.default_rng(2).integers(0, 4, LENGTH, np.uint8)
    codes[4_600:4_800] = codes[6_500:] = UNKNOWN
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">chr1\n{decode(codes)}\n")
    return Genome.open(path)


@pytest.fixture(scope="module")
def readers() -> Readers:
    model = small_enformer()
    return Readers(
        effect_predictor(
            model, TRACKS, device=CPU, precision="float32", batch_size=1, method="fast"
        ),
        PlainGradients(model, TRACKS, device=CPU),
        PlainAttention(model, device=CPU),
    )


@pytest.fixture(scope="module")
def scorer(readers: Readers, genome: Genome) -> PairScorer:
    return PairScorer(readers, genome, OPTIONS)


def signal(codes_L: np.ndarray, bins: range) -> float:
    """The mean over tracks of the sum over bins, by a plain pass."""
    plain = PlainPredictor(small_enformer(), TRACKS, device=CPU)
    return float(plain.predict(codes_L[None])[0, bins.start : bins.stop].sum(axis=0).mean())


def test_the_main_tss_has_the_highest_prediction(scorer: PairScorer, genome: Genome) -> None:
    candidates = [Interval("1", at, at + 1) for at in (2_500, 3_333, 4_001, 5_002)]
    expected = {}
    for tss in candidates:
        window = Window.around(tss.resize(1), scorer._spec)
        middle = (1_215 - 17 * 8) // 8
        codes = genome.fetch_padded(Interval("chr1", window.input.start, window.input.end))
        assert window.input.start == tss.start - 1_215
        expected[tss.start] = signal(codes, range(middle - 1, middle + 2))
    main = scorer.main_tss(candidates)
    best = max(expected, key=expected.get)
    assert (main.tss.start, main.window.input.chrom) == (best, "chr1")
    assert main.signal == pytest.approx(expected[best], rel=1e-5)


def test_genes_that_cannot_be_scored_say_why(scorer: PairScorer) -> None:
    told = [
        scorer.main_tss(starts)
        for starts in (
            [],
            [Interval("chr9", 5, 6)],
            [Interval("chr1", LENGTH, LENGTH + 1)],
            [Interval("chr1", 7_000, 7_001)],
        )
    ]
    assert told == [
        "gene without a TSS",
        "chromosome not in the FASTA",
        "TSS beyond its chromosome",
        "window of unknown bases",
    ]
    # The other one is taken where one cannot be used.
    assert scorer.main_tss([Interval("chr1", 7_000, 7_001), TSS]).tss == TSS


def test_scores_are_those_of_the_bases_around_the_element(
    scorer: PairScorer, readers: Readers, genome: Genome
) -> None:
    gene = scorer.main_tss([TSS])
    start = gene.window.input.start
    element = Interval("chr1", 4_300, 4_311)
    (score,) = scorer.score(gene, [element])
    # 40 bases around base 4,305, at offset 19: 4,286 to 4,325.
    inside = slice(4_286 - start, 4_326 - start)
    weights = np.zeros((270, 2), np.float32)
    weights[gene.bins.start : gene.bins.stop] = 0.5
    onehot = np.eye(5, 4, dtype=np.float32)[gene.codes_L]
    x = torch.from_numpy(onehot)[None].requires_grad_()
    pred = small_enformer()(x, head="human")[0][:, TRACKS.indices.astype(int)]
    (gradient,) = torch.autograd.grad((pred * torch.from_numpy(weights)).sum(), x)
    sizes = np.abs((gradient[0].numpy() * onehot).sum(axis=1))
    assert score.gradient == pytest.approx(sizes[inside].sum(), rel=1e-4)
    tokens = readers.attention.attention(gene.codes_L, gene.bins)
    assert score.attention == pytest.approx(np.repeat(tokens / 8, 8)[inside].sum(), rel=1e-5)
    assert score.reach == "whole"
    assert score.mutagenesis == abs(score.change)


def test_mutagenesis_is_the_prediction_less_that_of_replaced_bases(
    readers: Readers, genome: Genome
) -> None:
    gene = PairScorer(readers, genome, OPTIONS).main_tss([TSS])
    start = gene.window.input.start
    element = Interval("chr1", 4_590, 4_601)
    for kind in ("random", "shuffled"):
        scorer = PairScorer(
            readers, genome, PairOptions(element_bp=40, samples=2, replacement=kind)
        )
        (score,) = scorer.score(gene, [element])
        region = Interval("chr1", 4_576, 4_616)
        alternates = [scorer._replaced(gene, element, region, k) for k in range(2)]
        for codes in alternates:
            changed = np.flatnonzero(codes != gene.codes_L) + start
            assert 4_576 <= changed.min() <= changed.max() < 4_600
            assert (codes[4_600 - start : 4_616 - start] == UNKNOWN).all()
            known = slice(4_576 - start, 4_600 - start)
            if kind == "shuffled":
                assert sorted(codes[known]) == sorted(gene.codes_L[known])
        assert (alternates[0] != alternates[1]).any()
        plain = np.mean([signal(codes, gene.bins) for codes in alternates])
        expected = signal(gene.codes_L, gene.bins) - plain
        assert score.change == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_what_the_window_does_not_reach_is_zero_and_edges_are_parts(scorer: PairScorer) -> None:
    gene = scorer.main_tss([TSS])
    first = gene.window.input.start
    elements = [
        Interval("chr1", first - 21, first - 20),  # its 40 bases end before the window
        Interval("chr1", first - 20, first - 19),  # and here one of them is inside
        Interval("chr1", first + 19, first + 20),
        Interval("chr1", 4_690, 4_701),
        Interval("chr1", LENGTH - 5, LENGTH + 1),
    ]
    scores = scorer.score(gene, elements)
    assert [score.reach for score in scores] == ["none", "part", "whole", "", ""]
    assert (scores[0].gradient, scores[0].attention, scores[0].mutagenesis) == (0, 0, 0)
    assert 0 < scores[1].gradient < scores[2].gradient
    assert [score.reason for score in scores[3:]] == [
        "element of unknown bases",
        "element beyond its chromosome",
    ]
    assert scores[3].gradient is None
    # An element's score does not depend on the others.
    assert scorer.score(gene, elements[2:3])[0] == scores[2]


def test_models_without_attention_have_no_such_score(readers: Readers, genome: Genome) -> None:
    scorer = PairScorer(Readers(readers.effects), genome, OPTIONS)
    gene = scorer.main_tss([TSS])
    inside, outside = scorer.score(gene, [TSS, Interval("chr1", 10, 20)])
    assert (inside.gradient, inside.attention, outside.attention) == (None, None, None)
    assert inside.mutagenesis > 0 == outside.mutagenesis


def test_bins_lie_around_the_tss(readers: Readers, genome: Genome) -> None:
    with pytest.raises(ConfigError, match="give an odd number"):
        PairOptions(bins=2)
    with pytest.raises(ConfigError, match="more than the model predicts"):
        PairScorer(readers, genome, PairOptions(bins=271))
