"""Motif scanning against sums written out base by base."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.dataset.synthetic.motifs import Motif

WIDTHS, CONSENSUS = (9, 12), (0.75, 0.97)
MOTIF = Motif.draw("X", np.random.default_rng(3), WIDTHS, CONSENSUS)


def letter_by_letter(motif: Motif, text: str, strand: str) -> list[float]:
    """Score every place of a string with look-ups alone; the reverse strand is read backwards."""
    complement = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}
    scores = []
    for start in range(len(text) - motif.width + 1):
        site = text[start : start + motif.width]
        if strand == "-":
            site = "".join(complement[letter] for letter in reversed(site))
        total = 0.0
        for position, letter in enumerate(site):
            if letter == "N":
                total = -np.inf
                break
            total += np.log2(motif.probability_WA[position, "ACGT".index(letter)] / 0.25)
        scores.append(total)
    return scores


@given(st.text(alphabet="ACGTACGTACGTN", max_size=60))
def test_scores_of_both_strands(text: str) -> None:
    codes_L = np.array(["ACGTN".index(letter) for letter in text], np.uint8)
    forward, reverse = MOTIF.scores(codes_L)
    np.testing.assert_allclose(forward, letter_by_letter(MOTIF, text, "+"), rtol=1e-12)
    np.testing.assert_allclose(reverse, letter_by_letter(MOTIF, text, "-"), rtol=1e-12)


@given(st.text(alphabet="ACGT", min_size=20, max_size=60))
def test_occupancy_is_a_sum_over_sites_beyond_the_threshold(text: str) -> None:
    codes_L = np.array(["ACGT".index(letter) for letter in text], np.uint8)
    every = letter_by_letter(MOTIF, text, "+") + letter_by_letter(MOTIF, text, "-")
    best = sum(np.log2(row.max() / 0.25) for row in MOTIF.probability_WA)
    expected = sum(max(0.0, (score - best / 2) / (best / 2)) for score in every)
    assert MOTIF.occupancy(codes_L) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    # Either strand is as good: the reverse complement has the same occupancy.
    reverse = 3 - codes_L[::-1]
    assert MOTIF.occupancy(reverse) == pytest.approx(MOTIF.occupancy(codes_L), abs=1e-12)


def test_the_best_site_has_affinity_one() -> None:
    consensus = MOTIF.probability_WA.argmax(axis=1).astype(np.uint8)
    assert MOTIF.affinity(MOTIF.scores(consensus)[0, 0]) == pytest.approx(1.0)
    assert MOTIF.affinity(MOTIF.threshold) == 0


def test_sampled_sites_follow_the_matrix() -> None:
    generator = np.random.default_rng(0)
    sites = np.array([MOTIF.sample(generator) for _ in range(4000)])
    scores = np.array([MOTIF.scores(site)[0, 0] for site in sites])
    assert scores.min() > MOTIF.threshold
    assert len({site.tobytes() for site in sites}) > 200  # degenerate: not one consensus
    shares_WA = np.stack([(sites == base).mean(axis=0) for base in range(4)], axis=1)
    # Rejecting poor sites favours the likeliest bases a little.
    assert np.abs(shares_WA - MOTIF.probability_WA).max() < 0.12
    assert (shares_WA.argmax(axis=1) == MOTIF.probability_WA.argmax(axis=1)).all()


def test_motifs_are_distributions_of_some_degeneracy() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        motif = Motif.draw("X", generator, WIDTHS, CONSENSUS)
        np.testing.assert_allclose(motif.probability_WA.sum(axis=1), 1)
        assert 9 <= motif.width <= 12
        likeliest = motif.probability_WA.max(axis=1)
        assert 0.74 < likeliest.min() < likeliest.max() < 0.975
