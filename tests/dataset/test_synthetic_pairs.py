"""Pairs of a made-up genome: losses by deleting enhancers, and decoys that hold nothing."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cisray.dataset.synthetic import SyntheticSettings
from cisray.dataset.synthetic.expression import Regulation, State, activity, read_occupancy
from cisray.dataset.synthetic.files import write_pairs
from cisray.dataset.synthetic.layout import SyntheticGenome, lay_out
from cisray.dataset.synthetic.pairs import NOTHING, REGULATES, Pair, reaching_pairs, with_decoys
from cisray.dataset.synthetic.settings import CELLS
from cisray.evaluation.pairs import read_pairs

SETTINGS = SyntheticSettings(seed=8, chromosomes={"chr1": 120_000, "chr2": 58_009})


@pytest.fixture(scope="module")
def genome() -> SyntheticGenome:
    return lay_out(SETTINGS)


@pytest.fixture(scope="module")
def state(genome: SyntheticGenome) -> State:
    return Regulation.of(genome).state(read_occupancy(genome))


@pytest.fixture(scope="module")
def pairs(genome: SyntheticGenome, state: State) -> list[Pair]:
    return reaching_pairs(genome, Regulation.of(genome), state)


def test_a_loss_is_what_the_gene_lacks_without_the_enhancer(
    genome: SyntheticGenome, state: State, pairs: list[Pair]
) -> None:
    regulation = Regulation.of(genome)
    names = [element.name for element in genome.elements]
    promoters = [genome.genes[gene].promoter for gene in range(len(genome.genes))]
    activity_EC = activity(read_occupancy(genome))
    assert len(pairs) > 200
    for pair in pairs[:: len(pairs) // 50]:
        gene, cell = genome.genes.index(pair.gene), CELLS.index(pair.cell)
        contact_E = regulation.contact_GE[gene].copy()
        contact_E[names.index(pair.name)] = 0  # the enhancer is gone
        without = activity_EC[promoters[gene], cell] * (0.3 + contact_E @ activity_EC[:, cell])
        whole = state.expression_GC[gene, cell]
        assert pair.loss == pytest.approx(1 - without / whole)
        assert pair.regulates == (pair.loss >= 0.1)
        assert pair.is_clear == (pair.loss >= 0.1 or pair.loss < 0.02)


def test_every_enhancer_within_reach_is_paired_in_every_cell(
    genome: SyntheticGenome, pairs: list[Pair]
) -> None:
    expected = {
        (gene.name, element.name, cell)
        for gene in genome.genes
        for element in genome.elements
        for cell in CELLS
        if element.kind == "enhancer" and element.chrom == gene.chrom
        and abs((element.start + element.end) // 2 - gene.tss) <= SETTINGS.reach_bp
    }  # fmt: skip
    found = [(pair.gene.name, pair.name, pair.cell) for pair in pairs]
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_decoys_are_as_far_as_wide_and_empty(genome: SyntheticGenome, pairs: list[Pair]) -> None:
    matched = with_decoys(genome, pairs)
    assert len(matched) >= 40
    for pair, decoy in zip(matched[::2], matched[1::2], strict=True):
        assert pair.regulates
        assert decoy.name == f"decoy of {pair.name}"
        assert (decoy.gene, decoy.cell, decoy.loss) == (pair.gene, pair.cell, 0)
        assert decoy.end - decoy.start == pair.end - pair.start == SETTINGS.enhancer_bp
        far, near = (abs((p.start + p.end) // 2 - p.gene.tss) for p in (pair, decoy))
        assert abs(far - near) <= 0.05 * far + 1
        for element in genome.elements:
            apart = element.end <= decoy.start or element.start >= decoy.end
            assert apart or element.chrom != decoy.gene.chrom
    assert with_decoys(genome, pairs) == matched


def test_the_table_is_one_that_evaluations_read(pairs: list[Pair], tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    write_pairs(path, pairs)
    frame = read_pairs(path, "beta")
    assert frame.height == len(pairs)
    told = dict(frame["left_out"].value_counts().iter_rows())
    of_cell = [pair for pair in pairs if pair.cell == "beta"]
    weak = sum(NOTHING <= pair.loss < REGULATES for pair in of_cell)
    assert told == {
        "": len(of_cell) - weak,
        "other cell type": len(pairs) - len(of_cell),
        "connection not valid: weak": weak,
    }
    used = frame.filter(left_out="")
    keys = [(p.gene.chrom, p.start, p.end, p.gene.name, p.gene.tss) for p in of_cell if p.is_clear]
    assert used.select("chrom", "start", "end", "gene", "tss").rows() == keys
    assert used["regulated"].to_list() == [p.regulates for p in of_cell if p.is_clear]
    effects = pl.read_csv(path, separator="\t")["EffectSize"].to_numpy()
    np.testing.assert_allclose(effects, [-pair.loss for pair in pairs], rtol=1e-5)
