"""What pyproject.toml asks for, requirements.lock pins and requirements.oldest holds it to.

Nothing is fetched: what a package needs is read from what is installed. Whether a pinned version
has known flaws is for `make audit`, which needs the network (docs/security.md).
"""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

# Of an environment of its own: `make bench` installs it, nothing else does.
APART = {"bench"}
# What builds of torch with CUDA need beside the one that is locked.
OF_CUDA = re.compile(r"nvidia-|cuda-|triton")

Pins = Mapping[str, Version]


def pins(text: str) -> dict[str, Version]:
    """Read the lines NAME==VERSION of a file of requirements; other lines are comments."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (pinned,) = requirement.specifier
            assert pinned.operator == "==", line
            found[canonicalize_name(requirement.name)] = Version(pinned.version)
    return found


def declared(root: Path, *, with_tools: bool = True) -> list[Requirement]:
    """What pyproject.toml asks for: to run, for each extra, and to develop."""
    told = tomllib.loads((root / "pyproject.toml").read_text())
    lists = [told["project"]["dependencies"]]
    extras = told["project"]["optional-dependencies"]
    lists += [lines for name, lines in extras.items() if name not in APART]
    groups = told["dependency-groups"].values() if with_tools else []
    # A group that includes another has a table for it, which is listed by itself.
    lists += [[line for line in lines if isinstance(line, str)] for lines in groups]
    return [Requirement(line) for lines in lists for line in lines]


def unpinned(asked: Iterable[Requirement], locked: Pins) -> list[str]:
    """Requirements whose package the lock lacks, or has in a version that they refuse."""
    return [
        str(one)
        for one in asked
        if canonicalize_name(one.name) not in locked
        or locked[canonicalize_name(one.name)] not in one.specifier
    ]


def needed(asked: Iterable[Requirement]) -> Iterator[Requirement]:
    """What is asked for, and what that needs in turn, by the metadata of what is installed."""
    seen: set[tuple[str, str]] = set()
    waiting = list(asked)
    while waiting:
        one = waiting.pop()
        yield one
        for extra in ("", *one.extras):
            name = canonicalize_name(one.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in importlib.metadata.requires(name) or []:
                more = Requirement(line)
                applies = more.marker is None or more.marker.evaluate({"extra": extra})
                if applies and not OF_CUDA.match(more.name):
                    waiting.append(more)


@pytest.fixture
def locked(root: Path) -> Pins:
    return pins((root / "requirements.lock").read_text())


def test_every_dependency_is_pinned_in_a_version_that_is_admitted(root: Path, locked: Pins) -> None:
    asked = declared(root)
    assert len(asked) > 40
    assert unpinned(asked, locked) == []


def test_the_lock_holds_what_is_needed_and_nothing_else(root: Path, locked: Pins) -> None:
    """In turn: what a dependency needs is pinned as well, and no pin is left from one that went."""
    here = {name: version(name) for name in locked}
    if here != locked:
        pytest.skip("another environment than that of the lock is installed")
    every = list(needed(declared(root)))
    assert unpinned(every, locked) == []
    assert set(locked) - {canonicalize_name(one.name) for one in every} == set()


def version(name: str) -> Version | None:
    try:
        return Version(importlib.metadata.version(name).partition("+")[0])
    except importlib.metadata.PackageNotFoundError:
        return None


def test_the_oldest_versions_are_the_lower_bounds(root: Path) -> None:
    """Not older than admitted, and of the release that the bound names: 2.0.2 for >=2.0."""
    oldest = pins((root / "requirements.oldest").read_text())
    run = declared(root, with_tools=False)
    assert unpinned(run, oldest) == []
    for one in declared(root):
        pinned = oldest.get(canonicalize_name(one.name))
        if pinned is None:
            continue  # a tool that runs no test
        (bound,) = (Version(s.version) for s in one.specifier if s.operator == ">=")
        assert pinned.release[: len(bound.release)] == bound.release, str(one)


def test_the_rules_see_what_is_missing_too_old_and_inherited() -> None:
    locked = pins("# a comment\nRay==2.59.0\nnumpy==2.1\n")
    asked = [Requirement(line) for line in ("ray>=2.60", "numpy>=2.0", "torch")]
    assert unpinned(asked, locked) == ["ray>=2.60", "torch"]
    plain, with_extra = (
        {canonicalize_name(one.name) for one in needed([Requirement(name)])}
        for name in ("ray", "ray[default]")
    )
    assert "aiohttp" in with_extra - plain
    assert "msgpack" in plain
