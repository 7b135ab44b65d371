"""The job `cisray dataset synthetic`: a made-up genome in a folder.

Knows the options; what is made up is `cisray.dataset.synthetic`'s business.
"""

from pathlib import Path

from pydantic import ValidationError

from cisray.dataset.synthetic import SyntheticSettings, SyntheticSummary, write_synthetic
from cisray.errors import ConfigError
from cisray_jobs.config import expanded


def make_synthetic(
    out: Path, *, seed: int, chromosomes: int, chromosome_bp: int, individuals: int
) -> SyntheticSummary:
    """Make a genome up and write it. Raises ConfigError for sizes that cannot be."""
    try:
        settings = SyntheticSettings(
            seed=seed,
            chromosomes={f"chr{number + 1}": chromosome_bp for number in range(chromosomes)},
            individuals=individuals,
        )
    except ValidationError as error:
        told = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise ConfigError(f"No genome of these sizes can be made up: {told}.") from None
    return write_synthetic(expanded(out), settings)
