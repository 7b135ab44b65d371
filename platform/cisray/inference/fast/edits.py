"""Which tokens a set of edited sequences changes, and which to compute together.

Knows codes, tokens and the reach of a token; knows nothing of layers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

# Above this share of changed bases a difference is no longer small against its signal: a shifted
# sequence differs in three bases of four, a haplotype in one of some hundreds.
_DENSE = 1 / 8


@dataclass(frozen=True, slots=True)
class Group:
    """Tokens to compute together, for all of these lanes."""

    tokens: range
    lanes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Edits:
    """Tokens that lanes change, and perhaps some between them.

    `groups` hold those whose differences are to be carried through the trunk. `rewritten` are runs
    to be computed anew, lane by lane; every token of them is changed.
    """

    groups: tuple[Group, ...]
    rewritten: tuple[tuple[int, range], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """How tokens read bases: token k its own `bin_bp` and `reach_bp` more on either side."""

    bin_bp: int
    reach_bp: int

    @property
    def margin(self) -> int:
        """Tokens whose bases a run of tokens reads on one side of its own, rounded up."""
        return -(-self.reach_bp // self.bin_bp)


def find_edits(
    codes_L: torch.Tensor, alternates_BL: torch.Tensor, reading: Reading, *, longest: int
) -> Edits:
    """Find the tokens that each alternate changes, in runs of at most `longest` where sparse.

    A long run in which most bases differ is rewritten in one piece.
    """
    before_BL = _count_before(alternates_BL != codes_L)
    changed_BK = _changed_tokens(before_BL, reading)
    short: list[tuple[int, range]] = []
    rewritten: list[tuple[int, range]] = []
    for lane, changed_K in enumerate(changed_BK.cpu()):
        for run in _runs(changed_K.nonzero()[:, 0].tolist(), 2 * reading.margin, longest):
            if len(run) > longest and _share_changed(before_BL[lane], run, reading) > _DENSE:
                rewritten.append((lane, run))
            else:
                short += [(lane, run[at : at + longest]) for at in range(0, len(run), longest)]
    return Edits(tuple(_join(short, reading.margin)), tuple(rewritten))


def _count_before(differs_BL: torch.Tensor) -> torch.Tensor:
    """Count the changed bases before each base and, last, all of them: (B, L + 1)."""
    return torch.nn.functional.pad(differs_BL.cumsum(dim=1, dtype=torch.int32), (1, 0))


def _changed_tokens(before_BL: torch.Tensor, reading: Reading) -> torch.Tensor:
    """Tell which tokens read a changed base, (B, K)."""
    bases = before_BL.shape[1] - 1
    firsts = torch.arange(0, bases, reading.bin_bp, device=before_BL.device)
    stops = firsts + reading.bin_bp + reading.reach_bp
    read_from, read_to = (firsts - reading.reach_bp).clamp(min=0), stops.clamp(max=bases)
    return before_BL[:, read_to] > before_BL[:, read_from]


def _share_changed(before_L: torch.Tensor, run: range, reading: Reading) -> float:
    first, stop = run.start * reading.bin_bp, run.stop * reading.bin_bp
    return float(before_L[stop] - before_L[first]) / (stop - first)


def _runs(tokens: Sequence[int], gap: int, longest: int) -> list[range]:
    """Gather ascending tokens into runs of neighbours.

    Runs with at most `gap` tokens between them become one, because each would read those tokens'
    bases anyway; not if that makes it longer than `longest`.

    >>> _runs([3, 4, 9, 30], gap=4, longest=8)
    [range(3, 10), range(30, 31)]
    """
    if not tokens:
        return []
    breaks = [(left + 1, right) for left, right in pairwise(tokens) if right > left + 1]
    stops = [*(stop for stop, _ in breaks), tokens[-1] + 1]
    runs: list[range] = []
    for first, stop in zip([tokens[0], *(start for _, start in breaks)], stops, strict=True):
        if runs and first - runs[-1].stop <= gap and stop - runs[-1].start <= longest:
            runs[-1] = range(runs[-1].start, stop)
        else:
            runs.append(range(first, stop))
    return runs


def _join(runs: Iterable[tuple[int, range]], slack: int) -> list[Group]:
    """Let lanes whose runs nearly coincide share one range of tokens.

    A group is at most `slack` tokens longer than its first run.

    >>> _join([(0, range(7, 12)), (1, range(8, 13)), (2, range(40, 45))], slack=3)
    [Group(tokens=range(7, 13), lanes=(0, 1)), Group(tokens=range(40, 45), lanes=(2,))]
    """
    groups: list[Group] = []
    limit = 0
    for lane, run in sorted(runs, key=lambda item: (item[1].start, -len(item[1]), item[0])):
        stop = max(run.stop, groups[-1].tokens.stop) if groups else run.stop
        if groups and stop - groups[-1].tokens.start <= limit:
            last = groups[-1]
            lanes = last.lanes if lane in last.lanes else (*last.lanes, lane)
            groups[-1] = Group(range(last.tokens.start, stop), lanes)
        else:
            groups.append(Group(run, (lane,)))
            limit = len(run) + slack
    return groups
