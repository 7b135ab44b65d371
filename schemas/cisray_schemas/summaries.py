"""The table of summaries: of each row of a run of effects, the strongest track of groups of tracks.

Rows are those of the run, in its order; `site` follows the other keys in runs at sites. For each
statistic and group two columns follow: one such as `SAD_CAGE`, the value whose size is largest
among the group's tracks, with its sign, and `SAD_CAGE_track`, the index of that track in the head,
int32. Both are null where no track of the group has a value.
"""

import pyarrow as pa

from cisray_schemas.table import Table
from cisray_schemas.variants import VARIANT_SCORES

_KEYS = ("variant", "chrom", "pos", "ref", "alt")

GROUP_SUMMARY = Table(
    name="group_summary",
    version=1,
    sort_by=VARIANT_SCORES.sort_by,
    schema=pa.schema([VARIANT_SCORES.schema.field(name) for name in _KEYS]),
)
