"""Trunk tokens of one window after another along a stretch of DNA, each computed once.

Knows which tokens of two windows are the same; knows nothing of how tokens are computed or used.

    window      |eee......................eee|        e: sees the window's zero padding
    next one             |eee......................eee|
    shared                   ................         copied
    new                                      .....    computed, from bases inside the window
"""

import torch

from cisray.inference.fast.trunk import Trunk


class RollingTrunk:
    """Tokens of windows of `window_bp` bases along codes_S (S,), uint8 on the trunk's device.

    Windows whose starts differ by a multiple of `trunk.bin_bp` share the tokens that lie in both
    and see neither's zero padding; those of the window before are kept. Starts may come in any
    order. Values are those of `trunk.tokens` of the window, but for rounding: the sums of a
    convolution may be taken in another order where a block is cut elsewhere.
    """

    def __init__(self, trunk: Trunk, codes_S: torch.Tensor, window_bp: int) -> None:
        if window_bp % trunk.bin_bp:
            raise ValueError(
                f"a window of {window_bp} bases is not a multiple of the {trunk.bin_bp} of a token"
            )
        self._trunk = trunk
        self._codes_S = codes_S
        self._window_bp = window_bp
        tokens, edge = window_bp // trunk.bin_bp, trunk.edge_tokens
        self._interior = range(edge, max(edge, tokens - edge))
        self._before: tuple[int, torch.Tensor] | None = None

    def window(self, start: int) -> torch.Tensor:
        """Compute tokens_KD of the window that begins at base `start` of the stretch.

        The tensor is the caller's own. Raises ValueError for a window that leaves the stretch.
        """
        if not 0 <= start <= len(self._codes_S) - self._window_bp:
            raise ValueError(
                f"a window of {self._window_bp} bases from {start} on leaves a stretch of "
                f"{len(self._codes_S)}"
            )
        codes_BL = self._codes_S[None, start : start + self._window_bp]
        if not self._interior:
            return self._trunk.tokens(codes_BL)[0]
        tokens, edge = self._window_bp // self._trunk.bin_bp, self._trunk.edge_tokens
        inside_KD = self._inside(start)
        self._before = (start, inside_KD)
        left_KD = self._trunk.tokens(codes_BL, range(edge))[0]
        right_KD = self._trunk.tokens(codes_BL, range(tokens - edge, tokens))[0]
        return torch.cat([left_KD, inside_KD, right_KD])

    def _inside(self, start: int) -> torch.Tensor:
        """Compute the tokens that see no padding, but for those that the window before had."""
        count = len(self._interior)
        shared = self._shared(start)
        if shared is None:
            return self._new(start, range(count))
        shift, kept_KD = shared
        if shift >= 0:
            return torch.cat([kept_KD[shift:], self._new(start, range(count - shift, count))])
        return torch.cat([self._new(start, range(-shift)), kept_KD[:shift]])

    def _shared(self, start: int) -> tuple[int, torch.Tensor] | None:
        """Find how many tokens the window moved, if any of those before are in it."""
        if self._before is None:
            return None
        before, kept_KD = self._before
        shift, off = divmod(start - before, self._trunk.bin_bp)
        return None if off or abs(shift) >= len(kept_KD) else (shift, kept_KD)

    def _new(self, start: int, which: range) -> torch.Tensor:
        """Compute some of the interior, counted from its first token."""
        first = start + (self._interior.start + which.start) * self._trunk.bin_bp
        return self._trunk.inside(self._codes_S, first, len(which))
