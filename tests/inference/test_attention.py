"""Which tokens a bin attends to, held to the formula written out for one query and key."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_enformers import BINS, CROP, TOKENS, small_enformer, small_enformer_64

from cisray.inference.attention import PlainAttention, query_tokens
from cisray.inference.fast.attention import FastAttention
from cisray.inference.predictor import window_spec

CPU = torch.device("cpu")
BASES = 8 * TOKENS
READERS = {"plain": PlainAttention, "fast": FastAttention}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest):
    return READERS[request.param](small_enformer(), device=CPU)


@pytest.fixture(scope="module")
def window() -> NDArray[np.uint8]:
    return np.random.default_rng(8).integers(0, 5, BASES).astype(np.uint8)


def weights_of(layer, x_KD: torch.Tensor) -> torch.Tensor:
    """softmax over keys j of (s q_i + u) k_j + (s q_i + v) r_(j - i), for each head: (H, K, K)."""
    heads, tokens = layer.config.num_heads, len(x_KD)
    q, k = ((x_KD @ to.weight.T).reshape(tokens, heads, -1) for to in (layer.to_q, layer.to_k))
    u, v = layer.rel_content_bias[0, :, 0], layer.rel_pos_bias[0, :, 0]
    r_HPd = layer.position_keys(tokens)[0]
    distance = torch.arange(tokens)[None] - torch.arange(tokens)[:, None]
    r_HKKd = r_HPd[:, distance + tokens - 1]
    scaled = q * layer.config.key_size**-0.5
    content = torch.einsum("ihd,jhd->hij", scaled + u, k)
    position = torch.einsum("ihd,hijd->hij", scaled + v, r_HKKd)
    return torch.softmax(content + position, dim=-1)


@pytest.fixture(scope="module")
def truth(window) -> NDArray[np.float64]:
    """Rows of all tokens in float64, averaged over layers and heads: (K, K)."""
    model = small_enformer_64()
    layers_KK = []
    with torch.no_grad():
        onehot_LA = torch.eye(5, 4).double()[torch.from_numpy(window).long()]
        x_BKD = model.conv_tower(model.stem(onehot_LA.T[None])).transpose(1, 2)
        for layer in model.transformer:
            norm, attention, _ = layer[0].fn
            layers_KK.append(weights_of(attention, norm(x_BKD)[0]).mean(dim=0))
            x_BKD = layer(x_BKD)
    assert len(layers_KK) == 3
    return torch.stack(layers_KK).mean(dim=0).numpy()


@pytest.mark.parametrize("bins", [range(1), range(BINS - 1, BINS), range(130, 133), range(BINS)])
def test_attention_is_that_of_the_queries(reader, window, truth, bins: range) -> None:
    found = reader.attention(window, bins)
    assert (found.shape, found.dtype) == ((TOKENS,), np.float32)
    theirs = truth[CROP + bins.start : CROP + bins.stop].mean(axis=0)
    np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-6)
    assert found.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert np.abs(truth[CROP] - truth[CROP + 1]).max() > 1e-3  # another query would be seen


def test_several_bins_are_averaged(reader, window) -> None:
    one, two, both = (reader.attention(window, b) for b in (range(4, 5), range(5, 6), range(4, 6)))
    np.testing.assert_allclose(both, (one + two) / 2, rtol=1e-5)


def test_the_tokens_of_bins() -> None:
    spec = window_spec(small_enformer())
    assert query_tokens(range(BINS), spec) == range(17, 287)
    assert query_tokens(range(3, 4), spec) == range(20, 21)


def test_bins_and_windows_that_are_not_there_are_refused(reader, window) -> None:
    with pytest.raises(ValueError, match="neighbours of 0 to 269"):
        reader.attention(window, range(260, 271))
    with pytest.raises(ValueError, match="2432"):
        reader.attention(window[1:], range(1))


def test_no_hook_stays_behind(window, monkeypatch) -> None:
    model = small_enformer()
    reader = PlainAttention(model, device=CPU)
    reader.attention(window, range(1))
    layers = [attend.fn[1] for attend, _ in model.transformer]
    assert not any(layer._forward_pre_hooks for layer in layers)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(layers[-1], "weights", fail)
    with pytest.raises(MemoryError):
        reader.attention(window, range(1))
    assert not any(layer._forward_pre_hooks for layer in layers)
