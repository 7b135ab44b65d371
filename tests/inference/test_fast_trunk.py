"""Ranges of trunk tokens, and differences of them, held to the model's own modules in float64."""

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from cisray.inference.fast.differences import max_difference
from cisray.inference.fast.edits import Group, Reading, find_edits
from cisray.inference.fast.level import Step
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.weights import Affine, Level, Linear, fold_trunk
from cisray.inference.precision import arithmetic
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer

CPU = torch.device("cpu")
BASES = 4096
TOKENS = 32
BIN = 128
REACH = 259  # 7 x 1 + 2 x (2 + 4 + 8 + 16 + 32 + 64)


@pytest.fixture(autouse=True)
def plain_float32():
    with arithmetic(CPU, "float32"):
        yield


@pytest.fixture(scope="module")
def exact(tiny) -> Enformer:
    return copy.deepcopy(tiny).double()


@pytest.fixture(scope="module")
def max_pooled() -> Enformer:
    """Other widths at every level, maxima for pooling, and five levels of 32 bp."""
    config = EnformerConfig(
        channels=24,
        num_transformer_layers=1,
        num_heads=2,
        key_size=4,
        num_downsamples=5,
        channels_divisible_by=4,
        pooling="max",
        input_bp=512,
        target_bins=8,
        heads={"human": 2},
    )
    assert len({config.stem_channels, *config.tower_channels}) > 3
    return initialise(Enformer(config), 3, randomise_all=True).double().eval()


@pytest.fixture(scope="module")
def codes() -> torch.Tensor:
    """Three windows; the last has an unknown stretch from base 1,000 to 2,200."""
    chosen = torch.randint(0, 5, (3, BASES), generator=torch.Generator().manual_seed(4))
    chosen[2, 1000:2200] = 4
    return chosen.to(torch.uint8)


def plain(model: Enformer, codes_BL: torch.Tensor) -> torch.Tensor:
    """The model's own stem and tower, one-hot rows written out: (B, K, D)."""
    table = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    onehot_BAL = table.double()[codes_BL.long()].transpose(1, 2)
    with torch.no_grad():
        return model.conv_tower(model.stem(onehot_BAL)).transpose(1, 2)


@pytest.fixture(scope="module")
def truth_BKD(exact, codes) -> torch.Tensor:
    return plain(exact, codes)


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape
    assert float((ours.double() - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def test_enformer_reads_259_bases_on_either_side(tiny) -> None:
    trunk = Trunk(fold_trunk(tiny, torch.float32))
    assert (trunk.bin_bp, trunk.reach_bp, trunk.edge_tokens) == (BIN, REACH, 3)
    assert trunk.dtype == torch.float32
    assert trunk.device == CPU


@pytest.mark.parametrize("rows", [2, 8, 50, 64, 1024])
def test_all_tokens_are_the_models(exact, codes, truth_BKD, rows: int) -> None:
    trunk = Trunk(fold_trunk(exact, torch.float64), rows=rows)
    assert_equal(trunk.tokens(codes), truth_BKD, 1e-12)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 5e-6), (torch.bfloat16, 0.05)], ids=str
)
def test_other_types_are_as_close_as_they_can_be(
    tiny, codes, truth_BKD, dtype: torch.dtype, tolerance: float
) -> None:
    ours = Trunk(fold_trunk(tiny, dtype)).tokens(codes)
    assert ours.dtype == dtype
    assert_equal(ours, truth_BKD, tolerance)


