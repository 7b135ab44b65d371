"""Linkage: haplotypes that copy founders, block by block, each block with its own genealogy.

Knows positions along one chromosome; knows nothing of bases or effects. A founder's alleles in a
block follow from a coalescent tree (Kingman 1982): a variant is a mutation on a branch, and the
founders below it carry it. A haplotype is a mosaic of founders that changes between blocks only
(after Li & Stephens 2003).
"""

import numpy as np
from numpy.typing import NDArray

from cisray.dataset.synthetic.motifs import Floats
from cisray.dataset.synthetic.settings import SyntheticSettings

Carriers = NDArray[np.bool_]

_TREES = 1_000  # drawn for a block before giving up


def tree(generator: np.random.Generator, leaves: int) -> tuple[Carriers, Floats]:
    """Draw a coalescent tree: the leaves below each branch, (branches, leaves), and its length.

    While k lineages are left, two of them meet after an exponential time of mean 2 / (k (k - 1)).
    """
    below = [np.eye(leaves, dtype=bool)[leaf] for leaf in range(leaves)]
    lengths = np.zeros(2 * leaves - 2)
    alive = list(range(leaves))
    while len(alive) > 1:
        count = len(alive)
        lengths[alive] += generator.exponential(2.0 / (count * (count - 1)))
        first, second = generator.choice(count, 2, replace=False)
        one, other = alive[first], alive[second]
        alive = [lineage for lineage in alive if lineage not in (one, other)]
        alive.append(len(below))
        below.append(below[one] | below[other])
    return np.array(below[:-1]), lengths


def copy_founders(
    generator: np.random.Generator, start_V: NDArray[np.int64], settings: SyntheticSettings
) -> NDArray[np.uint8]:
    """Draw the haplotypes of the variants at ascending starts of one chromosome, (V, H).

    H is two per individual. Every variant has a minor allele of at least `min_maf`; the allele that
    a mutation brings is the alternate.
    """
    count = 2 * settings.individuals
    found_VH = np.zeros((len(start_V), count), np.uint8)
    copied_H = generator.integers(0, settings.founders, count)
    for members in _blocks(generator, start_V, settings):
        switching_H = generator.random(count) < settings.switch
        copied_H = np.where(switching_H, generator.integers(0, settings.founders, count), copied_H)
        if len(members):
            carried_XH, length_X = _common_branches(generator, copied_H, settings)
            branch_V = generator.choice(len(length_X), len(members), p=length_X / length_X.sum())
            found_VH[members] = carried_XH[branch_V]
    return found_VH


def _common_branches(
    generator: np.random.Generator, copied_H: NDArray[np.int64], settings: SyntheticSettings
) -> tuple[Carriers, Floats]:
    """Draw a tree and keep its branches whose mutations are common among the haplotypes."""
    for _ in range(_TREES):
        below_XF, length_X = tree(generator, settings.founders)
        carried_XH = below_XF[:, copied_H]
        share_X = carried_XH.mean(axis=1)
        common_X = np.minimum(share_X, 1 - share_X) >= settings.min_maf
        if common_X.any():
            return carried_XH[common_X], length_X[common_X]
    raise ValueError(f"no branch of {_TREES} trees is as common as min_maf {settings.min_maf}")


def _blocks(
    generator: np.random.Generator, start_V: NDArray[np.int64], settings: SyntheticSettings
) -> list[NDArray[np.intp]]:
    """Cut a chromosome into blocks of exponential length; give the variants in each, in order."""
    end = int(start_V[-1]) if len(start_V) else 0
    cuts = [0.0]
    while cuts[-1] <= end:
        cuts.append(cuts[-1] + generator.exponential(settings.block_bp))
    block_V = np.searchsorted(np.array(cuts), start_V, side="right")
    return [np.flatnonzero(block_V == block) for block in range(1, len(cuts))]
