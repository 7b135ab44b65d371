"""Stem and convolutional tower of a model: base codes in, tokens out, for any range of tokens.

Knows stacked levels, the ends of a sequence and blocks of rows; knows nothing of attention, of
genomes or of files. The trunk is local: a token depends on its own bases and on `reach_bp` more on
either side. So any range of tokens is computed from its bases and their surroundings, and only
tokens within reach of a sequence's end see the zeros that the model pads it with.
"""

from collections.abc import Iterator, Sequence

import torch

from cisray.inference.fast.edits import Group, Reading, find_edits
from cisray.inference.fast.level import (
    Change,
    Step,
    activate,
    add_residual,
    climb_changed,
    convolve_level,
    pad_rows,
    plan_steps,
    pool_into,
)
from cisray.inference.fast.weights import Level
from cisray.inference.predictor import onehot_table

# Blocks that one chunk of tokens has at the stem. Chunks bound the stem's output (302 MB for all
# of 196,608 bp), and each computes the rows within reach of its borders again.
BLOCKS_PER_CHUNK = 8

# Rows of a block: on a CPU some 12 MB of the stem's 768 float32 channels, about what its last-level
# cache holds beside the kernel; a GPU wants large launches more than it wants a cache.
CPU_ROWS = 4096
GPU_ROWS = 1 << 17

# Tokens through which differences are carried in one go: bounds memory to some 200 MB.
_CARRIED_TOKENS = 32


