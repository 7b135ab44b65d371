import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cisray.errors import TrackError
from cisray.tracks import TrackSet
from cisray_schemas.tracks import TRACKS

HEADER = "index\tgenome\tidentifier\tfile\tclip\tscale\tsum_stat\tdescription"
ROWS = [
    "5313\t1\tENC1\t/x\t32\t2\tmean\tDNASE:liver, adult (27 years)",
    "5314\t1\tENC2\t/x\t32\t2\tmean\tDNASE:K562",
    "5315\t1\tENC3\t/x\t64\t\tsum\tCHIP:H3K27ac:K562 [rep1]",
    "5316\t1\tCNhs1\t/x\t384\t1\tsum\tCAGE:K562 ENCODE, biol_",
    "5317\t1\tCNhs2\t/x\t384\t1\tsum\tCAGE:liver, adult",
]


def write(folder: Path, rows: list[str] | None = None, header: str = HEADER) -> Path:
    path = folder / "targets.txt"
    path.write_text("\n".join([header, *(ROWS if rows is None else rows)]) + "\n")
    return path


@pytest.fixture
def mouse(tmp_path: Path) -> TrackSet:
    return TrackSet.read_table(write(tmp_path), "mouse", 5)


def picked(tracks: TrackSet, query: object) -> list[int]:
    return tracks.select(query).indices.tolist()  # type: ignore[arg-type]  # any query at all


def test_a_track_is_its_row_number_not_its_index(mouse: TrackSet) -> None:
    # The file's index column runs 5313..5317; the T axis has 0..4.
    assert mouse.indices.tolist() == [0, 1, 2, 3, 4]
    assert mouse.indices.dtype == np.int32
    assert mouse.columns == ("t0000", "t0001", "t0002", "t0003", "t0004")
    assert mouse.table["scale"].to_pylist() == [2.0, 2.0, None, 1.0, 1.0]
    assert mouse.table["clip"].to_pylist() == [32.0, 32.0, 64.0, 384.0, 384.0]
    assert mouse.by_assay() == {"DNASE": 2, "CHIP": 1, "CAGE": 2}
    assert len(mouse) == 5


def test_gzip_crlf_and_older_columns_read_the_same(mouse: TrackSet, tmp_path: Path) -> None:
    path = tmp_path / "targets.txt.gz"
    path.write_bytes(gzip.compress(("\r\n".join([HEADER, *ROWS])).encode()))
    assert TrackSet.read_table(path, "mouse") == mouse
    # pandas leaves the index unnamed; the older tables have no genome column, and another order.
    older = [row.split("\t") for row in ROWS]
    rows = ["\t".join([r[0], r[2], r[4], r[5], r[6], r[3], r[7]]) for r in older]
    header = "\tidentifier\tclip\tscale\tsum_stat\tfile\tdescription"
    assert TrackSet.read_table(write(tmp_path, rows, header), "mouse") == mouse


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (3, [3]),
        ("3", [3]),
        ("t0003", [3]),
        ("1-3", [1, 2, 3]),
        ("4, 0-1,t0000", [0, 1, 4]),
        ("CAGE", [3, 4]),
        ("cage", [3, 4]),
        ("assay:CAGE", [3, 4]),
        ("CNhs1", [3]),
        ("*K562*", [1, 2, 3]),
        ("cage:*k562*", [3]),
        ("*:K562", [1]),
        ("CAGE:K562 ENCODE, biol_", [3]),
        ("DNASE:liver, adult (27 years)", [0]),
        ("DNASE:liver, adult (?? years)", [0]),
        ("*[rep1]", [2]),
        ("re:^CAGE.*K562", [3]),
        ("re:K562$", [1]),
        (["CAGE", "0-1", 3], [0, 1, 3, 4]),
    ],
)
def test_queries(mouse: TrackSet, query: object, expected: list[int]) -> None:
    assert picked(mouse, query) == expected


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("K562", r"3 descriptions contain that text: try '\*K562\*'"),
        ("CNhs3", "Did you mean CNhs[12]"),
        ("CAG", "Did you mean CAGE"),
        ("t3", "chooses no track"),
        (5, "no track 5 here; there are 5 tracks, with indices from 0 to 4"),
        (-1, "no track -1 here"),
        ("2-99999999999999", "no track 99999999999999"),
        ("3-1", "ends before it starts"),
        ("CAGE,DNASE", "Commas join indices"),
        ("*[re]*", "chooses no track"),
        ("re:(", "not a regular expression"),
        ("re:^cage", "chooses no track"),
        ("assay:", "chooses no track"),
        ("", "chooses no track"),
        ([], "No query"),
        (["CAGE", "XYZ"], "'XYZ' chooses no track"),
    ],
)
def test_queries_that_choose_nothing_are_refused(mouse: TrackSet, query: object, said: str) -> None:
    with pytest.raises(TrackError, match=said):
        picked(mouse, query)


