"""enformer-pytorch with cisray's weights: what the benchmarks compare with.

Knows both libraries; knows nothing of what is measured. Weights are random, so the gamma convention
is free: files written with gamma `per_position` serve both (`measuring.write_random_model`).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from enformer_pytorch import Enformer as TheirEnformer
from enformer_pytorch.config_enformer import EnformerConfig as TheirConfig
from measuring import HEAD, random_codes
from numpy.typing import NDArray

from cisray.model.checkpoints.native import read_native
from cisray.model.enformer.config import EnformerConfig

PEER = "enformer-pytorch"


def their_pass(weights: Path) -> Callable[[], NDArray[np.float32]]:
    """Load cisray's weights into enformer-pytorch; return one prediction, pred_NT."""
    checkpoint = read_native(weights, verify=False)
    model = TheirEnformer(their_config(checkpoint.config))
    outcome = model.load_state_dict(dict(checkpoint.state), strict=False)
    # Its state dict lists the trunk a second time, as views of the tensors that were loaded.
    absent = [name for name in outcome.missing_keys if not name.startswith("_trunk.")]
    assert not absent, absent
    assert not outcome.unexpected_keys, outcome.unexpected_keys
    model.eval()
    codes_L = torch.from_numpy(random_codes(checkpoint.config.input_bp)).long()
    onehot_BLA = torch.nn.functional.one_hot(codes_L, 4).float()[None]

    def predict() -> NDArray[np.float32]:
        with torch.inference_mode():
            pred_BNT: torch.Tensor = model(onehot_BLA, head=HEAD)
        return pred_BNT[0].numpy()

    return predict


def their_config(config: EnformerConfig) -> TheirConfig:
    """Say the same hyperparameters in enformer-pytorch's words."""
    assert config.gamma_normalisation == "per_position"
    assert config.pooling == "attention"
    return TheirConfig(
        dim=config.channels,
        depth=config.num_transformer_layers,
        heads=config.num_heads,
        attn_dim_key=config.key_size,
        num_downsamples=config.num_downsamples,
        dim_divisible_by=config.channels_divisible_by,
        target_length=config.target_bins,
        output_heads=dict(config.heads),
        use_tf_gamma=False,
    )
