"""Pictures of reports for the documents: tracks under the pointer, and bases on a phone at night.

Knows reports and a browser; knows nothing of how the runs were made. `cisray demo` makes a genome
run; a saturation run of one of its promoters takes minutes more:

    cisray demo --out demo-run
    cisray score saturation --model demo-run/model/model.safetensors \
        --fasta demo-run/made-up/genome.fa --region chr1:2,601-2,900 --out demo-run/promoter
    python benchmarks/report_pictures.py --demo demo-run [--out docs/images]
"""

import argparse
import tempfile
from pathlib import Path

import browser

from cisray_jobs.report.options import ReportOptions
from cisray_jobs.report.write import write_report

TRACKS, BASES = "report-tracks.png", "report-bases.png"
MOST_BYTES = 150_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--genome", default="genome-run")
    parser.add_argument("--saturation", default="promoter")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    there = browser.found()
    if there is None:
        raise SystemExit("no Chromium with its chromedriver is installed")
    given.out.mkdir(parents=True, exist_ok=True)
    genes = ReportOptions(genes=given.demo / "made-up/genes.bed")
    with tempfile.TemporaryDirectory() as folder, browser.chromium(*there) as chromium:
        page = write_report([given.demo / given.genome], Path(folder) / "tracks.html", genes)
        chromium.look((1_000, 640))
        chromium.open(page)
        chromium.draw_all()
        chromium.hover(480, 90)
        keep(chromium, given.out / TRACKS)
        page = write_report([given.demo / given.saturation], Path(folder) / "bases.html")
        chromium.look(browser.PHONE, dark=True)
        chromium.open(page)
        chromium.draw_all()
        for name in ("Zoom in", "Zoom in", "Right", "Right"):
            press(chromium, name)
        chromium.run("document.querySelector('figure.chart').scrollIntoView({block: 'center'})")
        keep(chromium, given.out / BASES)


def press(chromium: browser.Browser, name: str) -> None:
    """Press the button of a name."""
    chromium.run(
        "[...document.querySelectorAll('button')]"
        ".find((one) => one.textContent === arguments[0]).click()",
        name,
    )


def keep(chromium: browser.Browser, path: Path) -> None:
    """Take a picture, and refuse one that is too large for a document."""
    chromium.picture(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{path} has {size:,} bytes, more than {MOST_BYTES:,}")
    print(f"{path}: {size:,} bytes")


if __name__ == "__main__":
    main()
