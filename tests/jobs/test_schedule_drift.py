"""Reports of runs, and what they say of two in a row: against numbers taken in another way."""

import json
from pathlib import Path

import numpy as np
import pytest
from effect_jobs import EXACT, genome_with_traps, score, write_genome, write_model, write_vcf
from hypothesis import given, settings
from hypothesis import strategies as st

from cisray.errors import StorageError
from cisray.store.scan import open_run
from cisray_jobs.schedule import drift
from cisray_jobs.schedule.drift import Change, Spreading, changes, read_report

TEXTS = {name: text.upper() for name, text in genome_with_traps().items()}
FLOATS = st.lists(
    st.floats(-1e6, 1e6, width=32).map(lambda x: x if abs(x) > 1e-9 else 0.0), min_size=1
)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=4))
def test_quantiles_are_within_two_percent_however_values_come(parts: list[list[float]]) -> None:
    spreading = Spreading()
    for part in parts:
        spreading.add(np.array([*part, np.nan]))
    found = spreading.result()
    whole = np.sort(np.concatenate([np.array(part) for part in parts]))
    assert (found.values, found.missing) == (len(whole), len(parts))
    assert (found.lowest, found.highest) == (whole[0], whole[-1])
    for share, value in found.quantiles.items():
        exact = whole[int(np.ceil(float(share) * len(whole))) - 1]
        assert value == pytest.approx(exact, rel=0.02, abs=1e-12)


def test_nothing_has_no_quantiles() -> None:
    spreading = Spreading()
    spreading.add(np.array([np.nan, np.nan]))
    found = spreading.result()
    assert (found.values, found.missing, found.lowest, found.quantiles) == (0, 2, None, {})


def snv(chrom: str, pos: int) -> tuple[str, int, str, str, str]:
    ref = TEXTS[chrom][pos - 1]
    return chrom, pos, ".", ref, "ACGT"[("ACGT".index(ref) + 1) % 4]


def test_a_report_counts_a_run_and_what_changed_since_the_one_before(tmp_path: Path) -> None:
    old = [snv("chr1", 1_000), snv("chr2", 700), ("chr1", 5, "gone", TEXTS["chr1"][4], "<DEL>")]
    new = [*old, snv("chr1", 1_001), snv("chr1", 1_002), ("chr9", 5, ".", "A", "C")]
    common = ("--model", write_model(tmp_path / "m.safetensors"),
              "--fasta", write_genome(tmp_path / "g.fa", genome_with_traps()), *EXACT)  # fmt: skip
    score("variants", tmp_path / "a", "--vcf", write_vcf(tmp_path / "a.vcf", old), *common)
    score("variants", tmp_path / "b", "--vcf", write_vcf(tmp_path / "b.vcf", new), *common,
          "--since", tmp_path / "a")  # fmt: skip
    drift.main(str(tmp_path / "a"), str(tmp_path / "reports/a.json"))
    drift.main(
        str(tmp_path / "b"), str(tmp_path / "reports/b.json"), str(tmp_path / "reports/a.json")
    )
    report = read_report(tmp_path / "reports/b.json")
    assert report is not None
    summary = report.summary
    assert (summary.entries, summary.rows, summary.linked) == (6, 2, 2)
    assert summary.rejected == {"symbolic_alt": 1, "unknown_chromosome": 1}
    own = open_run(tmp_path / "b").scan(stats="SAD", linked=False).collect()
    values = np.sort(own.select(pl_columns(own.columns)).to_numpy().ravel().astype(float))
    assert len(values) == 2 * 5
    spread = summary.spreads["SAD"]
    assert (spread.values, spread.lowest, spread.highest) == (10, values[0], values[-1])
    assert spread.quantiles["0.5"] == pytest.approx(values[4], rel=0.02)
    told = {change.what: (change.before, change.after) for change in report.changes}
    assert told["entries"] == (3, 6)
    assert told["linked"] == (0, 2)
    assert told["rejected unknown_chromosome"] == (None, 1)
    assert "rejected symbolic_alt" not in told
    assert "rows" not in told  # two before, two now
    assert report.before == str(tmp_path / "a")
    first = read_report(tmp_path / "reports/a.json")
    assert first is not None
    assert (first.before, first.changes) == (None, ())
    assert changes(summary, summary) == ()
    assert changes(summary, summary.model_copy(update={"entries": None}))[0] == Change(
        what="entries", before=6, after=None
    )


def pl_columns(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("SAD_")]


def test_a_report_that_is_not_there_and_one_that_is_damaged(tmp_path: Path) -> None:
    assert read_report(tmp_path / "none.json") is None
    (tmp_path / "bad.json").write_text(json.dumps({"summary": 1}))
    with pytest.raises(StorageError, match="Remove it"):
        read_report(tmp_path / "bad.json")