@given(
    bounds=st.tuples(st.integers(0, TOKENS), st.integers(0, TOKENS)).map(sorted),
    rows=st.integers(8, 300),
    lanes=st.integers(1, 3),
)
@example(bounds=[3, 5], rows=2, lanes=2)
@settings(max_examples=30, deadline=None)
def test_any_range_any_block_any_number_of_lanes(
    exact, codes, truth_BKD, bounds: list[int], rows: int, lanes: int
) -> None:
    first, stop = bounds
    trunk = Trunk(fold_trunk(exact, torch.float64), rows=rows)
    ours = trunk.tokens(codes[:lanes], range(first, stop))
    assert ours.shape == (lanes, stop - first, 48)
    if first < stop:
        scale = float(truth_BKD.abs().max())
        torch.testing.assert_close(ours, truth_BKD[:lanes, first:stop], rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("wanted", [range(-1, 3), range(30, 33), range(0, 8, 2)])
def test_tokens_that_are_not_there_are_refused(tiny, codes, wanted: range) -> None:
    with pytest.raises(ValueError, match="neighbours of 0 to 31"):
        Trunk(fold_trunk(tiny, torch.float32)).tokens(codes, wanted)


def test_half_a_token_is_refused(tiny, codes) -> None:
    with pytest.raises(ValueError, match="4095 bases are not a multiple of the 128"):
        Trunk(fold_trunk(tiny, torch.float32)).tokens(codes[:, :-1])


@pytest.mark.parametrize("rows", [8, 1024])
@pytest.mark.parametrize(("first", "count"), [(REACH, 1), (777, 7), (BASES - REACH - 5 * BIN, 5)])
def test_inside_is_a_window_whose_padding_is_out_of_reach(
    exact, codes, first: int, count: int, rows: int
) -> None:
    """Cut a window of three more tokens on either side around the wanted ones, and drop those."""
    stretch = codes[0]
    longer = torch.cat([codes[1, :BIN], stretch, codes[1, :BIN]])  # 128 bases more on either side
    window = longer[first - 3 * BIN + BIN : first + (count + 3) * BIN + BIN]
    trunk = Trunk(fold_trunk(exact, torch.float64), rows=rows)
    assert_equal(trunk.inside(stretch, first, count), plain(exact, window[None])[0, 3:-3], 1e-12)


@pytest.mark.parametrize(("first", "count"), [(REACH - 1, 1), (BASES - REACH - 5 * BIN + 1, 5)])
def test_inside_refuses_a_stretch_that_is_too_short(tiny, codes, first: int, count: int) -> None:
    with pytest.raises(ValueError, match="depend on the bases"):
        Trunk(fold_trunk(tiny, torch.float32)).inside(codes[0], first, count)


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        # Token k reads the bases 128 k - 259 to 128 k + 386, so base p is read by the tokens from
        # (p - 386) / 128, rounded up, to (p + 259) / 128, rounded down.
        (0, range(3)),  # (0 + 259) / 128 = 2.02
        (1282, range(7, 13)),  # 896 / 128 = 7; 1541 / 128 = 12.04
        (1283, range(8, 13)),  # 897 / 128 = 7.008; 1542 / 128 = 12.05
        (1404, range(8, 13)),  # 1018 / 128 = 7.95; 1663 / 128 = 12.99
        (1405, range(8, 14)),  # 1019 / 128 = 7.96; 1664 / 128 = 13
        (BASES - 1, range(29, TOKENS)),  # 3709 / 128 = 28.98
    ],
)
def test_a_base_changes_exactly_the_tokens_that_read_it(
    exact, codes, base: int, changed: range
) -> None:
    alternates = with_bases(codes[0], {base: (int(codes[0, base]) + 1) % 4})[None]
    trunk = Trunk(fold_trunk(exact, torch.float64), rows=64)
    reference = trunk.tokens(codes[:1])[0]
    moved = (plain(exact, alternates) - plain(exact, codes[:1]))[0].abs().amax(dim=1)
    assert (moved > 1e-12).nonzero()[:, 0].tolist() == list(changed)
    found = find_edits(codes[0], alternates, Reading(BIN, REACH), longest=32)
    assert found.groups == (Group(changed, (0,)),)
    carried = trunk.differences(codes[0], alternates, reference)[0]
    assert carried.any(dim=1).nonzero()[:, 0].tolist() == list(changed)


def with_bases(reference: torch.Tensor, changed: dict[int, int]) -> torch.Tensor:
    alternate = reference.clone()
    for base, code in changed.items():
        alternate[base] = code
    return alternate


