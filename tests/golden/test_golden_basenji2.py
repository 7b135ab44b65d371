"""Basenji2 against numbers that Basenji's own code printed, read from the file that Keras wrote."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cisray.genome.encode import onehot
from cisray.model.basenji2.config import Basenji2Config, read_params
from cisray.model.basenji2.network import Basenji2
from cisray.model.checkpoints.convert import open_foreign
from cisray.model.registry import expected_shapes, load_model, model_from_checkpoint
from cisray_jobs.models import convert_model

TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "basenji2_small.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def model(shared: Path) -> Basenji2:
    read = model_from_checkpoint(
        open_foreign(shared / "golden" / "basenji2_small.h5", expected_shapes)
    )
    assert isinstance(read, Basenji2)
    return read


def stages(model: Basenji2, onehot_BLA: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run the model once and keep what each named stage put out, channels last."""
    pooled: list[torch.Tensor] = []
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str):
        def hook(_module, _inputs, output):
            seen[name] = output.transpose(1, 2)

        return hook

    hooks = [model.pool.register_forward_hook(lambda _m, _i, out: pooled.append(out))]
    for i, block in enumerate(model.residual):
        hooks.append(block.register_forward_hook(keep(f"dilated.{i}")))
    hooks.append(model.activation.register_forward_hook(keep("trunk")))
    with torch.no_grad():
        seen["out"] = model(onehot_BLA)
    for hook in hooks:
        hook.remove()
    seen["pool0"], seen["pool6"] = (pooled[i].transpose(1, 2) for i in (0, 6))
    crop = model.config.crop_bins
    seen["crop"] = seen[f"dilated.{len(model.residual) - 1}"][:, crop:-crop]
    return seen


@pytest.mark.golden
def test_every_stage_of_the_small_model(model: Basenji2, golden: dict[str, np.ndarray]) -> None:
    seen = stages(model, torch.from_numpy(onehot(golden["input_idx"])))
    assert set(seen) == set(golden) - {"input_idx"}
    for name, tensor in seen.items():
        assert tuple(tensor.shape) == golden[name].shape, name
        error = np.abs(tensor.numpy() - golden[name]).max()
        assert error <= TOLERANCE * max(1.0, np.abs(golden[name]).max()), f"{name}: {error:.3g}"


@pytest.mark.golden
def test_the_configuration_of_the_small_model(model: Basenji2, shared: Path) -> None:
    params = read_params(shared / "golden" / "basenji2_small_params.json")
    assert model.config == params
    # 4,096 bp in bins of 128 are 32 tokens; 4 are cropped on each side.
    assert (params.tokens, params.crop_bins, params.target_bins) == (32, 4, 24)
    assert params.dilations == (1, 2, 3, 4, 6)
    norm = model.stem.norm
    assert (norm.eps, norm.momentum) == (1e-3, pytest.approx(0.1))


@pytest.mark.golden
def test_conversion_to_a_file_of_our_own(
    shared: Path, golden: dict[str, np.ndarray], tmp_path: Path
) -> None:
    source = shared / "golden" / "basenji2_small.h5"
    info = convert_model(source, tmp_path / "b.safetensors")
    assert (info.architecture, info.parameters) == ("basenji2", 60_219)
    assert info.provenance["head"] == "human: Basenji's parameters"
    assert set(info.provenance["source_sha256"]) == {
        "basenji2_small.h5",
        "basenji2_small_params.json",
    }
    with torch.no_grad():
        out = load_model(tmp_path / "b.safetensors")(torch.from_numpy(onehot(golden["input_idx"])))
    assert np.abs(out.numpy() - golden["out"]).max() <= TOLERANCE


@pytest.mark.realdata
def test_the_published_parameters(shared: Path) -> None:
    config = read_params(shared / "data" / "targets" / "basenji2_params_human.json")
    assert config == Basenji2Config()
    assert (config.tokens, config.target_bins) == (1024, 896)
    shapes = expected_shapes(config)
    counted = {name: s.numel() for name, s in shapes.items() if "num_batches" not in name}
    running = sum(n for name, n in counted.items() if "running" in name)
    # 30 batch norms over 17,678 channels have two running statistics each.
    assert running == 2 * 17_678
    assert sum(counted.values()) == 30_123_584
    assert sum(counted.values()) - running == 30_088_228
