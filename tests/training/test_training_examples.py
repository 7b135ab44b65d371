"""Which example comes when, and how it is augmented."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_models import MARGIN, SPEC, MadeUp

from cisray.genome.encode import reverse_complement as other_strand
from cisray.training.augment import Augmentation, Drawing, reverse_complement
from cisray.training.batches import Share, TrainingBatches, onehot, validation_batches
from cisray.training.examples import HeadData
from cisray.training.order import Alternation, epoch_order, example_at

DATA = {"human": HeadData(MadeUp(1, 7, 3)), "mouse": HeadData(MadeUp(2, 5, 2))}
DRAWING = Drawing(4, Augmentation())


def test_an_epoch_meets_every_example_once_and_the_next_in_another_order() -> None:
    met = [example_at(3, "human", position, 50) for position in range(100)]
    assert sorted(met[:50]) == sorted(met[50:]) == list(range(50))
    assert met[:50] != met[50:]
    assert met[:50] != [example_at(4, "human", position, 50) for position in range(50)]
    assert met[:50] != [example_at(3, "mouse", position, 50) for position in range(50)]
    assert not epoch_order(3, "human", 0, 50).flags.writeable


@given(st.integers(0, 200), st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 3), (6, 1)]))
@settings(deadline=None, max_examples=40)
def test_shares_are_together_the_same_examples_however_many_they_are(
    step: int, cut: tuple[int, int]
) -> None:
    turns = Alternation(("human", "mouse"), 6)
    ranks, parts = cut
    shares = [Share(rank, ranks, parts) for rank in range(ranks)]
    met = [
        position
        for share in shares
        for part in range(parts)
        for position in turns.positions(step, share.number(part), share.shares)
    ]
    first = step // 2 * 6
    assert sorted(met) == list(range(first, first + 6))
    assert turns.head(step) == ("human", "mouse")[step % 2]


def test_two_workers_read_what_one_reads_and_a_late_start_goes_on() -> None:
    turns = Alternation(("human", "mouse"), 4)
    one = list(TrainingBatches(DATA, turns, DRAWING, Share(0, 1, 1)).read(0, 6, 0))
    two = [
        list(TrainingBatches(DATA, turns, DRAWING, Share(r, 2, 1)).read(0, 6, 0)) for r in (0, 1)
    ]
    late = list(TrainingBatches(DATA, turns, DRAWING, Share(0, 1, 1)).read(4, 6, 0))
    for step, whole in enumerate(one):
        halves = [worker[step] for worker in two]
        assert torch.equal(whole.codes_BL, torch.cat([half.codes_BL for half in halves]))
        assert torch.equal(whole.target_BNT, torch.cat([half.target_BNT for half in halves]))
    assert [b.codes_BL.tolist() for b in late] == [b.codes_BL.tolist() for b in one[4:]]
    assert len({tuple(b.codes_BL.flatten().tolist()) for b in one}) == 6


def test_augmentation_draws_every_shift_and_both_strands_evenly() -> None:
    draws = [Augmentation().draw(0, "human", position) for position in range(3500)]
    shifts = np.bincount([shift + 3 for shift, _ in draws], minlength=7)
    assert len(shifts) == 7
    assert shifts.min() > 430
    assert 0.46 < np.mean([turned for _, turned in draws]) < 0.54
    assert Augmentation(0, False).draw(0, "human", 1) == (0, False)
    still = {Augmentation(3, False).draw(0, "human", position)[1] for position in range(50)}
    assert still == {False}


def test_an_augmented_example_is_the_shifted_window_on_its_strand() -> None:
    """Seen from the other side: every example is found among the windows that there can be."""
    source = MadeUp(1, 7, 3)
    data = HeadData(source)
    for position in range(14):
        index = example_at(4, "human", position, 7)
        shift, turned = Augmentation().draw(4, "human", position)
        codes, target = DRAWING.example(data, "human", position)
        first = MARGIN + shift
        window = source.stored_EL[index, first : first + SPEC.input_bp]
        stored = source.target_NT(index)
        assert np.array_equal(codes, other_strand(window) if turned else window)
        assert np.array_equal(target, stored[::-1] if turned else stored)


def test_the_other_strand_exchanges_partners_and_keeps_unknown_bases() -> None:
    codes, target = np.array([0, 1, 4, 3], np.uint8), np.arange(6, dtype=np.float32).reshape(2, 3)
    turned, mirrored = reverse_complement(codes, target, np.array([1, 0, 2]))
    assert turned.tolist() == [0, 4, 2, 3]
    assert mirrored.tolist() == [[4, 3, 5], [1, 0, 2]]


def test_codes_become_rows_and_unknown_bases_none() -> None:
    assert onehot(torch.tensor([[2, 4]], dtype=torch.uint8)).tolist() == [[[0, 0, 1, 0], [0] * 4]]


@pytest.mark.parametrize(
    ("limit", "size", "ranks"), [(None, 2, 1), (None, 2, 2), (3, 2, 2), (1, 1, 2)]
)
def test_validation_counts_every_example_once_in_equally_many_batches(
    limit: int | None, size: int, ranks: int
) -> None:
    source = MadeUp(1, 7, 3)
    per_rank = [list(validation_batches(source, limit, size, rank, ranks)) for rank in range(ranks)]
    assert len({len(batches) for batches in per_rank}) == 1
    met = [
        tuple(codes.tolist())
        for batches in per_rank
        for batch, counted in batches
        for codes in batch.codes_BL[:counted]
    ]
    wanted = [tuple(source.codes_L(i).tolist()) for i in range(7 if limit is None else limit)]
    assert sorted(met) == sorted(wanted)