def test_a_selection_keeps_the_heads_indices_and_selects_again(mouse: TrackSet) -> None:
    liver = mouse.select("*liver*")
    assert liver.indices.tolist() == [0, 4]
    assert liver.columns == ("t0000", "t0004")
    assert liver.select(4).table["identifier"].to_pylist() == ["CNhs2"]
    with pytest.raises(TrackError, match="no track 1, 2, 3 here"):
        liver.select("0-4")
    assert liver.sha256 != mouse.sha256


def test_the_digest_covers_head_and_content(mouse: TrackSet, tmp_path: Path) -> None:
    assert TrackSet("human", mouse.table).sha256 != mouse.sha256
    other = [ROWS[0].replace("\t32\t", "\t33\t"), *ROWS[1:]]
    assert TrackSet.read_table(write(tmp_path, other), "mouse").sha256 != mouse.sha256
    chunked = pa.concat_tables([mouse.table.slice(0, 2), mouse.table.slice(2)])
    assert TrackSet("mouse", chunked).sha256 == mouse.sha256


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROWS[0], ROWS[2]], "targets.txt:3: index 5315 follows 5313"),
        ([ROWS[0], ROWS[0]], "targets.txt:3: index 5313 follows 5313"),
        ([ROWS[0].replace("5313", "x")], "targets.txt:2: index 'x' is not a whole number"),
        (
            [ROWS[0], ROWS[1].replace("\t32\t", "\t3,2\t")],
            "targets.txt:3: clip '3,2' is not a number",
        ),
        ([ROWS[0].replace("\t32\t", "\tinf\t")], "targets.txt:2: clip 'inf' is not finite"),
        ([ROWS[0], ROWS[1].replace("\t1\t", "\t0\t")], "targets.txt:3: genome 0 follows genome 1"),
        ([ROWS[0] + "\tmore"], "targets.txt:2 has 9 columns, but the header has 8"),
        ([ROWS[0], "", ROWS[1]], "targets.txt:3 has 1 columns"),
        ([], "targets.txt has a header but no tracks"),
    ],
)
def test_malformed_tables_are_refused_by_line(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(TrackError, match=said):
        TrackSet.read_table(write(tmp_path, rows), "mouse")


def test_tables_that_cannot_be_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match=r"targets.txt:1 has no column index"):
        TrackSet.read_table(write(tmp_path, header="i\tidentifier\tdescription"), "mouse")
    with pytest.raises(TrackError, match="lists 5 tracks, but the head mouse has 6"):
        TrackSet.read_table(write(tmp_path), "mouse", 6)
    with pytest.raises(TrackError, match="cannot be read"):
        TrackSet.read_table(tmp_path / "absent.txt", "mouse")
    cut = tmp_path / "cut.txt.gz"
    cut.write_bytes(gzip.compress("\n".join([HEADER, *ROWS]).encode())[:-20])
    with pytest.raises(TrackError, match="cannot be read"):
        TrackSet.read_table(cut, "mouse")
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(TrackError, match="has no column"):
        TrackSet.read_table(empty, "mouse")


