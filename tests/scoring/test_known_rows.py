"""Alleles that earlier runs have scored: linked to the right row, and all others planned."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plans import cutting_of, files_in, rows_of, small_genome

from cisray.errors import ResultsError
from cisray.genome.alleles import Allele, Reject
from cisray.genome.reference import Genome
from cisray.genome.variant import Variant
from cisray.genome.windows import Window
from cisray.scoring import known_rows, planned, variant_rows
from cisray.scoring.known_rows import NotKnown
from cisray.scoring.planned import PlanFiles, Planned
from cisray.scoring.variant_rows import plan_variants
from cisray.store.keyed_plan import KeyedPlan
from cisray.store.sorting import RowSorter
from cisray_schemas import Reason

# chr10 stands before chr2, as in many FASTA files: its order is not that of the names.
CHROMOSOMES = ("chr10", "chr2", "chrM")
Key = tuple[str, int, str, str]
# A row that an earlier run has: what it is of, in which run, and as which entry.
Known = tuple[Key, str, int]
Stream = list[list[Known]]


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Genome:
    return small_genome(
        tmp_path_factory.mktemp("genome"), dict.fromkeys(CHROMOSOMES, "ACGTTGCA" * 10)
    )


def in_order(key: Key) -> tuple[int, int, str, str]:
    return (CHROMOSOMES.index(key[0]), *key[1:])


def entries_of(keys: list[Key | None]) -> list[Allele | Reject]:
    """Alleles as a file gives them; None is one that is rejected."""
    return [
        Reject(n, n + 2, 0, "chr9", 5, "", "A", "C", Reason.UNKNOWN_CHROMOSOME, "no chr9")
        if key is None
        else Allele(n, n + 2, 0, key[0], key[1], f"rs{n}", key[2], key[3], Variant(*key))
        for n, key in enumerate(keys)
    ]


def tables(stream: Stream) -> list[pa.Table]:
    names = ("chrom", "pos", "ref", "alt", "since_run", "since_variant")
    kinds = (pa.string(), pa.int32(), pa.string(), pa.string(), pa.string(), pa.int64())
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    found = []
    for rows in filter(None, stream):
        told = [dict(zip(names, (*key, run, number), strict=True)) for key, run, number in rows]
        found.append(pa.Table.from_pylist(told, schema))
    return found


def plan(
    keys: list[Key | None], streams: list[Stream], genome: Genome, folder: Path, **options: int
) -> tuple[Planned, NotKnown]:
    folder.mkdir(exist_ok=True)
    plain = files_in(folder)
    files = PlanFiles(plain.plan, plain.rejects, plain.source, folder, folder / "linked.parquet")
    cutting = cutting_of(genome, **options)
    rows = NotKnown([iter(tables(stream)) for stream in streams], files, cutting)
    entries = entries_of(keys)
    return plan_variants(entries, files, cutting, fits=lambda _: True, rows=rows), rows


def links_of(done: Planned) -> list[dict]:
    links = done.links
    assert links is not None
    return [row for shard in links.spans for row in links.entries(shard).to_pylist()]


def key_of(row: dict) -> Key:
    return row["chrom"], row["pos"], row["ref"], row["alt"]


alleles = st.tuples(
    st.sampled_from(CHROMOSOMES),
    st.integers(1, 4),
    st.sampled_from(["A", "AC", "C"]),
    st.sampled_from(["G", "GT"]),
)


@st.composite
def streams_of(draw: st.DrawFn, number: int) -> Stream:
    """The rows of one earlier run in order, some twice, cut into tables anywhere."""
    keys = sorted(draw(st.lists(alleles, max_size=14)), key=in_order)
    rows: list[Known] = [
        (key, f"run{number}{draw(st.sampled_from('ab'))}", 100 * number + place)
        for place, key in enumerate(keys)
    ]
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    return [rows[i:j] for i, j in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


def same_key_everywhere(count: int) -> Stream:
    return [[(("chr10", 2, "A", "G"), "run0a", n)] for n in range(count)]


def same_key_in_one_table(count: int) -> Stream:
    return [[row for rows in same_key_everywhere(count) for row in rows]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(alleles, st.none()), max_size=20),
    st.integers(0, 3).flatmap(lambda count: st.tuples(*map(streams_of, range(count)))),
    st.sampled_from([1, 300, 1 << 25]),
    st.integers(1, 4),
)
@example([("chr10", 2, "A", "G")] * 3, (same_key_everywhere(3),), 1, 1)
@example([("chr10", 2, "A", "G")] * 2, (same_key_in_one_table(3),), 1, 4)
@example([("chr2", 2, "A", "G"), ("chr10", 3, "A", "G")], (same_key_everywhere(1),), 1, 1)
def test_each_allele_is_linked_to_the_first_row_that_is_of_it_or_planned(
    genome: Genome,
    tmp_path_factory: pytest.TempPathFactory,
    keys: list[Key | None],
    streams: tuple[Stream, ...],
    piece_bytes: int,
    shard_rows: int,
) -> None:
    first_of: dict[Key, tuple[str, int]] = {}
    for stream in streams:
        for key, run, number in (row for rows in stream for row in rows):
            first_of.setdefault(key, (run, number))
    folder = tmp_path_factory.getbasetemp() / "known"
    with pytest.MonkeyPatch.context() as patch:
        sorter = partial(RowSorter, piece_bytes=piece_bytes, block_bytes=piece_bytes)
        patch.setattr(variant_rows, "RowSorter", sorter)
        patch.setattr(variant_rows, "_BATCH_ENTRIES", 2)
        patch.setattr(known_rows, "MAX_ROWS", shard_rows)
        done, rows = plan(keys, list(streams), genome, folder)
    links, planned_rows = links_of(done), rows_of(done)
    asked = {n: key for n, key in enumerate(keys) if key is not None}
    expected = {n: first_of[key] for n, key in asked.items() if key in first_of}
    assert {row["variant"]: (row["since_run"], row["since_variant"]) for row in links} == expected
    assert {row["variant"] for row in planned_rows} == asked.keys() - expected.keys()
    assert len(links) + len(planned_rows) == len(asked)
    assert (done.entries, done.linked) == (len(keys), len(expected))
    assert rows.linked_to == {run for run, _ in expected.values()}
    # In the order of the plan, and with what the file says of each.
    order = [(*in_order(key_of(row)), row["variant"]) for row in links]
    assert order == sorted(order)
    for row in links:
        number = row["variant"]
        assert key_of(row) == asked[number]
        assert (row["id"], row["record"], row["line"]) == (f"rs{number}", number, number + 2)
    assert done.links is not None
    assert max((span.rows for span in done.links.spans.values()), default=0) <= shard_rows


def test_a_link_differs_from_a_row_of_the_plan_by_nothing_but_the_run(
    genome: Genome, tmp_path: Path
) -> None:
    """All columns, and the bases that the window lacks at the ends of a chromosome."""
    keys = [("chr2", pos, "A", "G") for pos in (1, 30, 80)]
    linked, _ = plan(keys, [[[(key, "old", 7) for key in keys]]], genome, tmp_path / "linked")
    planned_all, _ = plan(keys, [], genome, tmp_path / "planned")
    since = {"since_run": "old", "since_variant": 7}
    assert links_of(linked) == [row | since for row in rows_of(planned_all)]
    spec = cutting_of(genome).spec
    for row in links_of(linked):
        window = Window.placed(Variant(*key_of(row)).interval, spec, "grid").input
        assert row["missing_bp"] == sum(
            not 0 <= base < 80 for base in range(window.start, window.end)
        )
    assert [row["missing_bp"] > 0 for row in links_of(linked)] == [True, False, True]


def test_neither_pieces_nor_tables_change_the_links(
    genome: Genome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[Key | None] = [
        (chrom, pos, "A", "G") for pos in range(1, 9) for chrom in CHROMOSOMES
    ]
    known = [(key, "old", n) for n, key in enumerate(sorted(filter(None, keys), key=in_order))]
    whole, _ = plan(keys, [[known]], genome, tmp_path / "whole")
    monkeypatch.setattr(variant_rows, "RowSorter", partial(RowSorter, piece_bytes=1, block_bytes=1))
    pieces, _ = plan(keys, [[[row] for row in known]], genome, tmp_path / "pieces")
    assert whole.links is not None
    assert pieces.links is not None
    assert whole.links.sha256 == pieces.links.sha256
    assert (whole.linked, whole.scored) == (24, 0)
    assert whole.plan.num_shards == 0


def test_a_lost_link_is_an_error(
    genome: Genome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[Key | None] = [("chr2", pos, "A", "G") for pos in (1, 2, 3)]
    known = [(("chr2", pos, "A", "G"), "old", pos) for pos in (1, 2)]

    class Short(KeyedPlan):
        @property
        def rows(self) -> int:
            return super().rows - (self.plan.name == "linked")

    monkeypatch.setattr(planned, "KeyedPlan", Short)
    with pytest.raises(ResultsError, match=r"3 entries, but 1 are planned, 1 linked and 0 reject"):
        plan(keys, [[known]], genome, tmp_path)


_PEAK = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from cisray.genome.windows import WindowSpec
from cisray.scoring.known_rows import NotKnown
from cisray.scoring.planned import PlanFiles
from cisray.scoring.shards import Cutting
folder, rows = Path(sys.argv[1]), int(sys.argv[2])
files = PlanFiles(folder / "p", folder / "r", "v", folder, folder / "linked")
cutting = Cutting({"chr1": 2 ** 30}, WindowSpec(), "grid", lambda *work: 1.0)
step = 10_000
texts = {"ref": ["A" * 40] * step, "alt": ["C"] * step}
def small(values):
    return pa.array(values, pa.int32())
def known():
    for first in range(0, rows, step):
        number = np.arange(first, first + step)
        yield pa.table({"chrom": ["chr1"] * step, "pos": small(number * 2 + 1), **texts,
                        "since_run": ["old"] * step, "since_variant": number})
def asked():
    for first in range(0, rows, step):
        number = np.arange(first, first + step)
        pos = number * 2 + 1 + number % 2
        yield pa.table({
            "rank": small([0] * step), "variant": number, "pos": small(pos), **texts,
            "id": [""] * step, "source_chrom": ["1"] * step, "source_pos": pos,
            "source_ref": texts["ref"], "source_alt": texts["alt"], "record": number,
            "line": number, "alt_index": small([0] * step)})
found = NotKnown([known(), known()], files, cutting)
new = sum(batch.num_rows for batch in found.multiply(asked()))
assert new == rows // 2, new
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mb(folder: Path, rows: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(folder), str(rows)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows_of_either_side(tmp_path: Path) -> None:
    """A million rows of some 150 bytes are 150 MB; of links 65,536 are held."""
    small, large = peak_mb(tmp_path, 150_000), peak_mb(tmp_path, 1_000_000)
    assert large - small < 30
