"""Gaps read from a FASTA: every run of a hundred unknown bases, wherever blocks end."""

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.dataset.gaps import find_gaps
from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

pieces = st.lists(
    st.tuples(st.sampled_from("ACnN"), st.sampled_from([1, 50, 99, 100, 101, 250])),
    min_size=1,
    max_size=10,
)


@settings(deadline=None, max_examples=50)
@given(pieces, st.sampled_from([64, 100, 1000, 10_000]))
def test_runs_are_those_of_a_search_in_the_text(tmp_path_factory, parts, block_bp: int) -> None:
    text = "".join(letter * count for letter, count in parts)
    path: Path = tmp_path_factory.mktemp("gaps") / "g.fa"
    path.write_text(f">other\nACGT\n>c\n{text}\n")
    expected = [Interval("c", *found.span()) for found in re.finditer("[Nn]{100,}", text)]
    with Genome.open(path) as genome:
        assert find_gaps(genome, ["c"], block_bp=block_bp) == expected
        assert find_gaps(genome, ["other"], block_bp=block_bp) == []