class Trunk:
    """Tokens of a convolutional trunk, any range of them.

    `bin_bp` bases make one token. `reach_bp` is the number of bases on either side of its own that
    a token depends on, and `edge_tokens` that of the tokens at each end of a sequence that see its
    padding: 128, 259 and 3 for Enformer.

    A level is computed in blocks of about `rows` positions, counted over all lanes, which on a CPU
    stay in its cache from one operation to the next; None chooses by device.
    """

    def __init__(self, levels: Sequence[Level], *, rows: int | None = None) -> None:
        self.levels = tuple(levels)
        self.dtype = levels[0].kernel.dtype
        self.device = levels[0].kernel.device
        self.rows = rows or (CPU_ROWS if self.device.type == "cpu" else GPU_ROWS)
        self.bin_bp = 1 << len(levels)
        # A position of level i spans 2**i bases; pooling reads pairs that belong to one output.
        self.reach_bp = sum(level.reach << index for index, level in enumerate(levels))
        self.edge_tokens = -(-self.reach_bp // self.bin_bp)
        self._onehot = onehot_table(self.device, self.dtype)
        self._chunk = max(1, BLOCKS_PER_CHUNK * self.rows // self.bin_bp)

    def onehot(self, codes: torch.Tensor) -> torch.Tensor:
        """Turn codes (...) into one-hot rows (..., A) of the trunk's type."""
        return self._onehot[codes.int()]

    def tokens(self, codes_BL: torch.Tensor, wanted: range | None = None) -> torch.Tensor:
        """Compute tokens of whole sequences, zero-padded at both ends as in the model.

        codes_BL: uint8 (B, L) on the device, L a multiple of `bin_bp`. Returns (B, len(wanted), D);
        None means all tokens. Raises ValueError for another length or for tokens that are not
        there.
        """
        bases = codes_BL.shape[1]
        count = bases // self.bin_bp
        if bases % self.bin_bp:
            raise ValueError(f"{bases} bases are not a multiple of the {self.bin_bp} of a token")
        chosen = range(count) if wanted is None else wanted
        if chosen.step != 1 or chosen.start < 0 or chosen.stop > count:
            raise ValueError(f"tokens must be neighbours of 0 to {count - 1}, got {chosen}")
        return self._compute(codes_BL, chosen, bases)

    def inside(self, codes_S: torch.Tensor, first_base: int, count: int) -> torch.Tensor:
        """Compute `count` tokens, (count, D), of a stretch as if it had no ends.

        They are those over the bases [first_base, first_base + count * bin_bp) of codes_S (S,).
        Raises ValueError unless `reach_bp` more bases are there on either side.
        """
        first, stop = first_base - self.reach_bp, first_base + count * self.bin_bp + self.reach_bp
        if first < 0 or stop > len(codes_S):
            raise ValueError(
                f"{count} tokens from base {first_base} on depend on the bases {first} to {stop} "
                f"of a stretch that has 0 to {len(codes_S)}"
            )
        return self._compute(codes_S[None, first:stop], range(count), None)[0]

    def differences(
        self, codes_L: torch.Tensor, alternates_BL: torch.Tensor, tokens_KD: torch.Tensor
    ) -> torch.Tensor:
        """Compute the trunk of each alternate minus that of the reference, (B, K, D).

        `tokens_KD` is the trunk of the reference, codes_L. Tokens that read no changed base are
        exactly zero, and cost nothing: an SNV changes 5 or 6 of Enformer's.

        A difference is carried up the levels instead of being taken between two results, because
        subtracting numbers much larger than their difference leaves rounding errors of the large
        ones. Where an insertion or a deletion shifts the sequence, most bases differ and the
        difference is as large as the signal: nothing cancels, and the cheaper way, subtracting, is
        as good.
        """
        reading = Reading(self.bin_bp, self.reach_bp)
        edits = find_edits(codes_L, alternates_BL, reading, longest=_CARRIED_TOKENS)
        shape = (len(alternates_BL), *tokens_KD.shape)
        out_BKD = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for lane, run in edits.rewritten:
            part = slice(run.start, run.stop)
            rewritten_KD = self.tokens(alternates_BL[lane : lane + 1], run)[0]
            out_BKD[lane, part] = rewritten_KD - tokens_KD[part]
        for group in edits.groups:
            for lanes, change in self._carried(codes_L, alternates_BL, group):
                out_BKD[lanes, change.rows.start : change.rows.stop] = change.d
        return out_BKD

    def _carried(
        self, codes_L: torch.Tensor, alternates_BL: torch.Tensor, group: Group
    ) -> Iterator[tuple[list[int], Change]]:
        """Carry the differences of a group's lanes up to its tokens, as many lanes as fit."""
        steps = plan_steps(self.levels, group.tokens, len(codes_L))
        read = slice(steps[0].inputs.start, steps[0].inputs.stop)
        reference_S = codes_L[read]
        differs_BS = alternates_BL[list(group.lanes), read] != reference_S
        columns = differs_BS.any(dim=0).nonzero()[:, 0]
        bases = range(read.start + int(columns[0]), read.start + int(columns[-1]) + 1)
        together = max(1, self.rows // (2 * len(steps[0].spread(bases))))
        for lanes in _pieces(range(len(group.lanes)), together):
            chosen = list(group.lanes[lanes.start : lanes.stop])
            onehot_BSA = self.onehot(alternates_BL[chosen, bases.start : bases.stop])
            d = onehot_BSA - self.onehot(codes_L[bases.start : bases.stop])
            x, change = self.onehot(reference_S)[None], Change(d, bases)
            for step in steps:
                x, change = climb_changed(step, x, change)
            yield chosen, change

    def _compute(self, codes_BS: torch.Tensor, wanted: range, bases: int | None) -> torch.Tensor:
        """Compute tokens chunk by chunk.

        codes_BS holds the whole sequence of `bases`; without ends (None), exactly the bases that
        the wanted tokens depend on, the first of them at `-reach_bp` of token 0.
        """
        origin = -self.reach_bp if bases is None else 0
        out_BKD = self._empty(len(codes_BS), len(wanted), self.levels[-1])
        together = max(1, self._chunk // max(1, len(wanted)))
        for lanes in _pieces(range(len(codes_BS)), together):
            for part in _pieces(wanted, self._chunk):
                steps = plan_steps(self.levels, part, bases)
                read = steps[0].inputs
                x = codes_BS[lanes.start : lanes.stop, read.start - origin : read.stop - origin]
                for index, step in enumerate(steps):
                    x = self._climb(step, x, is_codes=index == 0)
                target = slice(part.start - wanted.start, part.stop - wanted.start)
                out_BKD[lanes.start : lanes.stop, target] = x
        return out_BKD

    def _climb(self, step: Step, x: torch.Tensor, *, is_codes: bool) -> torch.Tensor:
        """Compute one level in blocks: x (B, inputs, C), or codes (B, inputs), to (B, outputs, O).

        Zeros are added after the activation, as the model's convolutions do.
        """
        level, have = step.level, len(step.inputs)
        out = self._empty(len(x), len(step.outputs), level)
        for block in _even_pieces(len(step.outputs), self.rows // (2 * len(x))):
            first = 2 * block.start - step.zeros_before
            stop = 2 * block.stop + 2 * level.reach - step.zeros_before
            rows = x[:, max(first, 0) : min(stop, have)]
            t = activate(self.onehot(rows) if is_codes else rows, level.before)
            t = pad_rows(t, max(-first, 0), max(stop - have, 0))
            y = add_residual(level, convolve_level(level, t))
            pool_into(level, y, out[:, block.start : block.stop])
        return out

    def _empty(self, lanes: int, rows: int, level: Level) -> torch.Tensor:
        shape = (lanes, rows, level.kernel.shape[0])
        return torch.empty(shape, dtype=self.dtype, device=self.device)


def _pieces(whole: range, size: int) -> Iterator[range]:
    for first in range(whole.start, whole.stop, size):
        yield range(first, min(first + size, whole.stop))


def _even_pieces(count: int, size: int) -> Iterator[range]:
    """Cut 0 .. count into pieces of nearly one size, the fewest that are not above `size`."""
    pieces = -(-count // max(1, size))
    return _pieces(range(count), -(-count // max(1, pieces)))
