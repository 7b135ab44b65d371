"""Gradients of the published model: what they cost, and that they are autograd's (minutes)."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from cisray.inference.fast.gradients import FastGradients
from cisray.inference.gradients import TRACK_OBJECTIVES, PlainGradients
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

FIVE_GB = 5e9
# In a process of its own, whose peak is that of one gradient and of the model.
MEASURED = """
import json, resource, sys, time
import numpy as np, torch
from cisray.inference.fast.gradients import FastGradients
from cisray.inference.gradients import TRACK_OBJECTIVES
from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.initialise import initialise
from cisray.model.enformer.network import Enformer

torch.set_num_threads(1)
model = initialise(Enformer(EnformerConfig()), 0, randomise_all=True).eval().requires_grad_(False)
predictor = FastGradients(
    model, model.tracks["human"].select(["4828", "5111"]), device=torch.device("cpu")
)
codes_L = np.random.default_rng(1).integers(0, 4, 196_608).astype(np.uint8)
facts = {}
for name, region in (("300 bases", range(98_000, 98_300)), ("all bases", None)):
    began = time.process_time()
    found = predictor.gradient(
        codes_L, TRACK_OBJECTIVES["SAD"], bins=range(440, 456), region=region
    )
    facts[name] = time.process_time() - began
    assert np.isfinite(found.gradient_BRA).all() and found.gradient_BRA.any(axis=(1, 2)).all()
facts["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(facts))
"""


def test_the_published_model_fits_into_five_gigabytes() -> None:
    """And a region spares most of the way back through the trunk: CPU seconds, one thread."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["peak_rss_bytes"] <= FIVE_GB, facts
    assert facts["300 bases"] < 0.7 * facts["all bases"], facts


def test_the_published_widths_and_depth_on_fewer_bases() -> None:
    """Autograd over the whole network fits for 16,384 bp: all layers, 128 tokens."""
    config = EnformerConfig(input_bp=16_384, target_bins=64)
    model = initialise(Enformer(config), 2, randomise_all=True).eval().requires_grad_(False)
    codes_L = np.random.default_rng(3).integers(0, 5, 16_384).astype(np.uint8)
    codes_L[:700] = 4
    tracks = model.tracks["human"].select(["5111"])
    ours, theirs = (
        kind(model, tracks, device=torch.device("cpu"))
        .gradient(codes_L, TRACK_OBJECTIVES["SADR"])
        .gradient_BRA
        for kind in (FastGradients, PlainGradients)
    )
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
