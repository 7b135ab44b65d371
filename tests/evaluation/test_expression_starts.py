"""Every start of a gene is used or has its first reason; a gene counts whole or not at all."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.dataset.coverage import Stretches
from cisray.evaluation import expression_starts as starts
from cisray.evaluation.bin_masks import BinMask
from cisray.genome.gene_starts import GeneStart, GeneStarts
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

BIN = 10
LENGTHS = {"c": 205, "d": 100}


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    """Bases 100 to 115 of c are unknown: half of bins 9 to 11 from there on, and one more."""
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    c = "A" * 100 + "N" * 16 + "A" * 89
    path.write_text(f">c\n{c}\n>d\n{'C' * 100}\n")
    return Genome.open(path)


def every() -> BinMask:
    mask = BinMask.none(LENGTHS, BIN)
    for chrom in LENGTHS:
        mask.add(chrom, 0, 99)
    return mask


def without(chrom: str, low: int, high: int) -> BinMask:
    hole = BinMask.none(LENGTHS, BIN)
    hole.add(chrom, low, high)
    return every().minus(hole)


def told(genome: Genome, rows: list[tuple[str, str, int]], **rules: object) -> list[str]:
    """Statuses of starts (gene, chromosome, base), in their order."""
    found = GeneStarts(
        tuple(
            GeneStart(gene, Interval(chrom, base, base + 1), "k", line)
            for line, (gene, chrom, base) in enumerate(rows)
        ),
        (),
    )
    nothing = BinMask.none(LENGTHS, BIN)
    given = {
        "genome": genome, "kinds": (), "regions": None, "measured": every(),
        "predicted": {"m": every()}, "skipped": {"m": nothing}, **rules,
    }  # fmt: skip
    frame = starts.start_frame(found, BIN)
    return starts.with_status(frame, starts.StartRules(**given))["status"].to_list()


def test_bins_beyond_either_end_are_none(genome: Genome) -> None:
    """Bin 0 has no neighbour; of c's 205 bases bin 20 is not whole, so that bin 19 has none."""
    rows = [("A", "c", 9), ("B", "c", 10), ("C", "c", 189), ("D", "c", 190), ("E", "d", 89)]
    out = starts.BEYOND
    assert told(genome, rows) == [out, starts.USED, starts.USED, out, starts.USED]


def test_half_unknown_is_still_known(genome: Genome) -> None:
    """Bins 9 to 11 of base 105 are 90 to 120, of which 16 of 30 are N; 100 to 130 as well."""
    rows = [("A", "c", 105), ("B", "c", 115), ("C", "c", 125), ("D", "c", 95)]
    out = starts.UNKNOWN_BASES
    # Bins 11 to 13 of C have 6 N; bins 8 to 10 of D have 10.
    assert told(genome, rows) == [out, out, starts.USED, starts.USED]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"predicted": {"m": without("c", 4, 5)}}, "m: not in the run"),
        (
            {"predicted": {"m": without("c", 4, 5)}, "skipped": {"m": every()}},
            "m: tile without A, C, G, T",
        ),
        ({"measured": without("c", 4, 5)}, starts.NOT_MEASURED),
        ({"regions": without("c", 4, 5)}, starts.OUTSIDE),
        ({"unmappable": Stretches.of([Interval("c", 40, 41)])}, starts.UNMAPPABLE),
    ],
)
def test_one_bin_that_lacks_leaves_out_the_starts_around_it(
    genome: Genome, rules: dict[str, object], reason: str
) -> None:
    """Bin 4 is a neighbour of starts in bins 3 to 5, and of no others."""
    rows = [(f"G{base}", "c", base) for base in (29, 30, 49, 59, 60)]
    expected = [starts.USED, reason, reason, reason, starts.USED]
    assert told(genome, rows, **rules) == expected


def test_a_gene_counts_whole_or_not_at_all(genome: Genome) -> None:
    rows = [("A", "c", 50), ("A", "c", 50), ("A", "c", 5), ("B", "c", 60), ("B", "d", 60)]
    assert told(genome, rows) == [
        starts.OTHER_START, starts.SAME, starts.BEYOND,
        starts.TWO_CHROMOSOMES, starts.TWO_CHROMOSOMES,
    ]  # fmt: skip


def test_other_types_of_genes_do_not_count(genome: Genome) -> None:
    assert told(genome, [("A", "c", 50)], kinds=("other",)) == [starts.OTHER_KIND]
    assert told(genome, [("A", "c", 50)], kinds=("k", "other")) == [starts.USED]


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("cd"), st.integers(0, 99))))
@settings(max_examples=60, deadline=None)
def test_starts_in_are_starts_used_and_starts_with_a_reason(genome: Genome, rows) -> None:
    status = told(genome, rows, predicted={"m": without("c", 6, 7)})
    assert len(status) == len(rows)
    assert all(status)
    used = {row[0] for row, why in zip(rows, status, strict=True) if why == starts.USED}
    harmless = {starts.USED, starts.SAME}
    for (gene, _, _), why in zip(rows, status, strict=True):
        assert gene not in used or why in harmless


def test_reasons_for_genes_reach_all_their_starts(genome: Genome, tmp_path: Path) -> None:
    found = GeneStarts(
        tuple(GeneStart("A", Interval("c", base, base + 1), "", base) for base in (20, 40)), ()
    )
    rules = starts.StartRules(genome, (), None, every(), {}, {})
    frame = starts.with_status(starts.start_frame(found, BIN), rules)
    told_now = starts.leave_out_genes(frame, {"A": "other: no value", "B": "x"})
    assert starts.counts_of(told_now) == {"other: no value": 2}
