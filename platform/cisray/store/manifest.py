"""What a run is made from: the facts that its directory belongs to.

Knows JSON and digests; knows nothing of how the facts came about, nor of files.
"""

import hashlib
import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from cisray.store.encode import FLOAT32_MANTISSA_BITS, max_relative_error

RUN_FAMILY = "cisray.run/"
RUN_FORMAT = f"{RUN_FAMILY}1"
# Told for people; the same results come from another host, at another time, from a moved file.
_NOT_IDENTITY = {"begun", "created", "provenance", "genome"}


class RunManifest(BaseModel):
    """The identity of a run, and some history that is not part of it.

    Whatever is meant to change a stored value, or which rows there are, is identity. `created`,
    `provenance` and `genome` (a name for people, as the sequence itself has a digest) are not, nor
    is what may change a value's last bits: device, threads, batch size. `config` is identity as a
    whole: leave paths of inputs and outputs out of it; in runs of variants it says what
    `KeyedConfig` reads. `begun` is given by the store: it tells one beginning of a run from another
    after a restart, even of the same identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = Field(default=RUN_FORMAT, pattern=f"^{RUN_FORMAT}$")
    job: str = Field(min_length=1)
    table: str
    config: dict[str, JsonValue]
    model_sha256: str
    genome_sha256: str
    tracks_sha256: str
    plan_sha256: str
    num_shards: int = Field(ge=0)
    bin_bp: int = Field(gt=0)
    mantissa_bits: int = Field(ge=1, le=FLOAT32_MANTISSA_BITS)
    code_version: str
    genome: str = ""
    begun: str = ""
    created: str = ""
    provenance: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def identity(self) -> dict[str, JsonValue]:
        """The fields that define the results, as JSON values."""
        return self.model_dump(mode="json", exclude=_NOT_IDENTITY)

    @property
    def digest(self) -> str:
        """SHA-256 of the identity as canonical JSON, hexadecimal."""
        return hashlib.sha256(canonical_json(self.identity)).hexdigest()

    @property
    def max_relative_error(self) -> float:
        """The bound of the relative error that rounding has made in stored values."""
        return max_relative_error(self.mantissa_bits)

    @property
    def run_id(self) -> str:
        """A short name for the run, the same whenever and wherever it is repeated."""
        return f"{self.job}-{self.digest[:12]}"


class KeyedConfig(BaseModel):
    """What the `config` of a run says whose rows are known by keys, beside whatever else it says.

    Each row has one value per statistic and track; those of a `partial` statistic may be missing.
    Of the `entries` that were read, `scored` have rows in the run, `rows` together, and `rejected`
    have a reason in its rejects, which `rejects_sha256` is the digest of.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    statistics: list[Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")]] = Field(min_length=1)
    partial: list[str] = Field(default_factory=list)
    entries: int = Field(ge=0, strict=True)
    scored: int = Field(ge=0, strict=True)
    rows: int = Field(ge=0, strict=True)
    rejected: int = Field(ge=0, strict=True)
    rejects_sha256: str

    @model_validator(mode="after")
    def _known_once(self) -> Self:
        if len(set(self.statistics)) != len(self.statistics):
            raise ValueError(f"a statistic stands twice among {self.statistics}")
        if not set(self.partial) <= set(self.statistics):
            raise ValueError(f"partial {self.partial} are not all among {self.statistics}")
        return self

    @classmethod
    def of(cls, manifest: RunManifest) -> Self:
        """Read it from a manifest. Raises ValueError for what is missing or cannot be."""
        return cls.model_validate(manifest.config)


def canonical_json(value: JsonValue) -> bytes:
    """Write a value in the one way that digests are taken of.

    Raises ValueError for NaN and infinities, which JSON has no way to write.

    >>> canonical_json({"b": 1.5, "a": [None, "µ"]})
    b'{"a":[null,"\\\\u00b5"],"b":1.5}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def manifest_differences(old: RunManifest, new: RunManifest) -> list[str]:
    """Describe each field of the identity in which two runs differ, old value first.

    Entries of `config` are told one by one.
    """
    return [
        f"{field}: {before} there, {after} now"
        for field, before, after in identity_differences(old, new)
    ]


def identity_differences(a: RunManifest, b: RunManifest) -> list[tuple[str, str, str]]:
    """List each field of the identity in which two runs differ, and what it is in both, as JSON."""
    in_a, in_b = _flat(a.identity), _flat(b.identity)
    pairs = (
        (field, in_a.get(field, "(absent)"), in_b.get(field, "(absent)"))
        for field in sorted(in_a.keys() | in_b.keys())
    )
    return [(field, here, there) for field, here, there in pairs if here != there]


def _flat(value: dict[str, JsonValue], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            flat |= _flat(entry, f"{prefix}{key}.")
        else:
            flat[prefix + key] = canonical_json(entry).decode()
    return flat
