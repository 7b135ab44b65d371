"""Progress of work on the shards of a finished run, in this process.

Knows what a person sees of a scoring run, and shows the same; knows nothing of the work.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cisray.engine.progress import Display, ProgressReporter
from cisray.engine.task import Progress


@contextmanager
def shards_shown(display: Display) -> Iterator[Callable[[int, int, int], None]]:
    """Give what is to be told how many shards are done, of how many, and the rows of the last."""
    begun = time.monotonic()
    with ProgressReporter(display=display) as shown:

        def tell(done: int, total: int, rows: int) -> None:
            shown.on_done(done, {"rows": rows})
            elapsed = time.monotonic() - begun
            shown.on_progress(
                Progress(
                    total=total,
                    done=done,
                    failed=0,
                    in_flight=0,
                    workers=1,
                    retries=0,
                    elapsed_s=elapsed,
                )
            )

        yield tell
