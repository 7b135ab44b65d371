"""Random weights follow the original's rules, come from one seed, and leave nothing out."""

import math

import pytest
import torch
from torch import nn

from cisray.model.enformer.attention import RelativeAttention
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.layers import AttentionPool
from cisray.model.enformer.network import Enformer
from cisray.model.registry import load_model
from cisray_jobs.models import describe_model, init_model

# Wide enough for statistics: the smallest tensor examined has 2,000 entries.
CONFIG = EnformerConfig(
    channels=96,
    num_transformer_layers=2,
    num_heads=4,
    key_size=32,
    channels_divisible_by=16,
    input_bp=1024,
    target_bins=4,
    heads={"human": 40},
)
TRUNCATED_STD = 0.8796  # of a unit normal cut at two: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1))


@pytest.fixture(scope="module")
def fresh() -> Enformer:
    return initialise(Enformer(CONFIG), seed=4)


def assert_truncated_normal(weight: torch.Tensor, sigma: float) -> None:
    count = weight.numel()
    assert weight.abs().max() <= 2 * sigma
    assert weight.abs().max() > 1.9 * sigma
    # The error of a mean is std / sqrt(n), of a deviation about std / sqrt(2 n): five of them.
    assert abs(weight.mean().item()) < 5 * sigma / math.sqrt(count)
    std = weight.std().item() / (TRUNCATED_STD * sigma)
    assert std == pytest.approx(1, abs=5 / math.sqrt(2 * count))


def test_the_number_above() -> None:
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    inside = math.erf(2 / math.sqrt(2))
    assert math.sqrt(1 - 4 * density / inside) == pytest.approx(TRUNCATED_STD, abs=5e-5)


def test_convolutions_and_linear_layers(fresh: Enformer) -> None:
    # Fan-in: channels x kernel of a convolution, columns of a linear map.
    assert_truncated_normal(fresh.stem[0].weight, 1 / math.sqrt(4 * 15))
    assert_truncated_normal(fresh.conv_tower[0][0][2].weight, 1 / math.sqrt(48 * 5))
    mlp = fresh.transformer[1][1].fn
    assert_truncated_normal(mlp[1].weight, 1 / math.sqrt(96))
    assert_truncated_normal(mlp[4].weight, 1 / math.sqrt(192))
    assert_truncated_normal(fresh._heads["human"][0].weight, 1 / math.sqrt(192))


def test_projections_of_attention(fresh: Enformer) -> None:
    layer = fresh.transformer[0][0].fn[1]
    for linear, fan_in in ((layer.to_q, 96), (layer.to_k, 96), (layer.to_v, 96)):
        # Variance 2 / fan_in after truncation.
        assert_truncated_normal(linear.weight, math.sqrt(2 / fan_in) / TRUNCATED_STD)
    assert_truncated_normal(layer.to_rel_k.weight, math.sqrt(2 / 24) / TRUNCATED_STD)
    # Sonnet's fan-in of a [1, H, 1, d] variable is H = 4; 2 layers x 2 biases x 128 entries.
    biases = torch.cat(
        [
            bias.flatten()
            for transformer in fresh.transformer
            for bias in (transformer[0].fn[1].rel_content_bias, transformer[0].fn[1].rel_pos_bias)
        ]
    )
    assert biases.std().item() == pytest.approx(math.sqrt(2 / 4), rel=5 / math.sqrt(2 * 512))


def test_attention_says_nothing_at_the_start(fresh: Enformer) -> None:
    fresh.eval()
    x_BKD = torch.randn(2, 8, 96)
    with torch.no_grad():
        for transformer in fresh.transformer:
            assert torch.equal(transformer[0].fn(x_BKD), torch.zeros(2, 8, 96))
            assert torch.equal(transformer[0](x_BKD), x_BKD)


def test_what_starts_at_constants(fresh: Enformer) -> None:
    for module in fresh.modules():
        if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
            assert not module.bias.any()
        elif isinstance(module, nn.BatchNorm1d | nn.LayerNorm):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert not module.bias.any()
        elif isinstance(module, AttentionPool):
            weight = module.to_attn_logits.weight[:, :, 0, 0]
            assert torch.equal(weight, 2 * torch.eye(len(weight)))
        if isinstance(module, nn.BatchNorm1d):
            assert not module.running_mean.any()
            assert torch.equal(module.running_var, torch.ones_like(module.running_var))


def state(seed: int, *, randomise_all: bool = False) -> dict[str, torch.Tensor]:
    return initialise(Enformer(CONFIG), seed, randomise_all=randomise_all).state_dict()


@pytest.mark.parametrize("randomise_all", [False, True])
def test_a_seed_gives_the_same_weights_whatever_else_is_random(randomise_all: bool) -> None:
    one = state(8, randomise_all=randomise_all)
    torch.manual_seed(1234)
    model = Enformer(CONFIG)
    before = torch.random.get_rng_state()
    again = initialise(model, 8, randomise_all=randomise_all).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_initialise_forgets_what_was_there() -> None:
    model = initialise(Enformer(CONFIG), 3, randomise_all=True)
    again = initialise(model, 8).state_dict()
    once = state(8)
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_seeds_differ_in_every_random_tensor() -> None:
    one, other = state(8, randomise_all=True), state(9, randomise_all=True)
    same = {name for name in one if torch.equal(one[name], other[name])}
    assert {name.rpartition(".")[2] for name in same} == {"num_batches_tracked"}


def test_no_two_tensors_share_their_numbers() -> None:
    """A generator seeded again for each layer would repeat itself."""
    flat = [t.flatten()[:8] for t in state(8).values() if t.ndim > 1 and t.numel() >= 8]
    drawn = [t / t.abs().max() for t in flat if t.unique().numel() > 2]
    assert len(drawn) > 20
    assert len({tuple(t.tolist()) for t in drawn}) == len(drawn)


def test_randomise_all_leaves_no_constant() -> None:
    for name, tensor in state(8, randomise_all=True).items():
        if name.endswith("num_batches_tracked"):
            continue
        assert tensor.unique().numel() > tensor.numel() // 2, name
        assert torch.isfinite(tensor).all(), name
        if name.endswith("running_var"):
            assert tensor.min() > 0, name


def test_every_random_layer_is_heard() -> None:
    """With everything random, no parameter is without effect on the output."""
    model = initialise(Enformer(CONFIG), 8, randomise_all=True).eval()
    onehot_BLA = torch.eye(4)[torch.randint(0, 4, (1, 1024))]
    model(onehot_BLA).sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert isinstance(model.transformer[0][0].fn[1], RelativeAttention)


def test_a_loaded_model_is_ready(tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    info = init_model(path, "tiny", seed=3, randomise_all=True)
    model = load_model(path)
    assert not model.training
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    assert model.digest == info.digest == describe_model(path).digest
    assert len(model.digest) == 64
    assert list(model.tracks["human"].by_assay()) == ["DNASE", "ATAC", "CHIP", "CAGE"]
    onehot_BLA = torch.eye(4)[torch.randint(0, 4, (1, 4096))]
    assert torch.equal(model(onehot_BLA), load_model(path)(onehot_BLA))


def test_loaded_weights_are_mapped_and_private(tmp_path) -> None:
    """Changing a loaded weight reaches neither the file nor another loaded model."""
    path = tmp_path / "m.safetensors"
    init_model(path, "tiny", seed=3)
    one, other = load_model(path), load_model(path)
    with torch.no_grad():
        one.stem[0].weight.zero_()
    assert other.stem[0].weight.any()
    assert load_model(path).stem[0].weight.any()