def test_unnamed_knows_the_published_order() -> None:
    human, mouse = TrackSet.unnamed("human", 5313), TrackSet.unnamed("mouse", 1643)
    # targets_human.txt: 674 DNASE, 10 ATAC, 3,991 CHIP, 638 CAGE; sums to 5,313.
    assert human.by_assay() == {"DNASE": 674, "ATAC": 10, "CHIP": 3991, "CAGE": 638}
    assert human.select("ATAC").indices.tolist() == list(range(674, 684))
    assert human.select("CAGE:*") == human.select("4675-5312")
    assert human.select(4828).table["description"].to_pylist() == ["CAGE:track 4828"]
    assert human.select("human_4828").indices.tolist() == [4828]
    assert mouse.by_assay() == {"DNASE": 101, "ATAC": 127, "CHIP": 1058, "CAGE": 357}
    assert mouse.select("CAGE").indices[0] == 1286
    tiny = TrackSet.unnamed("human", 7)
    assert tiny.by_assay() == {"": 7}
    with pytest.raises(TrackError, match="chooses no track"):
        tiny.select("assay:")


def test_a_broken_table_cannot_become_a_track_set() -> None:
    good = TrackSet.unnamed("human", 20_000)
    assert good.columns[9_999:10_001] == ("t9999", "t10000")
    with pytest.raises(TrackError, match="increase strictly"):
        TrackSet("human", good.table.take([3, 2]))
    with pytest.raises(TrackError, match="is empty"):
        TrackSet("human", good.table.slice(0, 0))
    with pytest.raises(TrackError, match="needs track int32"):
        TrackSet("human", good.table.drop_columns(["clip"]))
    with pytest.raises(TrackError, match="name of its head"):
        TrackSet("", good.table)
    place = TRACKS.schema.get_field_index("column")
    renamed = good.table.slice(0, 1).set_column(place, "column", pa.array(["t0007"]))
    with pytest.raises(TrackError, match="must be 't0000'"):
        TrackSet("human", renamed)
    missing = good.table.slice(0, 1).set_column(2, "assay", pa.array([None], pa.string()))
    with pytest.raises(TrackError, match=r"assay .* has 1 empty"):
        TrackSet("human", missing)
    with pytest.raises(TrackError, match="need the columns"):
        TrackSet.from_rows("human", {"track": [0]})


plain = st.text(
    st.characters(exclude_characters="\t\r\n", exclude_categories=["C", "Z"]), max_size=12
)


@given(
    st.lists(st.tuples(plain, plain, st.none() | st.floats(width=32, allow_nan=False)), min_size=1)
)
def test_rows_travel_without_loss(content: list[tuple[str, str, float | None]]) -> None:
    rows = {
        "track": list(range(3, 3 + len(content))),
        "assay": [a for a, _, _ in content],
        "identifier": [a for a, _, _ in content],
        "description": [b for _, b, _ in content],
        "clip": [c for _, _, c in content],
        "scale": [None for _ in content],
        "sum_stat": [None for _ in content],
    }
    tracks = TrackSet.from_rows("human", rows)
    assert tracks.to_rows() == rows
    assert TrackSet.from_rows("human", tracks.to_rows()).sha256 == tracks.sha256


@given(st.sets(st.integers(0, 299), min_size=1), st.data())
def test_lists_of_indices_choose_exactly_those(wanted: set[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(sorted(wanted)))
    spelled = [data.draw(st.sampled_from([str(i), f"t{i:04d}", f"{i}-{i}"])) for i in order]
    chosen = TrackSet.unnamed("human", 300).select(",".join(spelled))
    assert chosen.indices.tolist() == sorted(wanted)
