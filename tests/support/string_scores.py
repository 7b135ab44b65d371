"""Scores of variants by their definition: the chromosome's text edited, two passes, sums over bins.

Knows nothing of cisray but the network itself, which is run in float64, so that what is subtracted
here is the difference to some 1e-12 of the signal. Windows, alleles, indels and statistics are
written out anew, with string slices and numpy.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import torch

import cisray

OTHER = str.maketrans("ACGT", "TGCA")


def texts_of(fasta: Path) -> dict[str, str]:
    """Read the chromosomes of a plain FASTA, in upper case."""
    records = fasta.read_text().split(">")[1:]
    split = (record.partition("\n") for record in records)
    return {head.split()[0]: text.replace("\n", "").upper() for head, _, text in split}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How variants are looked at; the defaults are those of the command."""

    placement: str = "centered"
    policy: str = "stitch"
    bins: int | None = None
    rc: bool = False
    shifts: tuple[int, ...] = (0,)

    @property
    def members(self) -> Iterator[tuple[bool, int]]:
        return product((False, True) if self.rc else (False,), self.shifts)


@dataclass
class StringScores:
    """Scores from the texts of chromosomes and a model file."""

    texts: dict[str, str]
    model: Path
    head: str = "human"
    _known: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network = copy.deepcopy(cisray.load_model(self.model)).double().eval()
        self.length, self.bin = self.network.input_bp, self.network.bin_bp
        self.num_bins = self.network.target_bins
        self.crop = (self.length - self.num_bins * self.bin) // 2

    def predict(self, window: str) -> np.ndarray:
        """Run the network on a window of letters: (N, T) float64."""
        assert len(window) == self.length
        if window not in self._known:
            letters = np.frombuffer(window.encode(), np.uint8)
            onehot_LA = letters[:, None] == np.frombuffer(b"ACGT", np.uint8)
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # more only get in one another's way
            with torch.inference_mode():
                pred = self.network(torch.from_numpy(onehot_LA[None]).double(), head=self.head)
            torch.set_num_threads(threads)
            self._known[window] = pred[0].numpy()
        return self._known[window]

    def start(self, pos: int, placement: str) -> int:
        """Place the input of a variant at `pos` (1-based); its first base is base L/2 - 1."""
        centred = (pos - 1) - (self.length // 2 - 1)
        if placement == "centered":
            return centred
        below, beyond = divmod(centred, self.bin)
        return self.bin * (below + (1 if beyond > self.bin / 2 else 0))

    def missing(self, chrom: str, pos: int, placement: str) -> int:
        """Count the bases of the window that no chromosome has."""
        start, end = self.start(pos, placement), len(self.texts[chrom])
        return sum(not 0 <= base < end for base in range(start, start + self.length))

    def scores(self, variant: tuple[str, int, str, str], look: Look) -> dict[str, np.ndarray]:
        """Compute every statistic, and its spread over the members, for all tracks."""
        chosen = slice(0, self.num_bins)
        if look.bins is not None:
            middle = self.num_bins // 2
            chosen = slice(middle - look.bins // 2, middle + look.bins // 2)
        pairs = [
            tuple(x[chosen] for x in self._member(variant, look, *member))
            for member in look.members
        ]
        mean = [np.mean([pair[i] for pair in pairs], axis=0) for i in (0, 1)]
        found = statistics(*mean)
        each = [statistics(*pair) for pair in pairs]
        spreads = {f"{name}_sd": np.std([one[name] for one in each], axis=0) for name in found}
        return found | spreads

    def _member(
        self, variant: tuple[str, int, str, str], look: Look, reverse: bool, shift: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict the reference and the difference of all target bins, as one member reads them."""
        chrom, pos, ref, alt = variant
        # No window reads further than that; where the chromosome ends before, so does the text.
        cut = max(0, pos - 1 - 3 * self.length)
        text = self.texts[chrom][cut : pos + len(ref) + 3 * self.length]
        first = pos - 1 - cut
        assert text[first : first + len(ref)] == ref, variant
        changed = text[:first] + alt + text[first + len(ref) :]
        start = self.start(pos, look.placement) + shift - cut
        moved = len(ref) - len(alt)

        def read(text: str, start: int) -> np.ndarray:
            pad = "N" * (2 * self.length)
            at = start + len(pad)
            window = (pad + text + pad)[at : at + self.length]
            if not reverse:
                return self.predict(window)
            return self.predict(window[::-1].translate(OTHER))[::-1]

        reference = read(text, start)
        left = read(changed, start) - reference
        if moved == 0 or look.policy == "left":
            return reference, left
        right = read(changed, start - moved) - reference
        own = own_bases(text, first, ref, alt, reach=2 * self.length)
        return reference, self._stitched(left, right, own, start)

    def _stitched(
        self, left: np.ndarray, right: np.ndarray, own: tuple[int, int], start: int
    ) -> np.ndarray:
        if own[0] <= start:
            return right
        if own[1] >= start + self.length:
            return left
        result = np.empty_like(left)
        for number in range(self.num_bins):
            begin = start + self.crop + number * self.bin
            if begin + self.bin <= own[0]:
                result[number] = left[number]
            elif begin >= own[1]:
                result[number] = right[number]
            else:
                result[number] = (left[number] + right[number]) / 2
        return result


def own_bases(text: str, first: int, ref: str, alt: str, *, reach: int) -> tuple[int, int]:
    """Find the bases that an indel may be said to change, by trying every place within reach."""
    changed = text[:first] + alt + text[first + len(ref) :]
    size = abs(len(ref) - len(alt))
    near = range(max(0, first - reach), min(len(text), first + reach) + 1)
    if len(ref) > len(alt):
        places = [i for i in near if changed[:i] == text[:i] and changed[i:] == text[i + size :]]
        bases = [(i, i + size) for i in places]
    else:
        places = [i for i in near if changed[:i] == text[:i] and changed[i + size :] == text[i:]]
        bases = [(i - 1, i + 1) for i in places]
    if not bases:  # bases replaced by another number: without what both alleles share at their ends
        while ref and alt and ref[-1] == alt[-1]:
            ref, alt = ref[:-1], alt[:-1]
        while ref and alt and ref[0] == alt[0]:
            ref, alt, first = ref[1:], alt[1:], first + 1
        bases = [(first, first + len(ref))]
    return min(base[0] for base in bases), max(base[1] for base in bases)


def statistics(ref: np.ndarray, difference: np.ndarray) -> dict[str, np.ndarray]:
    """Compute all nine, as they are defined, of a reference and a difference (N, T)."""
    alt = ref + difference
    lowest = np.percentile(ref, 25, axis=0)
    p, q = ((x + lowest) / (x + lowest).sum(0) for x in (ref, alt))
    largest = np.abs(difference).argmax(0)
    return {
        "REF": ref.sum(0),
        "ALT": alt.sum(0),
        "SAD": alt.sum(0) - ref.sum(0),
        "SADR": np.log2(alt.sum(0) + 1) - np.log2(ref.sum(0) + 1),
        "logSAD": (np.log2(alt + 1) - np.log2(ref + 1)).sum(0),
        "SAX": difference[largest, np.arange(ref.shape[1])],
        "D1": np.abs(difference).sum(0),
        "D2": np.sqrt((difference**2).sum(0)),
        "JS": ((p * np.log(p / q)).sum(0) + (q * np.log(q / p)).sum(0)) / 2,
    }


NINE = ("REF", "ALT", "SAD", "SADR", "logSAD", "SAX", "D1", "D2", "JS")


def assert_canonical(
    text: str, variant: tuple[int, str, str], source: tuple[int, str, str]
) -> None:
    """Hold a normalised variant against what defines one: same sequence, left-most, shortest."""
    (pos, ref, alt), (given_pos, given_ref, given_alt) = variant, source
    low, high = min(pos, given_pos) - 1, max(pos + len(ref), given_pos + len(given_ref)) - 1

    def written(pos: int, ref: str, alt: str) -> str:
        assert text[pos - 1 : pos - 1 + len(ref)] == ref, (pos, ref)
        return text[low : pos - 1] + alt + text[pos - 1 + len(ref) : high]

    assert written(pos, ref, alt) == written(given_pos, given_ref, given_alt)
    assert ref
    assert alt
    assert pos == 1 or ref[-1] != alt[-1] or len(ref) == len(alt) == 1, variant
    assert min(len(ref), len(alt)) == 1 or ref[0] != alt[0], variant
