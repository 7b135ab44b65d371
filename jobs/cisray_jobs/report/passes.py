"""One pass over the rows of a run, in pieces of bounded memory.

Knows how a run is cut; knows nothing of what is looked for. Of the files only the columns of the
tracks and statistics that are asked for are read.
"""

from collections.abc import Iterator, Sequence

import polars as pl

from cisray.store.queries.parts import parts_with_links
from cisray.store.scan import Run


def pieces(run: Run, tracks: str, stats: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """Give the rows of a run piece by piece, in its order: keys and the columns asked for.

    Raises what `Run.scan` raises.
    """
    for part in parts_with_links(run):
        yield part.scan(tracks=tracks, stats=stats).collect()
