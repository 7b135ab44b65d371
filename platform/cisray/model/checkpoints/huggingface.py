"""Enformers saved by enformer-pytorch, as on the Hugging Face hub.

Knows its config.json, its two families of tensor names, and the one choice on which its models
differ from DeepMind's (the axis of the gamma features). Knows nothing of the network itself.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from cisray.errors import CheckpointError
from cisray.model.checkpoints.native import read_safetensors
from cisray.model.enformer.config import EnformerConfig

Gamma = Literal["auto", "per_feature", "per_position"]

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_PUBLISHED = EnformerConfig()
_TRANSLATED = {
    "dim": "channels",
    "depth": "num_transformer_layers",
    "heads": "num_heads",
    "attn_dim_key": "key_size",
    "num_downsamples": "num_downsamples",
    "dim_divisible_by": "channels_divisible_by",
    "output_heads": "heads",
}
_TRANSLATED_RATES = {
    "dropout_rate": "dropout",
    "attn_dropout": "attention_dropout",
    "pos_dropout": "positional_dropout",
}
_HANDLED = {*_TRANSLATED, *_TRANSLATED_RATES, "target_length", "use_tf_gamma", "use_convnext"}
# Written by transformers' save_pretrained, or about speed alone; none changes what is computed.
_BOOKKEEPING = {
    "_name_or_path", "_commit_hash", "architectures", "dtype", "model_type", "torch_dtype",
    "transformers_version", "use_checkpointing",
}  # fmt: skip
# enformer-pytorch registers its trunk a second time as one nn.Sequential; 0 and 3 rearrange
# axes and 5 crops, so they hold no tensors.
_SECOND_FAMILY = {"1": "stem", "2": "conv_tower", "4": "transformer", "6": "final_pointwise"}
_SECOND_KEY = re.compile(r"_trunk\.([1246])\.(.+)")


@dataclass(frozen=True, slots=True)
class Translated:
    """A translated config.json, and why its gamma normalisation was chosen."""

    config: EnformerConfig
    gamma_reason: str


def weights_in(folder: Path) -> Path | None:
    """Find the weights of a Hugging Face folder; safetensors are preferred to a pickle."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def translate_config(
    path: Path,
    *,
    gamma: Gamma = "auto",
    input_bp: int | None = None,
    target_bins: int | None = None,
) -> Translated:
    """Translate an enformer-pytorch config.json into our configuration.

    The file does not name the input length: 196,608 bp if it has the published 7 downsamplings
    and 896 bins, otherwise `input_bp` must be given. The output bins are its target_length (-1
    means no crop); a `target_bins` that contradicts it is refused.

    `gamma` decides the axis of the gamma features. DeepMind's weights need `per_feature`; a model
    trained by enformer-pytorch with its default needs `per_position`. `auto` takes per_feature if
    use_tf_gamma is absent or true, per_position if it is false; but a false in a configuration of
    the published size is ambiguous (saving DeepMind's weights again writes it too), and then
    `auto` is refused. Raises CheckpointError for a missing or unknown key, and for use_convnext.
    """
    raw = _read_config(path)
    _check_keys(raw, path)
    rule, reason = _choose_gamma(raw, gamma, path)
    window = _window(raw, path, input_bp=input_bp, target_bins=target_bins)
    values = {ours: raw[theirs] for theirs, ours in _TRANSLATED.items()}
    values |= {ours: raw[theirs] for theirs, ours in _TRANSLATED_RATES.items() if theirs in raw}
    try:
        config = EnformerConfig.model_validate(
            {**values, **window, "pooling": "attention", "gamma_normalisation": rule}
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(
            f"{path} describes no Enformer: {where} {first['msg']}. If the model reads another "
            f"window, give its input length."
        ) from error
    return Translated(config, reason)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the state dict of a .bin or .safetensors file, under the names of our network.

    Nothing but tensors is unpickled. Where both families of names are present they must agree,
    and the first one is returned. Raises CheckpointError.
    """
    if path.suffix == ".safetensors":
        return _one_family(read_safetensors(path)[1], path)
    try:
        # Only the zip format can be mapped; files from before torch 1.6 are read whole.
        mapped = zipfile.is_zipfile(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        first_line = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be read as a PyTorch file of tensors: {first_line}. It may be "
            f"truncated, or hold more than tensors."
        ) from error
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in loaded.items()
    ):
        raise CheckpointError(
            f"{path} is not a state dict: it must map names to tensors and hold nothing else. "
            f"Save model.state_dict() alone."
        )
    return _one_family(loaded, path)


def _one_family(state: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Translate the second family of names into the first; refuse two that disagree."""
    merged = {name: tensor for name, tensor in state.items() if not _SECOND_KEY.fullmatch(name)}
    clashing = []
    for name, tensor in state.items():
        match = _SECOND_KEY.fullmatch(name)
        if match is None:
            continue
        first = f"{_SECOND_FAMILY[match.group(1)]}.{match.group(2)}"
        kept = merged.setdefault(first, tensor)
        if kept is not tensor and not (kept.dtype == tensor.dtype and torch.equal(kept, tensor)):
            clashing.append(f"{first} and {name}")
    if clashing:
        raise CheckpointError(
            f"{path} holds its trunk twice, and the two differ in {len(clashing)} tensors, first "
            f"in {clashing[0]}; it is unclear which was trained. Remove one family of names."
        )
    return merged


def _read_config(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(raw, dict) or raw.get("model_type") != "enformer":
        kind = raw.get("model_type") if isinstance(raw, dict) else type(raw).__name__
        raise CheckpointError(
            f"{path} is not the configuration of an Enformer: its model_type is {kind!r}."
        )
    return raw


def _check_keys(raw: Mapping[str, Any], path: Path) -> None:
    missing = [key for key in (*_TRANSLATED, "target_length") if key not in raw]
    unknown = sorted(set(raw) - _HANDLED - _BOOKKEEPING)
    if missing or unknown:
        raise CheckpointError(
            f"{path} lacks the keys {missing} and has the unknown keys {unknown}; cisray reads the "
            f"configurations that enformer-pytorch 0.8 writes, and guesses at none."
        )
    if raw.get("use_convnext"):
        raise CheckpointError(
            f"{path} sets use_convnext: that is an older variant of the network, not the Enformer."
        )
    flag = raw.get("use_tf_gamma")
    if flag is not None and not isinstance(flag, bool):
        raise CheckpointError(f"{path}: use_tf_gamma must be true or false, got {flag!r}.")


def _choose_gamma(
    raw: Mapping[str, Any], gamma: Gamma, path: Path
) -> tuple[Literal["per_feature", "per_position"], str]:
    if gamma != "auto":
        return gamma, "asked for"
    if raw.get("use_tf_gamma") is None:
        return "per_feature", "use_tf_gamma absent: DeepMind's weights"
    if raw["use_tf_gamma"]:
        return "per_feature", "use_tf_gamma true"
    published = (_PUBLISHED.channels, _PUBLISHED.num_transformer_layers, _PUBLISHED.heads)
    if (raw["dim"], raw["depth"], raw["output_heads"]) == published:
        raise CheckpointError(
            f"{path} has the size of the published Enformer and says use_tf_gamma false, which is "
            f"true of two models that predict differently: DeepMind's weights saved again, and a "
            f"model trained with enformer-pytorch's default. Say which: gamma per_feature for "
            f"DeepMind's weights, per_position for the other."
        )
    return "per_position", "use_tf_gamma false: trained with enformer-pytorch's default"


def _window(
    raw: Mapping[str, Any], path: Path, *, input_bp: int | None, target_bins: int | None
) -> dict[str, int]:
    bins, downsamples = raw["target_length"], raw["num_downsamples"]
    if not isinstance(bins, int) or not isinstance(downsamples, int) or not 2 <= downsamples < 31:
        raise CheckpointError(
            f"{path}: target_length {bins!r} or num_downsamples {downsamples!r} is impossible."
        )
    if input_bp is None:
        if (bins, downsamples) != (_PUBLISHED.target_bins, _PUBLISHED.num_downsamples):
            raise CheckpointError(
                f"{path} predicts {bins} bins and does not say from how many bases; "
                f"give the input length in bp (--input-bp)."
            )
        input_bp = _PUBLISHED.input_bp
    if bins == -1:
        bins = input_bp >> downsamples
    if target_bins is not None and target_bins != bins:
        raise CheckpointError(
            f"{path} predicts {bins} bins, but {target_bins} were asked for; leave the number out."
        )
    return {"input_bp": input_bp, "target_bins": bins}
