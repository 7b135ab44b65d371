"""The network's structure and layers against counts and formulas written out here."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cisray.errors import UnknownHead
from cisray.model.activation import GELU
from cisray.model.enformer.attention import RelativeAttention, shift_distances
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.layers import AttentionPool, ConvBlock, Residual
from cisray.model.enformer.network import Enformer
from cisray.model.enformer.positions import positional_features
from cisray.model.registry import expected_shapes

# 1,024 bp: 8 tokens of 128 bp, cropped by 2 on each side to 4 bins.
SMALL = EnformerConfig(
    channels=48,
    num_transformer_layers=2,
    num_heads=2,
    key_size=16,
    channels_divisible_by=8,
    input_bp=1024,
    target_bins=4,
    heads={"human": 5, "mouse": 3},
)


@pytest.fixture(scope="module")
def model() -> Enformer:
    return initialise(Enformer(SMALL), seed=1, randomise_all=True).eval()


@pytest.fixture(scope="module")
def published() -> Enformer:
    with torch.device("meta"):
        return Enformer(EnformerConfig())


def test_the_published_model_has_its_parameters(published: Enformer) -> None:
    assert sum(p.numel() for p in published.parameters()) == 251_221_292
    # Batch norms add a mean and a variance per channel, and a counter each: 29,710 scalars.
    assert sum(t.numel() for t in published.state_dict().values()) == 251_251_002
    # Per layer: q and k 2 x 1536 x 512, v 1536 x 1536, r_k 192 x 512, out 1536 x 1536 + 1536,
    # two biases of 512, two norms of 2 x 1536, MLP 2 x 1536 x 3072 + 3072 + 1536.
    layer = (
        2 * 1536 * 512 + 2 * 1536**2 + 192 * 512 + 1536 + 2 * 512
        + 2 * 2 * 1536 + 2 * 1536 * 3072 + 3072 + 1536
    )  # fmt: skip
    assert sum(p.numel() for p in published.transformer.parameters()) == 11 * layer
    heads = sum(p.numel() for p in published._heads.parameters())
    assert heads == (3072 + 1) * (5313 + 1643)


def test_the_published_widths(published: Enformer) -> None:
    widths = [block[0][2].out_channels for block in published.conv_tower]
    assert widths == [768, 896, 1024, 1152, 1280, 1536]
    assert published.stem[0].weight.shape == (768, 4, 15)
    assert published.final_pointwise[1][2].weight.shape == (3072, 1536, 1)
    assert (published.input_bp, published.bin_bp, published.target_bins) == (196_608, 128, 896)
    assert published.config.crop_bins == 320


def test_the_shapes_of_all_stages(model: Enformer) -> None:
    onehot_BLA = torch.zeros(2, 1024, 4)
    stem = model.stem(onehot_BLA.transpose(1, 2))
    assert stem.shape == (2, 24, 512)
    # From 24 to 48 in five equal ratios of 2 ** (1/5), rounded to multiples of 8.
    assert SMALL.tower_channels == (24, 24, 32, 40, 40, 48)
    x, length = stem, 512
    for block, width in zip(model.conv_tower, SMALL.tower_channels, strict=True):
        x, length = block(x), length // 2
        assert x.shape == (2, width, length)
    tokens = model.transformer(x.transpose(1, 2))
    assert tokens.shape == (2, 8, 48)
    assert model.embed(onehot_BLA).shape == (2, 4, 96)
    assert model(onehot_BLA, head="human").shape == (2, 4, 5)
    assert model(onehot_BLA, head="mouse").shape == (2, 4, 3)


def test_expected_shapes_are_those_of_the_state(model: Enformer) -> None:
    found = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert expected_shapes(SMALL) == found


@pytest.mark.parametrize("shape", [(1, 1023, 4), (1, 1024, 5), (1024, 4), (1, 4, 1024)])
def test_another_shape_is_refused(model: Enformer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(batch, 1024, 4\)"):
        model(torch.zeros(shape), head="human")


def test_an_unknown_head_is_refused_before_anything_is_computed(model: Enformer) -> None:
    with pytest.raises(UnknownHead, match=r"'humna'.*human \(5 tracks\).*Did you mean human"):
        model(torch.zeros(3), head="humna")


def test_outputs_are_softplus_of_a_linear_map(model: Enformer) -> None:
    onehot_BLA = torch.eye(4)[torch.randint(0, 4, (1, 1024))]
    with torch.no_grad():
        linear = model._heads["human"][0]
        logits = model.embed(onehot_BLA) @ linear.weight.T + linear.bias
        expected = torch.log1p(torch.exp(logits))
        torch.testing.assert_close(model(onehot_BLA), expected, atol=1e-6, rtol=1e-5)


def test_the_crop_is_the_centre(model: Enformer) -> None:
    """The bins are tokens 2 to 5 of 8, found by what each stage hands on."""
    seen = {}
    hooks = [
        model.transformer.register_forward_hook(lambda _m, _i, out: seen.update(trunk=out)),
        model.final_pointwise.register_forward_pre_hook(lambda _m, i: seen.update(crop=i[0])),
    ]
    model(torch.eye(4)[torch.randint(0, 4, (1, 1024))])
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(seen["crop"], seen["trunk"][:, 2:6], rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    tokens=st.integers(1, 17),
    strided=st.booleans(),
)
def test_shift_distances_against_a_loop(batch, heads, tokens, strided) -> None:
    logits = torch.randn(batch, heads, tokens, 2 * tokens - 1)
    if strided:
        wide = torch.randn(batch + 1, heads, tokens, 2 * (2 * tokens - 1))
        logits = wide[1:, :, :, ::2]
    expected = torch.empty(batch, heads, tokens, tokens)
    for query in range(tokens):
        for key in range(tokens):
            # Column of distance d = key - query is d + K - 1: distances run from -(K-1).
            expected[:, :, query, key] = logits[:, :, query, key - query + tokens - 1]
    assert torch.equal(shift_distances(logits), expected)


def test_shift_distances_of_an_inner_slice() -> None:
    """A view that does not begin at the start of its memory."""
    inner = torch.randn(4, 2, 3, 5)[2:]
    assert torch.equal(shift_distances(inner), shift_distances(inner.clone()))


def test_attention_against_loops(model: Enformer) -> None:
    """Every logit by itself: (q / sqrt(d) + u) k + (q / sqrt(d) + v) r of the distance."""
    layer = model.transformer[0][0].fn[1]
    assert isinstance(layer, RelativeAttention)
    x = torch.randn(1, 8, 48)
    feats = positional_features(8, 24, "per_feature", torch.device("cpu"))
    with torch.no_grad():
        q, k, v = (linear(x)[0] for linear in (layer.to_q, layer.to_k, layer.to_v))
        r = layer.to_rel_k(feats)
        mixed = torch.zeros(8, 48)
        for head in range(2):
            keys, values = slice(16 * head, 16 * head + 16), slice(24 * head, 24 * head + 24)
            u, w = layer.rel_content_bias[0, head, 0], layer.rel_pos_bias[0, head, 0]
            for i in range(8):
                query = q[i, keys] / math.sqrt(16)
                logits = torch.stack(
                    [(query + u) @ k[j, keys] + (query + w) @ r[j - i + 7, keys] for j in range(8)]
                )
                mixed[i, values] = logits.softmax(0) @ v[:, values]
        expected = layer.to_out(mixed)
        torch.testing.assert_close(layer(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_the_gelu_of_training_is_the_same_with_its_derivative() -> None:
    x = torch.linspace(-6, 6, 41, dtype=torch.float64, requires_grad=True)
    out = GELU()(x)
    with torch.no_grad():
        assert torch.equal(out, GELU()(x))
        torch.testing.assert_close(out, x / (1 + (-1.702 * x).exp()))
    assert torch.autograd.gradcheck(GELU(), x)


def test_attention_pool_is_a_softmax_over_pairs() -> None:
    pool = AttentionPool(3)
    nn.init.normal_(pool.to_attn_logits.weight)
    x_BDL = torch.randn(2, 3, 6)
    weight = pool.to_attn_logits.weight[:, :, 0, 0]
    expected = torch.empty(2, 3, 3)
    for b in range(2):
        for p in range(3):
            left, right = x_BDL[b, :, 2 * p], x_BDL[b, :, 2 * p + 1]
            a, c = weight @ left, weight @ right
            share = torch.exp(a) / (torch.exp(a) + torch.exp(c))
            expected[b, :, p] = share * left + (1 - share) * right
    torch.testing.assert_close(pool(x_BDL), expected)


def test_gelu_is_the_sigmoid_approximation() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 1.0, 2.5])
    # x / (1 + exp(-1.702 x))
    expected = [value / (1 + math.exp(-1.702 * value)) for value in x.tolist()]
    np.testing.assert_allclose(GELU()(x).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("layer", [GELU(), Residual(nn.Linear(7, 7)), Residual(GELU())])
def test_gradients_change_neither_values_nor_inputs(layer: nn.Module) -> None:
    """Without gradients these work in place, but never on what they were given."""
    x = torch.randn(5, 7)
    kept = x.clone()
    with torch.enable_grad():
        with_gradient = layer(x)
    with torch.no_grad():
        without = layer(x)
    with torch.inference_mode():
        inference = layer(x)
    assert torch.equal(with_gradient, without)
    assert torch.equal(with_gradient, inference)
    assert torch.equal(x, kept)


def test_the_whole_model_is_the_same_with_and_without_gradients(model: Enformer) -> None:
    onehot_BLA = torch.eye(4)[torch.randint(0, 4, (2, 1024))]
    with torch.no_grad():
        without = model(onehot_BLA)
    assert torch.equal(model(onehot_BLA).detach(), without)


def test_a_block_normalises_first() -> None:
    block = ConvBlock(2, 3, 5).eval()
    block[0].running_mean.copy_(torch.tensor([1.0, -2.0]))
    block[0].running_var.copy_(torch.tensor([4.0, 0.25]))
    x = torch.randn(1, 2, 9)
    # (x - mean) / sqrt(variance + 1e-5), then GELU, then the convolution with 2 zeros at each end.
    normed = torch.stack(
        [(x[0, 0] - 1) / math.sqrt(4 + 1e-5), (x[0, 1] + 2) / math.sqrt(0.25 + 1e-5)]
    )
    active = normed * torch.sigmoid(1.702 * normed)
    padded = torch.nn.functional.pad(active, (2, 2))
    conv = block[2]
    expected = torch.stack(
        [(conv.weight * padded[None, :, i : i + 5]).sum((1, 2)) + conv.bias for i in range(9)], 1
    )
    torch.testing.assert_close(block(x)[0], expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooling": "max"},
        {"num_heads": 8, "key_size": 512, "num_transformer_layers": 4, "input_bp": 2048},
    ],
    ids=["attention pooling", "max pooling", "long keys"],
)
def test_flops_are_those_that_torch_counts(changes: dict[str, object]) -> None:
    config = EnformerConfig.model_validate({**SMALL.model_dump(), **changes})
    model = initialise(Enformer(config), seed=0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, config.input_bp, 4), head="mouse")
    counted = counter.get_total_flops()
    # The formula takes 2K distances for 2K - 1: one more to project from F features to the keys,
    # and one more to multiply K queries with, in each layer.
    keys, layers = config.num_heads * config.key_size, config.num_transformer_layers
    surplus = 2 * layers * keys * (config.position_features + config.tokens)
    assert config.forward_flops("mouse") - surplus == counted
    assert model.forward_flops("mouse") == config.forward_flops("mouse")
    assert config.forward_flops("human") > config.forward_flops("mouse")


def test_dropout_and_running_statistics_only_in_training() -> None:
    model = initialise(Enformer(SMALL), seed=1, randomise_all=True)
    onehot_BLA = torch.eye(4)[torch.randint(0, 4, (2, 1024))]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.eval()
    assert torch.equal(model(onehot_BLA), model(onehot_BLA))
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    model.train()
    assert not torch.equal(model(onehot_BLA), model(onehot_BLA))
