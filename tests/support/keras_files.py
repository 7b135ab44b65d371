"""Basenji2 models written as Keras 2 writes them, for tests without Keras.

Names, nesting and the JSON follow a file that Keras 2.15 wrote; the weights go through transposes
spelled out here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cisray.model.basenji2.config import Basenji2Config
from cisray.model.basenji2.network import Basenji2

Edit = Callable[[list[dict[str, Any]]], None]


class KerasFile:
    """Layers and weights in the order in which Basenji builds them."""

    def __init__(self, model: Basenji2, first: int = 0) -> None:
        self.config: Basenji2Config = model.config
        self.state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, dict[str, np.ndarray]] = {}
        # Keras counts on if other models were built in the same process.
        self.counts: dict[str, int] = {}
        self.first = first
        self._build()

    def add(self, kind: str, base: str, settings: dict[str, Any], *more: str) -> str:
        number = self.counts.setdefault(base, self.first)
        self.counts[base] += 1
        name = f"{base}_{number}" if number else base
        inputs = [self.layers[-1]["name"], *more] if self.layers else []
        self.layers.append(
            {
                "class_name": kind,
                "name": name,
                "config": {"name": name, **settings},
                "inbound_nodes": [[[source, 0, 0, {}] for source in inputs]] if inputs else [],
            }
        )
        return name

    def block(
        self, place: str, channels: int, kernel: int, dilation: int = 1, dropout: float = 0
    ) -> None:
        self.add("Custom>GELU", "gelu", {})
        conv = self.add(
            "Conv1D",
            "conv1d",
            {
                "filters": channels,
                "kernel_size": [kernel],
                "strides": [1],
                "padding": "same",
                "dilation_rate": [dilation],
                "groups": 1,
                "activation": "linear",
                "use_bias": self.config.conv_bias,
            },
        )
        kernel_oik = self.state[f"{place}.conv.weight"]
        self.weights[conv] = {"kernel": np.einsum("oik->kio", kernel_oik)}
        if self.config.conv_bias:
            self.weights[conv]["bias"] = self.state[f"{place}.conv.bias"]
        norm = self.add(
            "BatchNormalization",
            "batch_normalization",
            {
                "axis": [2],
                "momentum": self.config.norm_momentum,
                "epsilon": self.config.norm_eps,
                "center": True,
                "scale": True,
            },
        )
        self.weights[norm] = {
            "gamma": self.state[f"{place}.norm.weight"],
            "beta": self.state[f"{place}.norm.bias"],
            "moving_mean": self.state[f"{place}.norm.running_mean"],
            "moving_variance": self.state[f"{place}.norm.running_var"],
        }
        if dropout:
            self.add("Dropout", "dropout", {"rate": dropout})

    def pool(self) -> None:
        self.add("MaxPooling1D", "max_pooling1d", {"pool_size": [2], "strides": [2]})

    def _build(self) -> None:
        config = self.config
        self.add("InputLayer", "sequence", {"batch_input_shape": [None, config.input_bp, 4]})
        self.add("Custom>StochasticShift", "stochastic_shift", {})
        self.block("stem", config.stem_channels, config.stem_kernel)
        self.pool()
        for i, channels in enumerate(config.tower_channels):
            self.block(f"tower.{i}", channels, config.tower_kernel)
            self.pool()
        for i, dilation in enumerate(config.dilations):
            start = self.layers[-1]["name"]
            place, width = f"residual.{i}", config.tower_channels[-1]
            self.block(
                f"{place}.narrow", config.residual_channels, config.residual_kernel, dilation
            )
            self.block(f"{place}.widen", width, 1, dropout=config.residual_dropout)
            self.add("Add", "add", {}, start)
        if config.crop_bins:
            self.add("Cropping1D", "cropping1d", {"cropping": [config.crop_bins] * 2})
        self.block("final", config.final_channels, 1, dropout=config.final_dropout)
        self.add("Custom>GELU", "gelu", {})
        ((head, units),) = config.heads.items()
        dense = self.add(
            "Dense", "dense", {"units": units, "activation": "softplus", "use_bias": True}
        )
        self.weights[dense] = {
            "kernel": self.state[f"_heads.{head}.0.weight"].T,
            "bias": self.state[f"_heads.{head}.0.bias"],
        }

    def write(self, path: Path, edit: Edit | None = None) -> Path:
        """Write the file, with its description edited first if there is an `edit`."""
        layers = json.loads(json.dumps(self.layers))
        if edit is not None:
            edit(layers)
        with h5py.File(path, "w") as file:
            described = {"class_name": "Functional", "config": {"name": "m", "layers": layers}}
            file.attrs["model_config"] = json.dumps(described)
            file.attrs["keras_version"] = "2.15.0"
            for layer in self.layers:
                group = file.create_group(f"model_weights/{layer['name']}")
                arrays = self.weights.get(layer["name"], {})
                names = [f"{layer['name']}/{name}:0" for name in arrays]
                group.attrs["weight_names"] = np.array(names, dtype="S")
                for name, array in zip(names, arrays.values(), strict=True):
                    group[name] = array
        return path
