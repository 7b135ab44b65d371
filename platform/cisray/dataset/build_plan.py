"""What a build is going to write: the heads, their geometry, and how examples are cut into files.

Knows the plan that is kept while a dataset is built, and when one of before may be gone on with;
knows nothing of Arrow or of how examples are made.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, JsonValue

from cisray.dataset.manifest import BUILDING, MANIFEST, DatasetManifest, HeadEntry, shard_path
from cisray.dataset.sequences import Sequences
from cisray.errors import RunConflict
from cisray.genome.windows import WindowSpec
from cisray.store import files
from cisray.tracks import TrackSet

PLAN = "plan.json"
_NAMED_DIFFERENCES = 8


@dataclass(frozen=True, slots=True)
class HeadContent:
    """What defines the examples of a head: sequences, tracks, genome and settings."""

    sequences: Sequences
    tracks: TrackSet
    genome: Mapping[str, JsonValue]
    settings: Mapping[str, JsonValue]

    def identity(self) -> dict[str, JsonValue]:
        """Tell all of it, for comparing what was begun with what is asked for."""
        return {
            "sequences_sha256": self.sequences.sha256,
            "tracks_sha256": self.tracks.sha256,
            "genome": dict(self.genome),
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """The geometry that all heads of a dataset share, and how many examples a file holds."""

    spec: WindowSpec
    margin_bp: int
    examples_per_shard: int


class PlannedShard(BaseModel):
    """One file to write: examples `first` to `end` of one head and set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: str
    split: str
    first: int
    end: int
    path: str


def plan_of(heads: Mapping[str, HeadContent], layout: Layout) -> dict[str, Any]:
    """Cut the examples of every head and set into files, and say what defines all of it.

    `identity` is that; `begun` names this beginning.
    """
    shards = []
    for head, content in heads.items():
        for split, count in Counter(row.split for row in content.sequences.kept).items():
            firsts = range(0, count, layout.examples_per_shard)
            for index, first in enumerate(firsts):
                end = min(first + layout.examples_per_shard, count)
                path = shard_path(head, split, index)
                shards.append(PlannedShard(head=head, split=split, first=first, end=end, path=path))
    return {
        "begun": uuid4().hex,
        "identity": _identity(heads, layout),
        "tracks": {head: len(content.tracks) for head, content in heads.items()},
        "shards": [shard.model_dump() for shard in shards],
    }


def _identity(heads: Mapping[str, HeadContent], layout: Layout) -> dict[str, Any]:
    spec = layout.spec
    content = {
        "input_bp": spec.input_bp,
        "bin_bp": spec.bin_bp,
        "target_bins": spec.target_bins,
        "margin_bp": layout.margin_bp,
        "examples_per_shard": layout.examples_per_shard,
        "heads": {head: content.identity() for head, content in heads.items()},
    }
    # As it will be read back: tuples become lists.
    told: dict[str, Any] = json.loads(json.dumps(content))
    return told


def plan_there(building: Path) -> dict[str, Any] | None:
    """Read the plan of a build that has begun, None where there is none."""
    try:
        plan: dict[str, Any] = json.loads((building / PLAN).read_bytes())
    except FileNotFoundError:
        return None
    return plan


def differences(there: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """Name what two plans do not share, as deep as the settings of a head."""
    mine, theirs = (_flat(p["identity"]) for p in (plan, there))
    names = [
        name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)
    ]
    return ", ".join(names[:_NAMED_DIFFERENCES])


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{before}{name}."))
        else:
            found[f"{before}{name}"] = value
    return found


def has_all(
    root: Path, finished: DatasetManifest, heads: Mapping[str, HeadContent], layout: Layout
) -> bool:
    """Tell whether a finished dataset has these very heads, or none of them.

    Raises RunConflict for another geometry, and for heads that differ or are there in part.
    """
    if (finished.spec, finished.margin_bp) != (layout.spec, layout.margin_bp):
        raise RunConflict(
            f"{root} is a finished dataset with {finished.spec} and a margin of "
            f"{finished.margin_bp} bp; what is asked for has {layout.spec} and "
            f"{layout.margin_bp} bp. Choose another --out, or the same geometry."
        )
    same = [head for head, content in heads.items() if _is_same(finished.heads.get(head), content)]
    if len(same) == len(heads):
        return True
    taken = [head for head in heads if head in finished.heads]
    if taken:
        raise RunConflict(
            f"{root} is a finished dataset whose head {', '.join(taken)} was made from other "
            f"files or settings, or with other heads. Choose another --out, or add --restart to "
            f"make it anew."
        )
    return False


def _is_same(entry: HeadEntry | None, content: HeadContent) -> bool:
    return entry is not None and (
        entry.tracks_sha256 == content.tracks.sha256
        and entry.genome == dict(content.genome)
        and entry.settings == json.loads(json.dumps(dict(content.settings)))
        and entry.sequences_sha256 == content.sequences.sha256
    )


def discard(
    root: Path, finished: DatasetManifest | None, heads: Mapping[str, HeadContent]
) -> DatasetManifest | None:
    """Remove what was begun, and these heads of what is finished; give what stays finished."""
    rest = {}
    if finished is not None:
        rest = {head: entry for head, entry in finished.heads.items() if head not in heads}
    building = root / BUILDING
    left = finished.model_copy(update={"heads": rest}) if finished and rest else None
    with files.writing_to(root):
        files.make_folder(building)
    if left is None:
        files.remove_if_there(root / MANIFEST)
    else:
        files.publish(left.to_json(), root / MANIFEST, staging=building, exclusive=False)
    files.remove_tree(building)
    for head in heads:
        files.remove_tree(root / head)
    return left
