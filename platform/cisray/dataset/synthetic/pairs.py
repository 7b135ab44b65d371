"""Element-gene pairs of a made-up genome: what a screen that silences elements would find.

Knows contacts and activities (`expression`) and places without elements; knows no file format. Two
benchmarks: enhancers against places at the same distance that hold nothing (decoys), and all
enhancers that reach a gene, those that matter to it and those that do not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.synthetic.expression import ALONE, Regulation, State
from cisray.dataset.synthetic.layout import Element, Gene, SyntheticGenome
from cisray.dataset.synthetic.motifs import Floats
from cisray.dataset.synthetic.settings import CELLS

REGULATES = 0.1  # share of a gene's expression that goes with the enhancer
NOTHING = 0.02  # below this, an enhancer does not regulate; in between it is left out as weak
_TOLERANCE = 0.05  # of a decoy's distance from the start, against that of its enhancer
_TRIES = 200


@dataclass(frozen=True, slots=True)
class Pair:
    """A gene, an element or a decoy (0-based half-open), and what silencing it does in a cell type.

    `loss` is the share of the gene's expression that is lost, in [0, 1).
    """

    gene: Gene
    name: str
    start: int
    end: int
    cell: str
    loss: float

    @property
    def regulates(self) -> bool:
        """Tell whether enough is lost to call it regulation."""
        return self.loss >= REGULATES

    @property
    def is_clear(self) -> bool:
        """Tell whether it is one or the other: neither is said of a weak enhancer."""
        return self.regulates or self.loss < NOTHING


def losses(regulation: Regulation, state: State) -> NDArray[np.float64]:
    """Compute the share of each gene's expression that goes with each enhancer, (G, E, C).

    contact x activity over η and the sum of these over all enhancers; 0 beyond the reach.
    """
    each_GEC = regulation.contact_GE[:, :, None] * state.activity_EC
    share_GEC: Floats = each_GEC / (ALONE + each_GEC.sum(axis=1, keepdims=True))
    return share_GEC


def reaching_pairs(genome: SyntheticGenome, regulation: Regulation, state: State) -> list[Pair]:
    """Pair every gene with every enhancer that reaches it, in every cell type."""
    loss_GEC = losses(regulation, state)
    return [
        _pair(genome.genes[gene], genome.elements[element], name, loss_GEC[gene, element, cell])
        for cell, name in enumerate(CELLS)
        for gene, element in np.argwhere(regulation.contact_GE > 0).tolist()
    ]


def with_decoys(genome: SyntheticGenome, pairs: list[Pair]) -> list[Pair]:
    """Set beside every regulating pair a place as wide and as far from the start, without elements.

    On either side, within 5 % of the distance; places of two pairs may overlap. A pair for which no
    place is found is left out.
    """
    generator = genome.settings.generator("decoys of pairs")
    taken = {chrom: _marked(genome, chrom) for chrom in genome.codes}
    return [
        member
        for pair in pairs
        if pair.regulates
        for member in _matched(pair, taken[pair.gene.chrom], generator)
    ]


def _pair(gene: Gene, element: Element, cell: str, loss: float) -> Pair:
    return Pair(gene, element.name, element.start, element.end, cell, float(loss))


def _marked(genome: SyntheticGenome, chrom: str) -> NDArray[np.bool_]:
    """Mark the bases of a chromosome that lie in an element."""
    marked_L = np.zeros(len(genome.codes[chrom]), dtype=np.bool_)
    for element in genome.elements:
        if element.chrom == chrom:
            marked_L[element.start : element.end] = True
    return marked_L


def _matched(
    pair: Pair, marked_L: NDArray[np.bool_], generator: np.random.Generator
) -> Iterator[Pair]:
    width = pair.end - pair.start
    distance = abs((pair.start + pair.end) // 2 - pair.gene.tss)
    for _ in range(_TRIES):
        away = distance * generator.uniform(1 - _TOLERANCE, 1 + _TOLERANCE)
        middle = pair.gene.tss + round(float(away)) * int(generator.choice([-1, 1]))
        start, end = middle - width // 2, middle - width // 2 + width
        if start >= 0 and end <= len(marked_L) and not marked_L[start:end].any():
            yield pair
            yield Pair(pair.gene, f"decoy of {pair.name}", start, end, pair.cell, 0.0)
            return
