"""Loss, metrics, optimiser and batch norm against plain arithmetic."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cisray.training.batchnorm import SonnetBatchNorm, inference_form, training_form
from cisray.training.loss import poisson_loss
from cisray.training.metrics import TrackMoments, mean_defined
from cisray.training.optim import SonnetAdam, clip_global_norm, warmed_up
from cisray.training.recompute import recompute_activations


def test_the_loss_is_keras_poisson_and_sums_in_float32() -> None:
    pred, target = (
        torch.tensor([[[0.5, 2.0], [1.0, 4.0]]]),
        torch.tensor([[[0.0, 1.0], [3.0, 4.0]]]),
    )
    p, y = pred.double().numpy(), target.double().numpy()
    assert poisson_loss(pred, target).item() == pytest.approx(
        np.mean(p - y * np.log(p + 1e-7)), rel=1e-6
    )
    many = torch.full((1, 1, 100_000), 1.0 + 2**-7, dtype=torch.bfloat16)
    assert poisson_loss(many, torch.zeros(1, 1, 100_000)).item() == pytest.approx(1 + 2**-7)
    assert poisson_loss(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)).item() == pytest.approx(
        -np.log(1e-7), rel=1e-6
    )


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Predictions and targets (examples, bins, tracks), and where they are cut into batches."""
    shape = (draw(st.integers(2, 9)), draw(st.integers(2, 5)), draw(st.integers(1, 3)))
    draws = np.random.default_rng(draw(st.integers(0, 10_000)))
    offset = draw(st.sampled_from([0.0, 10.0, 300.0]))
    pred, target = draws.random(shape) + offset, draws.poisson(3.0, shape) + draws.random(shape)
    cuts = sorted(draw(st.sets(st.integers(1, shape[0] - 1))))
    return pred, target, cuts


@given(cut_streams())
@settings(max_examples=60, deadline=None)
def test_metrics_of_parts_add_up_to_those_of_the_whole(
    case: tuple[np.ndarray, np.ndarray, list[int]],
) -> None:
    pred, target, cuts = case
    parts = [
        TrackMoments.empty(pred.shape[2]).seen(torch.tensor(p), torch.tensor(y), loss=float(len(p)))
        for p, y in zip(np.split(pred, cuts), np.split(target, cuts), strict=True)
    ]
    left = right = parts[0]
    for part in parts[1:]:
        left = left + part
    right = parts[-1]
    for part in reversed(parts[:-1]):
        right = part + right
    for track in range(pred.shape[2]):
        p, y = pred[..., track].ravel(), target[..., track].ravel()
        r2 = 1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        for moments in (left, right, TrackMoments.from_flat(left.flat())):
            assert float(moments.pearson_T()[track]) == pytest.approx(
                np.corrcoef(p, y)[0, 1], abs=1e-7
            )
            assert float(moments.r2_T()[track]) == pytest.approx(r2, rel=1e-7)
    sizes = [len(p) for p in np.split(pred, cuts)]
    assert left.mean_loss() == pytest.approx(sum(n * n for n in sizes) / sum(sizes))


def test_a_constant_track_has_no_correlation_and_does_not_count() -> None:
    pred, target = torch.rand(2, 4, 2), torch.rand(2, 4, 2)
    target[..., 0] = 0.1
    pearson_T = TrackMoments.empty(2).seen(pred, target).pearson_T()
    assert pearson_T.isnan().tolist() == [True, False]
    assert mean_defined(pearson_T) == pytest.approx(float(pearson_T[1]))
    assert mean_defined(pearson_T[:1]) is None


def adam_by_hand(gradients: list[float | None], lr: float) -> list[float]:
    """One weight that starts at 1; all steps count, those without a gradient move nothing."""
    weight, m, v, places = 1.0, 0.0, 0.0, []
    for step, g in enumerate(gradients, start=1):
        if g is not None:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            weight -= lr * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
        places.append(weight)
    return places


def test_adam_counts_steps_of_all_and_skips_what_has_no_gradient() -> None:
    turns = {"a": [0.5, None, -0.2, None, 0.4], "b": [None, 2.0, None, -1.0, 3.0]}
    weights = {name: nn.Parameter(torch.ones(1, dtype=torch.float64)) for name in turns}
    optimiser = SonnetAdam(weights.values(), lr=0.01)
    seen: dict[str, list[float]] = {name: [] for name in turns}
    for step in range(5):
        for name, weight in weights.items():
            g = turns[name][step]
            weight.grad = None if g is None else torch.full((1,), g, dtype=torch.float64)
        optimiser.step()
        for name, weight in weights.items():
            seen[name].append(weight.item())
    for name, gradients in turns.items():
        assert seen[name] == pytest.approx(adam_by_hand(gradients, 0.01), rel=1e-12)


