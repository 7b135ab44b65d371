"""Why pyfaidx does not read the bases (docs/decisions/0008). A failure here is good news."""

from pathlib import Path

import pyfaidx
import pytest
from Bio import bgzf

from cisray.genome.interval import Interval
from cisray.genome.reference import Genome

LINE = 60


@pytest.fixture
def bgzipped(tmp_path: Path) -> Path:
    """70,000 bases in BGZF blocks of 65,536 bytes of text, Biopython's size, with both indices."""
    path = tmp_path / "genome.fa.gz"
    bases = "ACGTTGCA" * 8_750
    with bgzf.BgzfWriter(str(path)) as handle:
        handle.write(">chr1\n")
        for first in range(0, len(bases), LINE):
            handle.write(bases[first : first + LINE] + "\n")
    pyfaidx.Fasta(str(path)).close()
    return path


def test_a_fetch_at_the_start_of_a_block_fails_there_and_not_here(bgzipped: Path) -> None:
    # Byte 65,536 of the text: 6 of the header, then lines of 61 bytes. 65,530 = 1,074 x 61 + 16,
    # so it is base 1,074 x 60 + 16 = 64,456.
    start = 64_456
    with pytest.raises(ValueError, match="within_block_offset"):
        pyfaidx.Fasta(str(bgzipped))["chr1"][start : start + 8]
    with Genome.open(bgzipped) as genome:
        # 64,456 is a multiple of 8, so ACGTTGCA begins there.
        codes_L = genome.fetch(Interval("chr1", start, start + 8))
    assert codes_L.tolist() == [0, 1, 2, 3, 3, 2, 1, 0]


def test_an_index_is_rewritten_there_and_left_here(bgzipped: Path) -> None:
    index = Path(f"{bgzipped}.fai")
    Path(f"{bgzipped}.gzi").unlink()
    before = index.stat().st_mtime_ns
    Genome.open(bgzipped).close()
    assert index.stat().st_mtime_ns == before
    pyfaidx.Fasta(str(bgzipped), rebuild=False, build_index=False).close()
    assert index.stat().st_mtime_ns != before
