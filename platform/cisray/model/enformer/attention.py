"""Multi-head self-attention with relative positions, as in Enformer.

Knows tokens (B, K, D); knows nothing of DNA. Conventions that are easy to get wrong, and were
checked against the released code: only the query is scaled, and it is scaled before the two
biases are added; a relative distance is key minus query.
"""

import torch
from torch import nn
from torch.nn import functional

from cisray.model.enformer.config import EnformerConfig
from cisray.model.enformer.positions import positional_features


class RelativeAttention(nn.Module):
    """Attention whose logits are content (q + u) k plus position (q + v) r, after Transformer-XL.

    u is `rel_content_bias`, v is `rel_pos_bias`, r a linear map of the positional features.
    """

    def __init__(self, config: EnformerConfig) -> None:
        super().__init__()
        heads, key = config.num_heads, config.key_size
        self.config = config
        self.scale = key**-0.5
        self.to_q = nn.Linear(config.channels, heads * key, bias=False)
        self.to_k = nn.Linear(config.channels, heads * key, bias=False)
        self.to_v = nn.Linear(config.channels, heads * config.value_size, bias=False)
        self.to_rel_k = nn.Linear(config.position_features, heads * key, bias=False)
        self.to_out = nn.Linear(heads * config.value_size, config.channels)
        self.rel_content_bias = nn.Parameter(torch.empty(1, heads, 1, key))
        self.rel_pos_bias = nn.Parameter(torch.empty(1, heads, 1, key))

    def forward(self, x_BKD: torch.Tensor) -> torch.Tensor:
        """Attend over all tokens: (B, K, D) to (B, K, D)."""
        weights_BHKK = functional.dropout(
            self.weights(x_BKD), self.config.attention_dropout, self.training
        )
        v_BHKd = self.split_heads(self.to_v(x_BKD))
        mixed_BKD = (weights_BHKK @ v_BHKd).transpose(1, 2).flatten(2)
        out: torch.Tensor = self.to_out(mixed_BKD)
        return out

    def weights(self, x_BKD: torch.Tensor) -> torch.Tensor:
        """Compute each query's attention to each key, (B, H, K, K), summing to one over keys."""
        q_BHKd = self.split_heads(self.to_q(x_BKD)) * self.scale
        k_BHKd = self.split_heads(self.to_k(x_BKD))
        logits_BHKK = self.content_logits(q_BHKd, k_BHKd)
        logits_BHKK = logits_BHKK + self.position_logits(q_BHKd)
        return logits_BHKK.softmax(dim=-1)

    def split_heads(self, x_BKD: torch.Tensor) -> torch.Tensor:
        """Split the projected axis head-major: (B, K, H*d) to (B, H, K, d)."""
        batch, tokens, width = x_BKD.shape
        heads = self.config.num_heads
        return x_BKD.reshape(batch, tokens, heads, width // heads).transpose(1, 2)

    def content_logits(self, q_BHKd: torch.Tensor, k_BHKd: torch.Tensor) -> torch.Tensor:
        """What a query finds in a key, (B, H, K, K); q is already scaled."""
        return (q_BHKd + self.rel_content_bias) @ k_BHKd.transpose(-1, -2)

    def position_logits(self, q_BHKd: torch.Tensor) -> torch.Tensor:
        """What a query finds in a distance, (B, H, K, K), indexed [query, key]."""
        keys_BHPd = self.position_keys(q_BHKd.shape[-2])
        return shift_distances((q_BHKd + self.rel_pos_bias) @ keys_BHPd.transpose(-1, -2))

    def position_keys(self, tokens: int) -> torch.Tensor:
        """Project the positional features to keys r, (1, H, 2K-1, d)."""
        weight = self.to_rel_k.weight
        config = self.config
        features = positional_features(
            tokens, config.position_features, config.gamma_normalisation, weight.device
        ).to(weight.dtype)
        # One mask per layer and call, shared by all heads and samples, as in the original.
        features = functional.dropout(features, self.config.positional_dropout, self.training)
        return self.split_heads(self.to_rel_k(features)[None])


def shift_distances(logits_BHKP: torch.Tensor) -> torch.Tensor:
    """Turn logits per distance into logits per key, (B, H, K, 2K-1) to (B, H, K, K), as a view.

    Entry (i, j) is column d + K - 1 of row i with d = j - i. Row i therefore starts K - 1 - i
    columns in, which a view with a row stride of one column less says without copying:

        distance   -2 -1  0  1  2
        query 0           .  .  .      keys 0 1 2
        query 1        .  .  .
        query 2     .  .  .
    """
    x = logits_BHKP.contiguous()
    batch, heads, tokens, distances = x.shape
    stride_batch, stride_head, stride_row, _ = x.stride()
    return x.as_strided(
        (batch, heads, tokens, tokens),
        (stride_batch, stride_head, stride_row - 1, 1),
        x.storage_offset() + distances // 2,
    )
