"""What is kept of a sealed run beside its data, held against what it was derived from.

Knows the summary of times and the table of groups of tracks; knows nothing of data files. No value
depends on either, and a run may have none.
"""

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from cisray.errors import StorageError
from cisray.store.group_summary import read_summary
from cisray.store.layout import RunLayout
from cisray.store.manifest import RunManifest
from cisray.store.plan import Plan
from cisray.store.problems import Problem
from cisray.store.receipt import Receipt
from cisray.store.summary import RunTimes


def times_problems(
    layout: RunLayout, manifest: RunManifest, plan: Plan, receipts: Sequence[Receipt]
) -> Iterator[Problem]:
    """Compare the summary of times with what the records add up to.

    Without all records there is nothing to compare it with.
    """
    name = layout.summary
    path, text = layout.tell(name), layout.folder.read(name)
    if len(receipts) != len(plan.spans) or text is None:
        return
    try:
        kept = RunTimes.model_validate_json(text)
        differs = kept != RunTimes.of(manifest, receipts)
        told = f"{path} is not what the records add up to."
    except ValidationError as error:
        differs, told = True, f"{path} is damaged ({error.errors()[0]['msg']})."
    if differs:
        yield Problem("summary", name, None, f"{told} No value depends on it: remove it.")


def group_problems(layout: RunLayout) -> Iterator[Problem]:
    """Hold the table of summaries of groups of tracks against its record."""
    try:
        kept = read_summary(layout)
        if kept is not None:
            kept.check(layout)
    except StorageError as error:
        yield Problem("summary", layout.summary_record, None, str(error))
