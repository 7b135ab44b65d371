"""Blocks and tail in chunks, held to the model's own modules in float64; what a pass records."""

import pytest
import torch
from small_enformers import (
    BINS,
    CROP,
    TOKENS,
    folded,
    plain_tracks,
    small_enformer,
    small_enformer_64,
)

from cisray.inference.fast import transformer as module
from cisray.inference.fast.reference import ReferencePass
from cisray.inference.fast.transformer import Transformer, distance_logits, run_block
from cisray.inference.fast.weights import round_block, round_tail
from cisray.inference.precision import arithmetic

CPU = torch.device("cpu")
ALL = range(CROP, CROP + BINS)


@pytest.fixture(autouse=True)
def plain_float32():
    with arithmetic(CPU, "float32"):
        yield


@pytest.fixture
def tokens() -> torch.Tensor:
    """Three lanes of trunk tokens, (3, K, D) float64, not centred."""
    return 0.3 + torch.randn(3, TOKENS, 48, generator=torch.Generator().manual_seed(4)).double()


@pytest.fixture(params=["one head", "all heads"])
def heads_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All heads in one product is how a GPU computes."""
    if request.param == "all heads":
        monkeypatch.setattr(module, "head_groups", lambda heads, device: [slice(0, heads)])


@pytest.mark.usefixtures("heads_at_once")
@pytest.mark.parametrize("head", ["human", "mouse"])
@pytest.mark.parametrize("bins", [range(BINS), range(1), range(BINS - 1, BINS), range(100, 258)])
def test_it_computes_what_the_model_does(tokens, head: str, bins: range) -> None:
    model = small_enformer_64()
    wanted = range(CROP + bins.start, CROP + bins.stop)
    ours = Transformer(*folded(model, head)).predict(tokens, wanted)
    theirs = plain_tracks(model, tokens, bins, head)
    assert ours.shape == (3, len(bins), model.config.heads[head])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 303, 304, 1000])
def test_chunks_change_nothing(tokens, rows: int, monkeypatch) -> None:
    model = small_enformer_64()
    monkeypatch.setattr(module, "CPU_ROWS", rows)
    ours = Transformer(*folded(model)).predict(tokens[:1], ALL)
    torch.testing.assert_close(ours, plain_tracks(model, tokens[:1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("first", "rows"), [(0, 5), (0, 1), (4, 1), (1, 3), (3, 2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_query_meets_each_key_at_their_distance(first: int, rows: int, groups: int) -> None:
    queries = torch.randn(groups, rows, 2, dtype=torch.float64)
    distances = torch.randn(groups, 9, 2, dtype=torch.float64)  # -4 to 4 for 5 tokens
    found = distance_logits(queries, distances, first)
    assert found.shape == (groups, rows, 5)
    for row in range(rows):
        for key in range(5):
            # Distance key - query; distance 0 is row 4.
            expected = (queries[:, row] * distances[:, key - (first + row) + 4]).sum(-1)
            torch.testing.assert_close(found[:, row, key], expected)


def test_float32_is_as_close_as_float32_is(tokens) -> None:
    ours = Transformer(*folded(small_enformer())).predict(tokens.float(), ALL)
    theirs = plain_tracks(small_enformer_64(), tokens)
    assert (ours - theirs).abs().max() < 1e-5 * theirs.max()


def test_rounded_products_leave_norms_and_biases_alone(tokens) -> None:
    blocks, tail = folded(small_enformer())
    rounded = [round_block(block, torch.bfloat16) for block in blocks]
    assert rounded[0].attention_norm.weight is blocks[0].attention_norm.weight
    assert rounded[0].up.bias is blocks[0].up.bias
    assert {rounded[0].query.dtype, rounded[0].up.weight.dtype} == {torch.bfloat16}
    pred = Transformer(rounded, round_tail(tail, torch.bfloat16)).predict(tokens.float(), ALL)
    assert pred.dtype == torch.float32
    theirs = plain_tracks(small_enformer_64(), tokens)
    # Eight bits are off by up to 2**-9 = 0.2 % in each of some twenty products in a row.
    assert 1e-5 < ((pred - theirs).norm() / theirs.norm()) < 0.02


def test_a_pass_over_a_reference_predicts_bit_by_bit_what_predict_does(tokens) -> None:
    transformer = Transformer(*folded(small_enformer()))
    for cache_bytes in (0, 10**9):
        reference = ReferencePass(transformer, torch.bfloat16, cache_bytes)
        for lane in tokens.float():
            pred = reference.run(lane, range(30, 100))
            assert torch.equal(pred, transformer.predict(lane[None], range(30, 100))[0])


def records(cache_bytes: int, lanes: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """What is recorded of the last lane, when the others were passed before it."""
    reference = ReferencePass(Transformer(*folded(small_enformer())), torch.bfloat16, cache_bytes)
    for lane in lanes:
        reference.run(lane, ALL)
    found = [reference.record(index) for index in range(3)]
    names = type(found[0]).__slots__
    # Asked for in another order, since one buffer may serve several blocks.
    return [{name: getattr(reference.record(i), name).clone() for name in names} for i in (2, 0, 1)]


def test_what_memory_cannot_hold_is_computed_again_bit_by_bit(tokens) -> None:
    every = records(10**9, tokens.float())
    one_block = sum(x.nbytes for x in every[1].values())
    inputs = 3 * tokens[0].float().nbytes
    for cache_bytes in (0, inputs + one_block, inputs + 2 * one_block + 1):
        for ours, theirs in zip(records(cache_bytes, tokens.float()), every, strict=True):
            for name, value in theirs.items():
                assert torch.equal(ours[name], value), (cache_bytes, name)


@pytest.mark.parametrize(("blocks", "kept"), [(0, 0), (1, 1), (2, 2)])
def test_the_budget_is_held(tokens, blocks: int, kept: int) -> None:
    reference = ReferencePass(Transformer(*folded(small_enformer())), torch.float32, 10**9)
    x_KD = tokens[0].float()
    reference.run(x_KD, ALL)
    limit = 3 * x_KD.nbytes + blocks * reference.record(0).nbytes
    for cache_bytes, expected in ((limit, kept), (limit - 1, max(0, kept - 1))):
        reference = ReferencePass(
            Transformer(*folded(small_enformer())), torch.float32, cache_bytes
        )
        reference.run(x_KD, ALL)
        assert len(reference._kept) == expected


def test_what_is_recorded_is_what_the_formulas_say(tokens) -> None:
    model = small_enformer_64()
    transformer = Transformer(*folded(model))
    reference = ReferencePass(transformer, torch.float64, 10**9)
    reference.run(tokens[0], ALL)
    record = reference.record(0)
    norm, attention, _ = model.transformer[0][0].fn
    y = norm(tokens[:1])
    q = attention.split_heads(attention.to_q(y)) * attention.scale
    k, v = (attention.split_heads(layer(y)) for layer in (attention.to_k, attention.to_v))
    weights = (attention.content_logits(q, k) + attention.position_logits(q)).softmax(-1)
    centred = v - v.mean(dim=2, keepdim=True)
    same = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(record.weights_HQK, weights[0], **same)
    torch.testing.assert_close(record.contents_HQd, (q + attention.rel_content_bias)[0], **same)
    torch.testing.assert_close(record.keys_HKd, k[0], **same)
    torch.testing.assert_close(record.values_HvK, centred[0].mT, **same)
    mixed = (weights @ centred)[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(record.mixed_QC, mixed, **same)
    torch.testing.assert_close(record.middle_QD, model.transformer[0][0](tokens[:1])[0], **same)
    out = run_block(transformer.blocks[0], tokens[:1], range(TOKENS))
    torch.testing.assert_close(out, model.transformer[0](tokens[:1]), **same)
