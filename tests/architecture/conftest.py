"""The source tree as the rules see it."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """One file of ours: `name` is its path in the repository."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sources() -> list[Source]:
    """Every Python file of the three packages."""
    folders = (ROOT / "platform" / "cisray", ROOT / "jobs", ROOT / "schemas")
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    assert len(files) > 50
    return [Source(str(path.relative_to(ROOT)), path.read_text()) for path in files]
