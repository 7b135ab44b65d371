"""The network against numbers that the reference implementations printed.

The goldens come from DeepMind's Sonnet/TensorFlow code and from enformer-pytorch 0.8.12, run
unmodified on small random models. Weights are read by cisray's own checkpoint readers.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from cisray.genome.encode import onehot
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.gradients import PlainGradients, weighted_sum
from cisray.model.checkpoints.convert import ConvertOptions, open_foreign
from cisray.model.enformer.attention import RelativeAttention
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.network import Enformer
from cisray.model.enformer.positions import positional_features
from cisray.model.registry import expected_shapes, model_from_checkpoint

pytestmark = pytest.mark.golden

TOLERANCE = 5e-6  # what held between the two reference implementations, on every stage


@pytest.fixture(params=["tf_smallA", "tf_smallMax"])
def tf_case(
    request: pytest.FixtureRequest, shared: Path
) -> tuple[Enformer, Mapping[str, np.ndarray]]:
    """A model read from a TensorFlow checkpoint, and what TensorFlow computed with it."""
    name = request.param
    told = json.loads((shared / "golden" / f"{name}.json").read_text())
    checkpoint = open_foreign(
        shared / "golden" / name,
        expected_shapes,
        options=ConvertOptions(input_bp=told["inp"][1], target_bins=told["target_length"]),
    )
    return model_from_checkpoint(checkpoint), np.load(shared / "golden" / f"{name}.npz")


def stages(model: Enformer, onehot_BLA: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run the model once and keep what each named stage put out, channels last."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, *, channels_first: bool):
        def hook(_module, _inputs, output):
            seen[name] = (output.transpose(1, 2) if channels_first else output).detach().clone()

        return hook

    first = model.transformer[0][0].fn
    channels_first = {f"stem.{i}": model.stem[i] for i in range(3)}
    channels_first |= {f"conv_tower.{i}": layer for i, layer in enumerate(model.conv_tower)}
    channels_first["conv_tower"] = model.conv_tower
    channels_last = {"t0.ln": first[0], "t0.mha_out": first[1], "transformer": model.transformer}
    for i, layer in enumerate(model.transformer):
        channels_last |= {f"transformer.{i}": layer, f"transformer.{i}.after_mha": layer[0]}
    channels_last["final_pointwise"] = model.final_pointwise
    hooks = [
        module.register_forward_hook(keep(name, channels_first=first_axis))
        for modules, first_axis in ((channels_first, True), (channels_last, False))
        for name, module in modules.items()
    ]
    with torch.enable_grad():  # residual branches are added in place otherwise
        for head in model.config.heads:
            seen[f"out.{head}"] = model(onehot_BLA, head=head).detach()
    for hook in hooks:
        hook.remove()
    crop = model.config.crop_bins
    seen["crop"] = seen["transformer"][:, crop : crop + model.target_bins]
    return seen


def assert_close(
    name: str, ours: torch.Tensor, theirs: np.ndarray, tolerance: float = TOLERANCE
) -> None:
    assert tuple(ours.shape) == theirs.shape, name
    error = np.abs(ours.detach().numpy() - theirs).max()
    assert error <= tolerance, f"{name}: largest error {error:.3g} > {tolerance:.3g}"


def test_every_stage_of_the_tensorflow_model(tf_case) -> None:
    model, golden = tf_case
    seen = stages(model, torch.from_numpy(onehot(golden["input_idx"])))
    # tf_smallA: 3 + 7 of stem and tower, 2 + 4 of its two layers, 3 of the trunk's end, 2 heads.
    expected = {f"stem.{i}" for i in range(3)} | {f"conv_tower.{i}" for i in range(6)}
    expected |= {"t0.ln", "t0.mha_out", "conv_tower", "transformer", "crop", "final_pointwise"}
    expected |= {"out.human", "out.mouse"}
    expected |= {f"transformer.{i}{part}" for i in range(2) for part in ("", ".after_mha")}
    assert len(expected) == 21
    if model.config.pooling == "max":  # tf_smallMax: one layer, and no record within the stem
        expected -= {"stem.0", "stem.1", "transformer.1", "transformer.1.after_mha"}
    compared = {name for name in seen if name in golden}
    assert compared == expected
    for name in compared:
        assert_close(name, seen[name], golden[name])


def test_the_attention_of_the_first_layer(tf_case) -> None:
    model, golden = tf_case
    layer = model.transformer[0][0].fn[1]
    assert isinstance(layer, RelativeAttention)
    x_BKD = torch.from_numpy(golden["t0.ln"])
    q_BHKd = layer.split_heads(layer.to_q(x_BKD))
    k_BHKd = layer.split_heads(layer.to_k(x_BKD))
    content = layer.content_logits(q_BHKd * layer.scale, k_BHKd)
    position = layer.position_logits(q_BHKd * layer.scale)
    assert_close("q", q_BHKd, golden["t0.q_unscaled"])
    assert_close("k", k_BHKd, golden["t0.k"])
    assert_close("v", layer.split_heads(layer.to_v(x_BKD)), golden["t0.v"])
    assert_close("r_k", layer.position_keys(x_BKD.shape[1]), golden["t0.r_k"])
    assert_close("content", content, golden["t0.content_logits"])
    assert_close("position", position, golden["t0.relative_logits_shifted"])
    assert_close("attention", (content + position).softmax(-1), golden["t0.attention"])
    assert_close("weights", layer.weights(x_BKD), golden["t0.attention"])


def near_ties(model: Enformer, onehot_BLA: torch.Tensor) -> list[int]:
    """Base positions of max-pooled pairs that differ by less than float32 can tell."""
    found: list[int] = []

    def look(_module, inputs, _output):
        (x_BDL,) = inputs
        pairs = x_BDL.detach().unflatten(-1, (-1, 2))
        apart = (pairs[..., 0] - pairs[..., 1]).abs()
        close = (apart > 0) & (apart < 1e-6 * pairs.abs().amax(-1))
        bases_per_pair = model.input_bp // apart.shape[-1]
        found.extend((torch.nonzero(close)[:, 2] * bases_per_pair).tolist())

    pools = [module for module in model.modules() if isinstance(module, torch.nn.MaxPool1d)]
    hooks = [pool.register_forward_hook(look) for pool in pools]
    model(onehot_BLA)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("kind", [PlainGradients, FastGradients])
def test_the_gradient_with_respect_to_the_input(tf_case, kind) -> None:
    model, golden = tf_case
    predictor = kind(model, model.tracks["human"], device=torch.device("cpu"))
    objective = weighted_sum(golden["grad.mask_human"], normalised=True)
    found = [predictor.gradient(codes_L, objective) for codes_L in golden["input_idx"]]
    scalar = torch.tensor([one.values_B[0] for one in found])
    assert_close("scalar", scalar, golden["grad.scalar_per_sample"])
    gradient_BLA = np.concatenate([one.gradient_BRA for one in found])
    # The references agreed to 4e-9 of 1e-3: a relative 4e-6 of the largest gradient.
    largest = float(np.abs(golden["grad.d_input"]).max())
    assert gradient_BLA.shape == golden["grad.d_input"].shape
    error_L = np.abs(gradient_BLA - golden["grad.d_input"]).max(axis=(0, 2))
    onehot_BLA = torch.from_numpy(onehot(golden["input_idx"]))
    # Where max pooling meets a tie within rounding, TensorFlow may send the gradient of that one
    # pair to the other position; its reach is under 64 bases at the level where it happens.
    tied = np.zeros(model.input_bp, bool)
    for base in near_ties(model, onehot_BLA):
        tied[max(0, base - 64) : base + 64] = True
    assert tied.mean() < 0.05
    assert error_L[~tied].max() <= 1e-5 * largest
    assert error_L.max() <= 2e-3 * largest


def test_the_positional_features_of_the_small_model(tf_case) -> None:
    model, golden = tf_case
    features = positional_features(
        model.config.tokens, model.config.position_features, "per_feature", torch.device("cpu")
    )
    assert_close("features", features, golden["positional_features"], tolerance=1.5e-7)


def test_the_positional_features_of_the_published_length(shared: Path) -> None:
    golden = np.load(shared / "golden" / "posfeat_1536.npz")
    features = positional_features(1536, 192, "per_feature", torch.device("cpu"))
    symmetric, signed = features[:, :96], features[:, 96:]
    for precision in ("tf_float32_symmetric_half", "float64_symmetric_half_as_f32"):
        theirs = golden[precision]
        assert_close("exponential and mask", symmetric[:, :64], theirs[:, :64], tolerance=1e-6)
        # Float32 log densities near 3e4 lose digits, in TensorFlow's way and in ours: at most
        # 2.5e-3 apart, 1e-5 on average.
        assert_close("gamma", symmetric[:, 64:], theirs[:, 64:], tolerance=2.5e-3)
        assert np.abs(symmetric[:, 64:].numpy() - theirs[:, 64:]).mean() < 2e-5
    sign = torch.sign(torch.arange(-1535.0, 1536.0))[:, None]
    assert torch.equal(signed, symmetric * sign)


def test_enformer_pytorch_small(shared: Path) -> None:
    golden = np.load(shared / "golden" / "ptA.npz")
    checkpoint = open_foreign(
        shared / "golden" / "ptA", expected_shapes, options=ConvertOptions(input_bp=4096)
    )
    assert checkpoint.config.gamma_normalisation == "per_position"  # use_tf_gamma is false there
    model = model_from_checkpoint(checkpoint)
    seen = stages(model, torch.from_numpy(onehot(golden["input_idx"])))
    features = positional_features(32, 24, "per_position", torch.device("cpu"))
    assert_close("positional_embed", features, golden["positional_embed"], tolerance=1e-6)
    for name in [
        "conv_tower",
        "transformer.0",
        "transformer.1",
        "final_pointwise",
        "out.human",
        "out.mouse",
    ]:
        assert_close(name, seen[name], golden[name])


@pytest.mark.parametrize(
    ("prefix", "gamma", "tolerance"),
    [
        ("tfgamma0", "per_position", 5e-6),
        # The table that enformer-pytorch stores differs from the formula by up to 2e-3.
        ("tfgamma1", "per_feature", 5e-5),
    ],
)
def test_enformer_pytorch_gamma_both_ways(
    shared: Path, prefix: str, gamma: str, tolerance: float
) -> None:
    golden = np.load(shared / "golden" / "ptGamma.npz")
    checkpoint = open_foreign(
        shared / "golden" / "ptGamma",
        expected_shapes,
        options=ConvertOptions(input_bp=12_288, gamma=gamma),
    )
    model = model_from_checkpoint(checkpoint)
    seen = stages(model, torch.from_numpy(onehot(golden["input_idx"])))
    # The file keeps every 16th row of the 1,536 tokens and every 37th of the 3,071 distances.
    features = positional_features(1536, 192, gamma, torch.device("cpu"))
    assert_close("features", features[::37], golden[f"{prefix}.positional_embed"], tolerance=2.5e-3)
    assert_close("conv_tower", seen["conv_tower"][:, ::16], golden["conv_tower"])
    assert_close(
        "transformer", seen["transformer.0"][:, ::16], golden[f"{prefix}.transformer.0"], tolerance
    )
    for head in ("human", "mouse"):
        assert_close(head, seen[f"out.{head}"], golden[f"{prefix}.out.{head}"])


def test_no_grad_changes_no_bit(tf_case) -> None:
    """The in-place arithmetic of inference is that of training, bit for bit."""
    model, golden = tf_case
    onehot_BLA = torch.from_numpy(onehot(golden["input_idx"]))
    with_grad = model(onehot_BLA).detach()
    with torch.no_grad():
        assert torch.equal(model(onehot_BLA), with_grad)


def test_the_published_model_has_the_published_size() -> None:
    config = EnformerConfig()
    with torch.device("meta"):
        model = Enformer(config)
    assert sum(p.numel() for p in model.parameters()) == 251_221_292
    # Parameters, 29,696 running statistics and 14 counters of batch norm.
    assert sum(t.numel() for t in model.state_dict().values()) == 251_251_002