def test_adam_equals_torchs_where_every_step_has_every_gradient() -> None:
    ours, theirs = (nn.Linear(3, 2, dtype=torch.float64) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    pairs = [(SonnetAdam(ours.parameters(), 1e-2), ours)]
    pairs.append((torch.optim.Adam(theirs.parameters(), 1e-2), theirs))  # type: ignore[arg-type]
    for step in range(6):
        x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        for optimiser, model in pairs:
            optimiser.zero_grad()
            (model(x) ** 2).mean().backward()
            optimiser.step()
    assert torch.allclose(ours.weight, theirs.weight, rtol=1e-12)


def test_clipping_scales_by_the_limit_over_the_norm_and_nothing_below_it() -> None:
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_global_norm([a, b, nn.Parameter(torch.zeros(1))], 0.5) == 5.0
    assert (a.grad.tolist(), b.grad.tolist()) == (pytest.approx([0.3, 0]), pytest.approx([0.4]))
    assert clip_global_norm([a, b], 0.5) == pytest.approx(0.5)
    assert b.grad.tolist() == pytest.approx([0.4])
    assert clip_global_norm([a], None) == pytest.approx(0.3)


def test_the_rate_rises_in_a_straight_line_and_stays() -> None:
    assert warmed_up(1.0, 0, 0) == 1.0
    assert [warmed_up(2.0, i, 2) for i in range(4)] == [1.0, 2.0, 2.0, 2.0]


def batches_BDL(count: int) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    return [3 * torch.randn(2, 4, 5, generator=draws) + i for i in range(count)]


def test_batch_norm_keeps_averages_free_of_bias_of_mean_and_biased_variance() -> None:
    norm = SonnetBatchNorm(4).train()
    hidden_mean, hidden_var = np.zeros(4), np.zeros(4)
    for t, x in enumerate(batches_BDL(5), start=1):
        out = norm(x)
        flat = x.transpose(0, 1).flatten(1).double().numpy()
        mean, var = flat.mean(1), flat.var(1)  # numpy's is the biased one
        hidden_mean += (mean - hidden_mean) * 0.1
        hidden_var += (var - hidden_var) * 0.1
        expected = (x.double().numpy() - mean[:, None]) / np.sqrt(var + 1e-5)[:, None]
        assert np.abs(out.detach().numpy() - expected).max() < 1e-5
        assert norm.running_mean.numpy() == pytest.approx(hidden_mean / (1 - 0.9**t), rel=1e-5)
        assert norm.running_var.numpy() == pytest.approx(hidden_var / (1 - 0.9**t), rel=1e-5)
    assert int(norm.num_batches_tracked) == 5


def test_forms_share_their_tensors_and_keep_their_names() -> None:
    model = nn.Sequential(nn.Conv1d(4, 4, 1), nn.Sequential(nn.BatchNorm1d(4)))
    before = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    training_form(model)
    assert isinstance(model[1][0], SonnetBatchNorm)
    assert {n: t.data_ptr() for n, t in model.state_dict().items()} == before
    inference_form(model)
    assert type(model[1][0]) is nn.BatchNorm1d
    assert {n: t.data_ptr() for n, t in model.state_dict().items()} == before


def test_recomputed_activations_give_the_same_gradients_and_count_a_batch_once() -> None:
    (x,) = batches_BDL(1)
    found = []
    for how in ("none", "light", "full"):
        torch.manual_seed(0)
        block = nn.Sequential(SonnetBatchNorm(4), nn.Conv1d(4, 4, 3), nn.Dropout(0.5)).train()
        recompute_activations([block], how)
        torch.manual_seed(1)
        block(x.clone().requires_grad_()).square().sum().backward()
        found.append((block[1].weight.grad, block[0].running_mean, block[0].num_batches_tracked))
    for plain, light, full in zip(*found, strict=True):
        assert torch.equal(plain, light)
        assert torch.equal(plain, full)


@pytest.mark.parametrize(
    ("how", "norms", "products"), [("none", 0, 0), ("light", 1, 0), ("full", 1, 1)]
)
def test_what_is_computed_a_second_time(how: str, norms: int, products: int) -> None:
    block = nn.Sequential(SonnetBatchNorm(4), nn.Conv1d(4, 4, 3), nn.Dropout(0.5)).train()
    recompute_activations([block], how)
    out = block(torch.randn(1, 4, 16, requires_grad=True)).sum()
    calls: Counter[str] = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls[func.__name__] += 1
            return func(*args, **(kwargs or {}))

    with Count():
        out.backward()
    assert calls["native_batch_norm.default"] == norms
    assert calls["convolution.default"] == products
    assert calls["convolution_backward.default"] == 1


@pytest.mark.parametrize(("counter", "share"), [(0, 1e-1), (3, (1 - 0.9) / (1 - 0.9**4))])
def test_statistics_of_a_checkpoint_are_not_replaced_by_the_first_batch(
    counter: int, share: float
) -> None:
    """Also where it does not say how many batches they are of; a new module's are replaced."""
    torch.manual_seed(0)
    x = torch.randn(4, 2, 50) * 3 + 1
    model = nn.Sequential(nn.BatchNorm1d(2))
    model[0].running_mean.fill_(5.0)
    model[0].num_batches_tracked.fill_(counter)
    training_form(model).train()(x)
    moved = 5 + share * (x.mean((0, 2)) - 5)
    torch.testing.assert_close(model[0].running_mean, moved, rtol=1e-5, atol=1e-6)
    new = training_form(nn.Sequential(nn.BatchNorm1d(2))).train()
    new(x)
    torch.testing.assert_close(new[0].running_mean, x.mean((0, 2)), rtol=1e-5, atol=1e-6)
