"""Devices and number formats are chosen openly, or refused in words."""

import pytest
import torch
from torch.nn import functional

from cisray.errors import ConfigError
from cisray.inference import precision
from cisray.inference.precision import (
    arithmetic,
    choose_precision,
    multiplies_bfloat16,
    resolve_device,
)

HAS_CUDA = torch.cuda.is_available()


def test_auto_is_what_there_is() -> None:
    assert resolve_device("auto").type == ("cuda" if HAS_CUDA else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("wanted", ["tpu", "mps", "meta", "", "cuda:x", "gpu", "CPU ", "xla"])
def test_what_is_no_device(wanted: str) -> None:
    with pytest.raises(ConfigError, match=r"use auto, cpu, cuda or cuda:N"):
        resolve_device(wanted)


@pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device here")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_where_there_is_none(wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"'{wanted}'.*--device cpu"):
        resolve_device(wanted)


@pytest.mark.gpu
def test_a_cuda_device_that_is_not_there() -> None:
    assert resolve_device("cuda:0").index == 0
    with pytest.raises(ConfigError, match="cuda:99"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("wanted", ["float16", "tf32", "bf16", "", "FLOAT32"])
def test_what_is_no_precision(wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"'{wanted}'.*float32 or bfloat16"):
        choose_precision(wanted, torch.device("cpu"), "tracks")


@pytest.mark.parametrize("purpose", ["tracks", "effects"])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_precision_asked_for_is_the_one(device: str, wanted: str, purpose: str) -> None:
    for here in (True, False):
        choice = choose_precision(wanted, torch.device(device), purpose, here=here)
        assert (choice.precision, choice.reason) == (wanted, "as asked for")


@pytest.mark.parametrize(
    ("device", "purpose", "native", "chosen"),
    [
        ("cpu", "tracks", True, "float32"),
        ("cpu", "tracks", False, "float32"),
        ("cpu", "effects", True, "bfloat16"),
        ("cpu", "effects", False, "float32"),
        ("cuda", "tracks", True, "float32"),
        ("cuda", "tracks", False, "float32"),
        ("cuda:1", "effects", True, "bfloat16"),
        ("cuda", "effects", False, "float32"),
    ],
)
def test_auto_follows_device_and_purpose(monkeypatch, device, purpose, native, chosen) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: native)
    choice = choose_precision("auto", torch.device(device), purpose)
    assert choice.precision == chosen
    for word in ("auto", purpose, "bfloat16"):
        assert word in choice.reason


@pytest.mark.parametrize(
    ("device", "purpose", "chosen"),
    [
        ("cpu", "tracks", "float32"),
        ("cpu", "effects", "float32"),
        ("cuda", "tracks", "float32"),
        ("cuda", "effects", "bfloat16"),
    ],
)
def test_devices_elsewhere_are_not_asked(monkeypatch, device, purpose, chosen) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", None)
    assert choose_precision("auto", torch.device(device), purpose, here=False).precision == chosen


@pytest.mark.parametrize(
    ("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_what_multiplies_bfloat16_on_cuda(monkeypatch, capability, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert multiplies_bfloat16(torch.device("cuda")) is native


def test_what_multiplies_bfloat16_on_a_cpu(monkeypatch) -> None:
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    cpu = torch.device("cpu")
    for name in names:
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert not multiplies_bfloat16(cpu)
    monkeypatch.setattr(torch.cpu, names[1], lambda: True)
    assert multiplies_bfloat16(cpu)
    # A torch that knows neither name: no, rather than an error.
    for name in names:
        monkeypatch.delattr(torch.cpu, name)
    assert not multiplies_bfloat16(cpu)


def test_the_private_names_are_those_of_this_torch() -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        assert getattr(torch.cpu, name)() in (True, False)


def settings() -> dict[str, str]:
    """How float32 products are computed, library by library."""
    b = torch.backends
    return {
        "cudnn.conv": b.cudnn.conv.fp32_precision,
        "cuda.matmul": b.cuda.matmul.fp32_precision,
        "mkldnn.conv": b.mkldnn.conv.fp32_precision,
        "mkldnn.matmul": b.mkldnn.matmul.fp32_precision,
    }


@pytest.fixture
def callers_choice(request: pytest.FixtureRequest):
    """What a caller may have set before: each of torch's three ways to set it."""
    b = torch.backends
    holders = (b, b.cudnn, b.mkldnn, b.cudnn.conv, b.cuda.matmul, b.mkldnn.conv, b.mkldnn.matmul)
    before = [holder.fp32_precision for holder in holders]
    if request.param == "legacy flags":
        b.cudnn.allow_tf32 = b.cuda.matmul.allow_tf32 = True
    elif request.param == "medium":
        torch.set_float32_matmul_precision("medium")
    elif request.param == "all tf32":
        b.fp32_precision = "tf32"
    elif request.param == "bf16 on the CPU":
        b.mkldnn.matmul.fp32_precision = b.mkldnn.conv.fp32_precision = "bf16"
    yield request.param
    torch.set_float32_matmul_precision("highest")
    for holder, value in zip(holders, before, strict=True):
        holder.fp32_precision = value


CHOICES = ["nothing", "legacy flags", "medium", "all tf32", "bf16 on the CPU"]


@pytest.mark.parametrize("callers_choice", CHOICES, indirect=True)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_error_inside_leaves_torch_as_it_was(callers_choice, precision) -> None:
    before = settings()

    def fail() -> None:
        with arithmetic(torch.device("cpu"), precision):
            assert torch.is_inference_mode_enabled()
            assert set(settings().values()) == {"ieee"}
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert settings() == before
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("callers_choice", CHOICES, indirect=True)
def test_float32_means_float32_whatever_the_caller_set(callers_choice) -> None:
    """Large enough for oneDNN, which rounds to bfloat16 where a caller has allowed it."""
    x = torch.full((256, 256), 1 + 2**-10)
    kernel = torch.ones(8, 256, 5)
    with arithmetic(torch.device("cpu"), "float32"):
        product, convolved = x @ torch.ones(256, 256), torch.conv1d(x, kernel)
    # 256 and 1,280 times 1 + 2**-10; bfloat16 would make 256 and 1,280 of it.
    assert torch.equal(product, torch.full((256, 256), 256.25))
    assert torch.equal(convolved, torch.full((8, 252), 1281.25))


def test_bfloat16_rounds_products_to_eight_bits() -> None:
    x = torch.tensor([[1 + 2**-10]])
    # 1 + 2**-10 has a bit that bfloat16, of 8 bits, does not keep; float32 keeps it.
    with arithmetic(torch.device("cpu"), "bfloat16"):
        assert (x @ torch.ones(1, 1)).item() == 1.0
    with arithmetic(torch.device("cpu"), "float32"):
        assert (x @ torch.ones(1, 1)).item() == 1 + 2**-10


ONE = torch.ones(1, 1)
OFF = 1 + 2**-10  # rounded to 1 by bfloat16


@pytest.mark.parametrize(
    ("compute", "value"),
    [
        (lambda x, b: functional.linear(x, ONE, b), 1 + OFF),
        (lambda x, b: functional.linear(x, ONE, bias=b), 1 + OFF),
        (lambda x, b: functional.linear(x, ONE), 1.0),
        (lambda x, b: functional.conv1d(x, ONE[None], b), 1 + OFF),
        (lambda x, b: functional.conv1d(x, ONE[None], bias=b, padding=0), 1 + OFF),
        (lambda x, b: functional.conv2d(x[None], ONE[None, None], b), 1 + OFF),
        (lambda x, b: torch.matmul(x, ONE), 1.0),
        (lambda x, b: x.matmul(ONE), 1.0),
        (lambda x, b: x @ ONE, 1.0),
        (lambda x, b: x + 2**-20, OFF + 2**-20),
        (lambda x, b: x * x, OFF * OFF),
    ],
)
def test_products_are_rounded_and_nothing_else(compute, value: float) -> None:
    """The product of 1 + 2**-10 and 1 is 1; biases, sums and element-wise products are exact."""
    with arithmetic(torch.device("cpu"), "bfloat16"):
        result = compute(torch.full((1, 1), OFF), torch.full((1,), OFF))
    assert result.dtype == torch.float32
    assert result.item() == value


def test_a_product_is_given_in_eight_bits_too() -> None:
    # 3 x 43 = 129 needs 8 bits, 3 x 87 = 261 needs 9: the two even neighbours are 260 and 262,
    # a tie, which goes to the even mantissa, 260 = 130 x 2.
    with arithmetic(torch.device("cpu"), "bfloat16"):
        assert (torch.tensor([[3.0]]) @ torch.tensor([[43.0, 87.0]])).tolist() == [[129.0, 260.0]]


def test_products_of_other_types_are_left_alone() -> None:
    x = torch.full((1, 1), 1 + 2**-40, dtype=torch.float64)
    with arithmetic(torch.device("cpu"), "bfloat16"):
        assert (x @ torch.ones(1, 1, dtype=torch.float64)).item() == 1 + 2**-40


def stages(model, codes_BL, precision: str) -> dict[str, torch.Tensor]:
    """Run a model and keep what each of its modules puts out."""
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output.clone()})
        )
        for name, module in model.named_modules()
    ]
    rows = torch.eye(5, 4)
    with arithmetic(torch.device("cpu"), precision):
        model(rows[torch.from_numpy(codes_BL).long()], head="human")
    for hook in hooks:
        hook.remove()
    return seen


