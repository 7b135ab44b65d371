"""What a run links to, read again: the other runs, and whether links lead to the same alleles.

Knows runs that are open; knows nothing of how one run is verified, which is `verify`'s business.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cisray.errors import CisrayError
from cisray.store.linked_rows import check_links
from cisray.store.manifest import KeyedConfig
from cisray.store.problems import Problem
from cisray.store.verify import OnFile, verify_run
from cisray_schemas import LINKED

if TYPE_CHECKING:
    from cisray.store.scan import Run


def link_problems(run: "Run", on_file: OnFile | None = None) -> Iterator[Problem]:
    """Find each run that rows are linked to, verify it, and hold links against its plan.

    Whatever is wrong is told of the links of `run`, in the order of the runs they lead to.
    `on_file` is told of files as `verify_run` does, anew for each run.
    """
    if run.links is None:
        return
    name = LINKED.name + ".parquet"
    for run_id in KeyedConfig.of(run.manifest).since:
        try:
            origin = run.linked_run(run_id)
            found = verify_run(origin.path, on_file=on_file)
            yield from (
                Problem("link", name, None, f"of the run {run_id} that rows link to: {one.message}")
                for one in found.problems
            )
            check_links(run.linked, run_id, origin.variants, origin.path)
        except CisrayError as error:
            yield Problem("link", name, None, str(error))
