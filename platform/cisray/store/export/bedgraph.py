"""bedGraph files of a genome run, one per track: text, or BGZF with a tabix index.

Knows the format; knows nothing of runs.
"""

from pathlib import Path

import polars as pl

from cisray.store.export.bins import chromosome_bins
from cisray.store.export.columns import GenomeTracks
from cisray.store.export.text import index_text, open_text, write_lines


def write_bedgraph(run: GenomeTracks, column: str, path: Path) -> int:
    """Write one track and return the number of its bins; with an index where it ends in .gz.

    Lines are `chrom start end value` with tabs, 0-based half-open, sorted as by `LC_ALL=C sort
    -k1,1 -k2,2n`; comment lines before them tell the track and where it comes from. Values have
    as many digits as float32 needs to read back equal. Without bins there are the comments alone.
    Raises what `chromosome_bins` raises.
    """
    written = 0
    with open_text(path) as stream:
        stream.write(_comments(run, column).encode())
        for chrom, bins in chromosome_bins(run, column):
            values = (pl.col(name).cast(pl.String) for name in ("start", "end", "value"))
            write_lines(stream, bins, pl.concat_str(pl.lit(chrom), *values, separator="\t"))
            written += bins.height
    if path.suffix == ".gz":
        index_text(path, "bed", run.lengths)
    return written


def _comments(run: GenomeTracks, column: str) -> str:
    row = run.tracks.columns.index(column)
    identifier, description = (
        run.tracks.table[name][row].as_py() for name in ("identifier", "description")
    )
    facts = {"track": f"{column} {identifier} {description}", **run.provenance}
    return "".join(f"#{name}={' '.join(text.split())}\n" for name, text in facts.items())
