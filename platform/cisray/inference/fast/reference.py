"""The pass of a reference through a transformer, with all that differences from it need.

Knows which activations those are and how much memory they may take; knows nothing of DNA.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from cisray.inference.fast.transformer import (
    BlockRecord,
    Transformer,
    run_block,
    run_tail,
    steps,
)


@dataclass(frozen=True, slots=True)
class TailRecord:
    """The arguments of the tail's activations: of both silu and of the softplus."""

    first_ND: torch.Tensor
    second_NM: torch.Tensor
    head_NT: torch.Tensor


class ReferencePass:
    """One reference after another, in the same buffers.

    The inputs of all blocks are kept. Of what else the blocks leave, `cache_bytes` holds as many
    as it can, from the first on; the others are computed again when asked for, bit by bit the
    same. `products` is the type of the differences' products.
    """

    tail: TailRecord

    def __init__(self, transformer: Transformer, products: torch.dtype, cache_bytes: int) -> None:
        self.transformer = transformer
        self.tokens = range(0)
        self.inputs_KD: list[torch.Tensor] = []
        self._products = products
        self._cache_bytes = cache_bytes
        self._kept: list[BlockRecord] = []
        self._scratch: BlockRecord | None = None

    def run(self, x_KD: torch.Tensor, tokens: range) -> torch.Tensor:
        """Pass the reference's trunk tokens; return the prediction (N, T) of the wanted ones.

        Whatever was recorded of the reference before is overwritten.
        """
        self._allocate(x_KD, tokens)
        self.inputs_KD = []
        for index, block in enumerate(self.transformer.blocks):
            self.inputs_KD.append(x_KD)
            record = self._kept[index] if index < len(self._kept) else None
            x_KD = run_block(block, x_KD[None], self.queries(index), record)[0]
        tail = self.transformer.tail
        chunks = [run_tail(tail, x_KD[rows]) for rows in steps(len(x_KD), x_KD.device)]
        self.tail = TailRecord(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))
        return functional.softplus(self.tail.head_NT)

    def queries(self, index: int) -> range:
        """Tell which tokens a block puts out: all, but in the last block only the wanted ones."""
        last = index == len(self.transformer.blocks) - 1
        return self.tokens if last else range(len(self.inputs_KD[0]))

    def record(self, index: int) -> BlockRecord:
        """Return what a block left, computed again if it was not kept; valid for one call."""
        if index < len(self._kept):
            return self._kept[index]
        block, queries = self.transformer.blocks[index], self.queries(index)
        x_KD = self.inputs_KD[index]
        if self._scratch is None or len(self._scratch.mixed_QC) != len(queries):
            self._scratch = BlockRecord.empty(block, x_KD, queries, self._products)
        run_block(block, x_KD[None], queries, self._scratch)
        return self._scratch

    def release(self) -> None:
        """Let go of all buffers: some 2 GB at the published size."""
        self.tokens, self.inputs_KD = range(0), []
        self._kept, self._scratch = [], None

    def _allocate(self, x_KD: torch.Tensor, tokens: range) -> None:
        """Make room for records; those of the reference before serve again where they fit."""
        same = len(tokens) == len(self.tokens)
        self.tokens = tokens
        if same:
            return
        blocks = self.transformer.blocks
        last = len(blocks) - 1
        # Only what the last block leaves is as long as the wanted tokens are many.
        del self._kept[last:]
        left = self._cache_bytes - x_KD.nbytes * len(blocks)
        left -= sum(record.nbytes for record in self._kept)
        for index in range(len(self._kept), len(blocks)):
            queries = tokens if index == last else range(len(x_KD))
            record = BlockRecord.empty(blocks[index], x_KD, queries, self._products)
            left -= record.nbytes
            if left < 0:
                return
            self._kept.append(record)
