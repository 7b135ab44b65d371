"""Windows that share trunk tokens, held to the model's own modules in float64, and to the count."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.inference.fast.rolling import RollingTrunk
from cisray.inference.fast.trunk import Trunk
from cisray.inference.fast.weights import fold_trunk
from cisray.inference.precision import arithmetic

STRETCH = 6000
WINDOW = 2048  # 16 tokens: 3 at either end see the padding, 10 do not
BIN = 128


@pytest.fixture(autouse=True)
def plain_float32():
    with arithmetic(torch.device("cpu"), "float32"):
        yield


@pytest.fixture(scope="module")
def exact(tiny):
    return copy.deepcopy(tiny).double()


@pytest.fixture(scope="module")
def stretch() -> torch.Tensor:
    codes = torch.randint(0, 5, (STRETCH,), generator=torch.Generator().manual_seed(8))
    codes[1200:1500] = 4
    return codes.to(torch.uint8)


class CountingTrunk(Trunk):
    """Counts the tokens that are computed."""

    computed = 0

    def _compute(self, codes_BS, wanted, bases):
        self.computed += len(codes_BS) * len(wanted)
        return super()._compute(codes_BS, wanted, bases)


@pytest.fixture
def trunk(exact) -> CountingTrunk:
    return CountingTrunk(fold_trunk(exact, torch.float64), rows=64)


def plain(model, codes_L: torch.Tensor) -> torch.Tensor:
    onehot_LA = torch.eye(5, 4, dtype=torch.float64)[codes_L.long()]
    return model.conv_tower(model.stem(onehot_LA.T[None]))[0].T


def assert_window(model, ours: torch.Tensor, codes_L: torch.Tensor) -> None:
    theirs = plain(model, codes_L)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12 * float(theirs.abs().max()))


@given(
    starts=st.lists(
        st.one_of(
            st.integers(0, STRETCH - WINDOW),
            st.integers(0, (STRETCH - WINDOW - 37) // BIN).map(lambda token: 37 + token * BIN),
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=20, deadline=None)
def test_any_windows_in_any_order(exact, stretch, starts: list[int]) -> None:
    rolling = RollingTrunk(Trunk(fold_trunk(exact, torch.float64), rows=256), stretch, WINDOW)
    for start in starts:
        assert_window(exact, rolling.window(start), stretch[start : start + WINDOW])


@pytest.mark.parametrize(
    ("second", "new"),
    [
        (37 + 4 * BIN, 4),  # forwards: 10 - 4 of the interior are kept
        (37 - 0 * BIN, 0),  # the same window again
        (37 + 9 * BIN, 9),  # one token in common
        (37 + 10 * BIN, 10),  # none in common
        (38 + 4 * BIN, 10),  # off the grid of the first
    ],
)
def test_shared_tokens_are_computed_once(
    exact, trunk: CountingTrunk, stretch, second: int, new: int
) -> None:
    for first, then in ((37, second), (second, 37)):  # to the right, and to the left
        rolling = RollingTrunk(trunk, stretch, WINDOW)
        rolling.window(first)
        trunk.computed = 0
        assert_window(exact, rolling.window(then), stretch[then : then + WINDOW])
        assert trunk.computed == new + 2 * 3


def test_only_the_window_before_is_kept(exact, trunk: CountingTrunk, stretch) -> None:
    rolling = RollingTrunk(trunk, stretch, WINDOW)
    for start in (37, 1000, 37):
        trunk.computed = 0
        assert_window(exact, rolling.window(start), stretch[start : start + WINDOW])
        assert trunk.computed == 16


@pytest.mark.parametrize("tokens", [1, 5, 6, 7])
def test_windows_of_hardly_more_than_their_ends(exact, stretch, tokens: int) -> None:
    rolling = RollingTrunk(Trunk(fold_trunk(exact, torch.float64)), stretch, tokens * BIN)
    for start in (5, 5 + BIN, 5 + 3 * BIN, 0):
        codes_L = stretch[start : start + tokens * BIN]
        assert_window(exact, rolling.window(start), codes_L)


def test_the_caller_may_overwrite_what_it_gets(exact, trunk, stretch) -> None:
    rolling = RollingTrunk(trunk, stretch, WINDOW)
    rolling.window(37).zero_()
    assert_window(exact, rolling.window(37), stretch[37 : 37 + WINDOW])


@pytest.mark.parametrize("start", [-1, STRETCH - WINDOW + 1])
def test_a_window_that_leaves_the_stretch_is_refused(trunk, stretch, start: int) -> None:
    with pytest.raises(ValueError, match="leaves a stretch of 6000"):
        RollingTrunk(trunk, stretch, WINDOW).window(start)


def test_a_window_of_half_a_token_is_refused(trunk, stretch) -> None:
    with pytest.raises(ValueError, match="1000 bases is not a multiple of the 128"):
        RollingTrunk(trunk, stretch, 1000)
