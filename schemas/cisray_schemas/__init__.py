"""What cisray's tables look like: Arrow schemas, the meaning of each field, and their versions.

Knows nothing of the rest of the project, so that any tool may depend on it alone.
"""

from cisray_schemas.calibrations import CALIBRATIONS
from cisray_schemas.genome_tracks import GENOME_TRACKS
from cisray_schemas.linked import LINKED
from cisray_schemas.metrics import METRIC_COMPARISONS, METRICS, NAMED_METRICS
from cisray_schemas.pair_scores import PAIR_SCORES
from cisray_schemas.rejects import REJECTS, Reason
from cisray_schemas.runs import RUN_FILES, RUN_TRACKS
from cisray_schemas.saturation import SATURATION_SCORES, SUBSTITUTIONS
from cisray_schemas.summaries import GROUP_SUMMARY
from cisray_schemas.synthetic import SYNTHETIC_EQTLS, SYNTHETIC_SITES, SYNTHETIC_VARIANTS
from cisray_schemas.table import Table
from cisray_schemas.tracks import TRACKS
from cisray_schemas.training_examples import DROPPED_SEQUENCES, TRAINING_EXAMPLES
from cisray_schemas.variants import (
    VARIANT_SCORES,
    VARIANT_SITE_SCORES,
    VARIANT_SITES,
    VARIANTS,
)
from cisray_schemas.windows import WINDOWS

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        TRACKS,
        WINDOWS,
        GENOME_TRACKS,
        VARIANTS,
        VARIANT_SCORES,
        VARIANT_SITES,
        VARIANT_SITE_SCORES,
        SUBSTITUTIONS,
        SATURATION_SCORES,
        LINKED,
        GROUP_SUMMARY,
        REJECTS,
        RUN_TRACKS,
        RUN_FILES,
        TRAINING_EXAMPLES,
        DROPPED_SEQUENCES,
        SYNTHETIC_SITES,
        SYNTHETIC_VARIANTS,
        SYNTHETIC_EQTLS,
        METRICS,
        NAMED_METRICS,
        METRIC_COMPARISONS,
        PAIR_SCORES,
        CALIBRATIONS,
    )
}

__all__ = [
    "CALIBRATIONS",
    "DROPPED_SEQUENCES",
    "GENOME_TRACKS",
    "GROUP_SUMMARY",
    "LINKED",
    "METRICS",
    "METRIC_COMPARISONS",
    "NAMED_METRICS",
    "PAIR_SCORES",
    "REJECTS",
    "RUN_FILES",
    "RUN_TRACKS",
    "SATURATION_SCORES",
    "SUBSTITUTIONS",
    "SYNTHETIC_EQTLS",
    "SYNTHETIC_SITES",
    "SYNTHETIC_VARIANTS",
    "TABLES",
    "TRACKS",
    "TRAINING_EXAMPLES",
    "VARIANTS",
    "VARIANT_SCORES",
    "VARIANT_SITES",
    "VARIANT_SITE_SCORES",
    "WINDOWS",
    "Reason",
    "Table",
]
