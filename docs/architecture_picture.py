"""Draw the layers as import-linter holds them, and count what is in them.

Knows `pyproject.toml` and lines of files; knows no module. `make reference` draws
`images/architecture.svg`, and a test fails while it is not what this would draw;
`python docs/architecture_picture.py --sizes` prints the table of decision 0036.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs/images/architecture.svg"
PLACES = {"cisray_jobs": "jobs", "cisray_schemas": "schemas"}  # others lie in platform/
WIDTH, HEIGHT, GAP = 720, 44, 8  # of the picture, of a row, between boxes, in pixels
_STYLE = (
    "rect{fill:#e8f1f8;stroke:#0072b2}.ray{fill:#fdf0dc;stroke:#b06a00}"
    "text{font:14px system-ui,sans-serif;text-anchor:middle;fill:#1a1a1a}"
)


def layers() -> list[list[str]]:
    """Read the rows of the map, the highest first: a row imports from lower ones alone."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    first = told["tool"]["importlinter"]["contracts"][0]
    return [row.split(" | ") for row in first["layers"]]


def picture() -> str:
    """Draw a row of boxes for each layer; what imports Ray has another colour."""
    rows = layers()
    height = len(rows) * (HEIGHT + GAP) + GAP
    boxes = [
        box for number, row in enumerate(rows) for box in _boxes(row, GAP + number * (HEIGHT + GAP))
    ]
    title = "Layers of cisray, the highest first: a module imports from lower rows only."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{title}</title><style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" style="fill:#ffffff;stroke:none"/>',
            *boxes,
            "</svg>\n",
        ]
    )


def _boxes(row: list[str], top: int) -> Iterator[str]:
    wide = (WIDTH - GAP) / len(row)
    for place, name in enumerate(row):
        left = GAP + place * wide
        kind = ' class="ray"' if name == "cisray.engine" else ""
        yield (
            f'<rect{kind} x="{left:.0f}" y="{top}" width="{wide - GAP:.0f}" height="{HEIGHT}" '
            f'rx="4"/>'
            f'<text x="{left + (wide - GAP) / 2:.0f}" y="{top + 27}">{escape(name)}</text>'
        )


def sizes() -> str:
    """Count modules and lines of every package, as a table in Markdown."""
    lines = [
        "| package | modules | lines | median of a module | longest |",
        "|---|---:|---:|---:|---|",
    ]
    for row in layers():
        for name in row:
            counts = {path: _lines(path) for path in _modules(name)}
            longest = max(counts, key=lambda path: counts[path])
            lines.append(
                f"| `{name}` | {len(counts)} | {sum(counts.values()):,} | "
                f"{median(counts.values()):.0f} | `{longest.name}` {counts[longest]} |"
            )
    tests = [_lines(path) for path in (ROOT / "tests").rglob("*.py")]
    lines.append(f"| tests | {len(tests)} | {sum(tests):,} | {median(tests):.0f} | |")
    return "\n".join(lines)


def _modules(name: str) -> list[Path]:
    path = ROOT / PLACES.get(name, "platform") / name.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def main() -> None:
    """Draw, or count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", action="store_true", help="print sizes and draw nothing")
    if parser.parse_args().sizes:
        sys.stdout.write(f"{sizes()}\n")
    else:
        PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