def shifted(reference: torch.Tensor, at: int, by: int) -> torch.Tensor:
    """Insert (by > 0) or delete bases and keep the length, filling up with unknown ones."""
    if by > 0:
        inserted = torch.arange(by).remainder(4).to(torch.uint8)
        return torch.cat([reference[:at], inserted, reference[at:]])[: len(reference)]
    filling = torch.full((-by,), 4, dtype=torch.uint8)
    return torch.cat([reference[:at], reference[at - by :], filling])


def flipped(reference: torch.Tensor, *bases: int) -> torch.Tensor:
    return with_bases(reference, {base: (int(reference[base]) + 2) % 4 for base in bases})


EDITS = {
    "first base": lambda ref: flipped(ref, 0),
    "last base": lambda ref: flipped(ref, BASES - 1),
    "before a border": lambda ref: flipped(ref, 2047),
    "after a border": lambda ref: flipped(ref, 2048),
    "to an unknown base": lambda ref: with_bases(ref, {500: 4}),
    "four bases": lambda ref: flipped(ref, 900, 901, 902, 903),
    "two far apart": lambda ref: flipped(ref, 130, 3300),
    "both ends": lambda ref: flipped(ref, 0, BASES - 1),
    "one in 400": lambda ref: flipped(ref, *range(7, BASES, 400)),
    "an insertion": lambda ref: shifted(ref, 1500, 3),
    "a deletion": lambda ref: shifted(ref, 21, -50),
    "nothing": lambda ref: ref.clone(),
}


@pytest.mark.parametrize("window", [0, 2], ids=["random", "with an unknown stretch"])
@pytest.mark.parametrize("rows", [8, 64, 1024])
def test_differences_are_the_models(exact, codes, window: int, rows: int) -> None:
    reference = codes[window]
    alternates = torch.stack([edit(reference) for edit in EDITS.values()])
    truth = plain(exact, alternates) - plain(exact, reference[None])
    trunk = Trunk(fold_trunk(exact, torch.float64), rows=rows)
    ours = trunk.differences(reference, alternates, trunk.tokens(reference[None])[0])
    assert_equal(ours, truth, 1e-12)
    assert (ours != 0).any(dim=2).tolist() == (truth.abs() > 1e-13).any(dim=2).tolist()
    assert not ours[list(EDITS).index("nothing")].any()


def test_float32_differences_have_float32_digits(tiny, exact, codes) -> None:
    """Each within 5e-6 of the truth in its own norm; what subtraction gives is far from that."""
    alternates = torch.stack([edit(codes[0]) for edit in EDITS.values()][:9])
    truth = plain(exact, alternates) - plain(exact, codes[:1])
    trunk = Trunk(fold_trunk(tiny, torch.float32), rows=64)
    reference = trunk.tokens(codes[:1])[0]
    size = truth.flatten(1).norm(dim=1)
    carried = trunk.differences(codes[0], alternates, reference).double() - truth
    subtracted = (trunk.tokens(alternates) - reference).double() - truth
    assert float((carried.flatten(1).norm(dim=1) / size).max()) < 5e-6
    assert float((subtracted.flatten(1).norm(dim=1) / size).max()) > 1e-4


@pytest.mark.parametrize("factor", [1e-3, 1e-6])
def test_a_difference_keeps_its_digits_however_small(tiny, exact, codes, factor: float) -> None:
    """Shrink what one base can do, by shrinking the stem's kernel but not its bias."""
    models = [copy.deepcopy(model) for model in (tiny, exact)]
    for model in models:
        model.stem[0].weight.mul_(factor)
    alternates = flipped(codes[0], 2000)[None]
    truth = plain(models[1], alternates) - plain(models[1], codes[:1])
    trunk = Trunk(fold_trunk(models[0], torch.float32))
    ours = trunk.differences(codes[0], alternates, trunk.tokens(codes[:1])[0])
    assert float(truth.norm()) > 0
    # float64 itself subtracts two trunks of this size: 1e-15 / factor of its digits are noise.
    assert float((ours - truth).norm() / truth.norm()) < 5e-6 + 1e-12 / factor