def test_every_stage_is_float32_and_near(tiny, codes_BL) -> None:
    exact, rounded = (stages(tiny, codes_BL, kind) for kind in ("float32", "bfloat16"))
    assert exact.keys() == rounded.keys()
    assert len(exact) > 20
    for name, values in rounded.items():
        assert values.dtype == torch.float32, name
    ours, theirs = rounded[""].flatten(0, 1), exact[""].flatten(0, 1)
    assert ((ours - theirs).abs() / theirs).mean(0).max() < 5e-3
    # Rounding to 8 bits is off by some 0.3 %: what varies by less cannot correlate.
    varied = [t for t in range(8) if theirs[:, t].std() > 0.01 * theirs[:, t].mean()]
    assert len(varied) >= 4
    for track in varied:
        assert torch.corrcoef(torch.stack([ours[:, track], theirs[:, track]]))[0, 1] > 0.99
    # A bfloat16 has nothing in the low 16 bits of a float32.
    assert (ours.contiguous().view(torch.int32) & 0xFFFF).ne(0).any()


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_gradients_are_float32(monkeypatch, device: str, here: bool) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", None)
    choice = choose_precision("auto", torch.device(device), "gradients", here=here)
    assert (choice.precision, "gradients" in choice.reason) == ("float32", True)
    asked = choose_precision("float32", torch.device(device), "gradients", here=here)
    assert (asked.precision, asked.reason) == ("float32", "as asked for")
    with pytest.raises(ConfigError, match="float32 only, and bfloat16 was asked for"):
        choose_precision("bfloat16", torch.device(device), "gradients", here=here)