@given(
    seed=st.integers(0, 1000),
    bases=st.lists(st.integers(0, BASES - 1), min_size=1, max_size=12),
    lanes=st.integers(1, 4),
    rows=st.integers(8, 300),
)
@example(seed=3, bases=[2000], lanes=1, rows=2)
@settings(max_examples=15, deadline=None)
def test_any_scattered_edits(
    exact, codes, seed: int, bases: list[int], lanes: int, rows: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    alternates = codes[:1].repeat(lanes, 1)
    for base in bases:
        lane, code = (int(torch.randint(0, n, (), generator=generator)) for n in (lanes, 5))
        alternates[lane, base] = code
    trunk = Trunk(fold_trunk(exact, torch.float64), rows=rows)
    reference = trunk.tokens(codes[:1])[0]
    truth = plain(exact, alternates) - plain(exact, codes[:1])
    ours = trunk.differences(codes[0], alternates, reference)
    atol = 1e-12 * float(reference.abs().max())
    torch.testing.assert_close(ours, truth, rtol=0, atol=atol)


def test_max_pooling_and_other_widths(max_pooled) -> None:
    generator = torch.Generator().manual_seed(9)
    codes = torch.randint(0, 5, (2, 512), generator=generator).to(torch.uint8)
    trunk = Trunk(fold_trunk(max_pooled, torch.float64), rows=16)
    # 7 x 1 + 2 x (2 + 4 + 8 + 16) = 67 bases, and 67 / 32 rounded up is 3 tokens.
    assert (trunk.bin_bp, trunk.reach_bp, trunk.edge_tokens) == (32, 67, 3)
    theirs = plain(max_pooled, codes)
    assert_equal(trunk.tokens(codes), theirs, 1e-12)
    alternates = torch.stack([flipped(codes[0], 99), flipped(codes[0], 0, 300), codes[0]])
    ours = trunk.differences(codes[0], alternates, trunk.tokens(codes[:1])[0])
    assert_equal(ours, plain(max_pooled, alternates) - theirs[:1], 1e-12)


class PlainStack(nn.Module):
    """Convolution and max pooling twice, as a user's model may have it: no residual, no stem."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 5, padding=2)
        self.second = nn.Conv1d(6, 3, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool1d(self.first(x), 2)
        return nn.functional.max_pool1d(self.second(nn.functional.silu(0.5 * x + 0.25)), 2)

    def levels(self) -> list[Level]:
        affine = Affine(torch.full((6,), 0.5).double(), torch.full((6,), 0.25).double())
        convolutions = (None, self.first), (affine, self.second)
        return [
            Level(before, conv.weight[:, :, None, :], conv.bias, None, None, None)
            for before, conv in convolutions
        ]


def test_a_trunk_of_convolutions_and_maxima_only() -> None:
    torch.manual_seed(0)
    stack = PlainStack().double()
    codes = torch.randint(0, 4, (2, 40)).to(torch.uint8)
    onehot_BAL = torch.eye(4).double()[codes.long()].transpose(1, 2)
    trunk = Trunk(stack.levels(), rows=4)
    # 2 x 1 + 3 x 2 = 8 bases, and 8 / 4 = 2 tokens.
    assert (trunk.bin_bp, trunk.reach_bp, trunk.edge_tokens) == (4, 8, 2)
    theirs = stack(onehot_BAL).transpose(1, 2)
    assert_equal(trunk.tokens(codes), theirs, 1e-12)
    assert_equal(trunk.inside(codes[0], 10, 5), stack(onehot_BAL[:1, :, 2:38])[0].T[2:-2], 1e-12)
    ours = trunk.differences(codes[0], codes[1:], theirs[0])
    assert_equal(ours, theirs[1:] - theirs[:1], 1e-12)


def test_a_residual_without_activation_is_a_linear_map() -> None:
    torch.manual_seed(1)
    kernel, bias = torch.randn(3, 4, 1, 3).double(), torch.randn(3).double()
    weight, offset = torch.randn(3, 3).double(), torch.randn(3).double()
    trunk = Trunk([Level(None, kernel, bias, None, Linear(weight, offset), None)])
    codes = torch.randint(0, 4, (1, 12)).to(torch.uint8)
    onehot_BAL = torch.eye(4).double()[codes.long()].transpose(1, 2)
    y = nn.functional.conv1d(onehot_BAL, kernel[:, :, 0], bias, padding=1).transpose(1, 2)
    z = y + y @ weight.T + offset
    assert_equal(trunk.tokens(codes), torch.maximum(z[:, 0::2], z[:, 1::2]), 1e-12)


@pytest.mark.parametrize(
    ("pair", "change", "expected"),
    [
        ((3.0, 1.0), (1e-9, 0.5), 1e-9),  # even stays ahead: its change, digit for digit
        ((1.0, 3.0), (0.5, 1e-9), 1e-9),  # odd stays ahead
        ((3.0, 1.0), (-2.5, 0.5), -1.5),  # max(0.5, 1.5) - 3
        ((1.0, 3.0), (2.5, -1.0), 0.5),  # max(3.5, 2) - 3
        ((2.0, 2.0), (-1.0, -0.25), -0.25),  # a tie: max(1, 1.75) - 2
    ],
)
def test_change_of_a_maximum(pair, change, expected: float) -> None:
    def rows(values: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([values[0]]), torch.tensor([values[1]])

    assert max_difference(rows(pair), rows(change)).item() == torch.tensor(expected).item()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # Convolution outputs [p - 2, p + 2], and pairs of them.
        (range(20, 21), range(9, 12)),  # 18 .. 22 -> 9, 10, 11
        (range(21, 22), range(9, 12)),  # 19 .. 23 -> 9, 10, 11
        (range(20, 24), range(9, 13)),  # 18 .. 25 -> 9 .. 12
        (range(9, 10), range(8, 6)),  # 7 .. 11 -> 3, 4, 5: nothing of 8 .. 15
    ],
)
def test_changed_inputs_spread_to_pairs(changed: range, expected: range) -> None:
    level = Level(None, torch.zeros(1, 1, 1, 5), torch.zeros(1), None, None, None)
    step = Step(level, inputs=range(14, 34), outputs=range(8, 16))
    assert step.spread(changed) == expected


def test_lanes_with_nearly_the_same_tokens_are_computed_together(codes) -> None:
    reference = codes[0]
    alternates = torch.stack([flipped(reference, base) for base in (2000, 2001, 2060, 3300)])
    found = find_edits(reference, alternates, Reading(BIN, REACH), longest=32)
    # Base 2060 is read by tokens 14 (1674 / 128 = 13.08) to 18 (2319 / 128 = 18.1), bases 2000 and
    # 2001 by 13 (1614 / 128 = 12.6) to 17, base 3300 by 23 (2914 / 128 = 22.8) to 27.
    assert [(group.tokens, group.lanes) for group in found.groups] == [
        (range(13, 19), (0, 1, 2)),
        (range(23, 28), (3,)),
    ]
    assert found.rewritten == ()


def test_a_shift_is_rewritten_and_a_haplotype_is_not(codes) -> None:
    reference = codes[0]
    alternates = torch.stack(
        [shifted(reference, 1500, 3), flipped(reference, *range(300, BASES, 400))]
    )
    found = find_edits(reference, alternates, Reading(BIN, REACH), longest=8)
    # The shift: from token 9 (1114 / 128 = 8.7) to the end. The haplotype: from 0 to the end.
    assert found.rewritten == ((0, range(9, TOKENS)),)
    assert [(group.tokens, group.lanes) for group in found.groups] == [
        (range(first, first + 8), (1,)) for first in range(0, TOKENS, 8)
    ]
