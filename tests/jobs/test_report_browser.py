"""Reports in a real browser: nothing is complained of, nothing is fetched, and figures answer.

One browser opens a page of every kind, as a desktop in the light and as a phone in the dark.
"""

from collections.abc import Iterator
from pathlib import Path

import browser
import polars as pl
import pytest
from reported_runs import NASTY, Runs

from cisray_jobs.report.options import ReportOptions
from cisray_jobs.report.write import write_report

KINDS = ("genome", "variants", "saturation", "training", "evaluation")


@pytest.fixture(scope="module")
def pages(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    genes = ReportOptions(genes=runs.path("genes.gtf"), region=("chr1:1,001-1,400", "chr2"))
    made = {
        name: write_report(
            [runs.path(name)], folder / f"{name}.html", genes if name == "genome" else None
        )
        for name in KINDS
    }
    every = [runs.path(name) for name in KINDS]
    return {**made, "all": write_report(every, folder / "all.html", genes)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    there = browser.found()
    if there is None:
        pytest.skip("no Chromium with its chromedriver is installed: reports are not opened in one")
    with browser.chromium(*there) as started:
        yield started


@pytest.mark.parametrize("kind", [*KINDS, pytest.param("all", marks=pytest.mark.long)])
def test_every_page_opens_in_peace_and_fits(chromium, pages, kind: str) -> None:
    for size, dark in ((browser.DESKTOP, False), (browser.PHONE, True)):
        chromium.look(size, dark=dark)
        chromium.open(pages[kind])
        chromium.draw_all()
        assert chromium.complaints() == []
        assert chromium.requests() == [pages[kind].as_uri()]
        width = chromium.run("return document.documentElement.scrollWidth")
        assert width == size[0], "the page is wider than the screen"
        figures, drawn = chromium.run(
            "return [document.querySelectorAll('figure.chart').length,"
            " document.querySelectorAll('figure.chart .main-svg').length > 0]"
        )
        assert drawn or not figures
        # What is not text in the dark cannot be read.
        ink = chromium.run("return getComputedStyle(document.body).color")
        assert ink == ("rgb(232, 232, 230)" if dark else "rgb(26, 26, 26)")
        inked = chromium.run(
            "return [...document.querySelectorAll('.drawn .xtick text')]"
            ".map((one) => getComputedStyle(one).fill)"
        )
        assert set(inked) <= {ink}
        assert bool(inked) == bool(figures)


def test_the_browser_would_have_complained(chromium, tmp_path) -> None:
    """Errors and requests are seen: of a page that has both."""
    page = tmp_path / "bad.html"
    page.write_text("<script>nothing.at.all</script><img src='other.png'>")
    chromium.open(page)
    assert any("nothing is not defined" in told for told in chromium.complaints())
    assert (tmp_path / "other.png").as_uri() in chromium.requests()


def test_tracks_say_their_values_and_move(chromium, pages, runs) -> None:
    chromium.look()
    chromium.open(pages["genome"])
    chromium.draw_all()
    told = chromium.hover(400, 100)
    place = told.partition("bin ")[2].split()[0]
    (row,) = runs.open("genome").scan(region=place).collect().iter_rows(named=True)
    for column in ("t0000", "t0004"):
        value = float(told.partition(column)[2].partition(" : ")[2].split()[0])
        assert value == pytest.approx(row[column], rel=1e-6)
    # The name of a track stays a name; a dialog of its script would end the test.
    assert NASTY in told
    genes = chromium.run(
        "return [...document.querySelectorAll('.textpoint text')].map((one) => one.textContent)"
    )
    assert [name.split()[0] for name in genes] == ["FIRST", "<b>SECOND</b>"]
    whole, thin, boxes, starts = chromium.run(
        "return document.querySelector('.drawn').data.slice(-4).map((one) => one.x)"
    )
    # As the GTF has them, 1-based; each starts beyond the region, and has its name at that edge.
    assert thin == [801, 1_200, None]
    assert boxes == [801, 1_010, 1_010, 801, 801, None, 1_151, 1_200, 1_200, 1_151, 1_151, None]
    assert whole == [1_101, 1_500, None]
    assert starts == [1_001, 1_400]
    sides = (
        "return [...document.querySelectorAll(arguments[0])]"
        ".map((one) => one.getBoundingClientRect()).map(({ left, right }) => [left, right])"
    )
    frame, names = (chromium.run(sides, one) for one in (".drawn .nsewdrag", ".textpoint text"))
    assert len(names) == 2
    assert all(frame[0][0] <= left < right <= frame[0][1] for left, right in names)
    # The box is wider than the body on either side of it, and neither is seen under the pointer.
    heights, line = chromium.run(
        "const [, thin, boxes] = document.querySelector('.drawn').data.slice(-4);"
        "return [boxes.y.slice(0, 5), thin.y[0]]"
    )
    assert min(heights) < line < max(heights)
    assert "801" not in told
    seen = "return document.querySelector('.drawn').layout.xaxis.range"
    assert chromium.run(seen) == [1_001, 1_400]
    _press(chromium, "Zoom in")
    assert chromium.run(seen) == pytest.approx([1_100.75, 1_300.25])
    _press(chromium, "Left")
    _press(chromium, "Left")
    assert chromium.run(seen) == pytest.approx([1_001, 1_200.5]), "it stops at the first base"
    _press(chromium, "Whole")
    assert chromium.run(seen) == [1_001, 1_400]
    _choose(chromium, "Region", 1)
    assert "chr2" in chromium.run("return document.querySelector('.drawn .xtitle').textContent")
    assert chromium.run(seen)[0] == 1
    assert chromium.complaints() == []


def test_a_phone_is_touched(chromium, pages) -> None:
    chromium.look(browser.PHONE)
    chromium.open(pages["genome"])
    chromium.draw_all()
    assert "bin chr1:" in chromium.hover(200, 100, touched=True)
    # Fingers scroll the page, they do not drag the figure.
    assert chromium.run("return document.querySelector('.drawn').layout.dragmode") is False


def test_substitutions_say_their_scores(chromium, pages, runs) -> None:
    chromium.look()
    chromium.open(pages["saturation"])
    chromium.draw_all()
    _choose(chromium, "Track", 2)
    _choose(chromium, "Statistic", 1)
    told = chromium.hover(300, 250)
    # As in "chr1:1,008 G>C: SADR -0.0123", with a mathematical minus.
    first, _, second = told.replace("\N{MINUS SIGN}", "-").partition("SAD ")
    place, change, stat, value = first.split()
    ref, alt = change.rstrip(":").split(">")
    chosen = runs.open("saturation").scan("t0002").filter(
        pl.col("pos") == int(place.rpartition(":")[2].replace(",", "")), ref=ref, alt=alt
    )  # fmt: skip
    assert stat == "SADR"
    assert float(value) == pytest.approx(chosen.collect()["SADR_t0002"].item(), rel=1e-5)
    assert float(second) == pytest.approx(chosen.collect()["SAD_t0002"].item(), rel=1e-6)
    letters = chromium.run(
        "return document.querySelector('.drawn').data.filter((one) => one.fill === 'toself')"
        ".map((one) => [one.name, one.x.length])"
    )
    assert [name for name, _ in letters] == ["A", "C", "G", "T"]
    assert all(count for _, count in letters)
    assert chromium.complaints() == []


def test_variants_are_sorted_and_filtered(chromium, pages, runs) -> None:
    chromium.look()
    chromium.open(pages["variants"])
    first = "return document.querySelector('.table tbody tr:not([hidden]) th').textContent"
    frame = runs.open("variants").scan(stats="SAD").collect()
    _press(chromium, "t0003 CHIP:CTCF:liver")
    highest = frame.filter(pl.col("SAD_t0003") == frame["SAD_t0003"].max())
    assert chromium.run(first).split()[0] == f"{highest['chrom'][0]}:{highest['pos'][0]:,}"
    _press(chromium, "t0003 CHIP:CTCF:liver")
    lowest = frame.filter(pl.col("SAD_t0003") == frame["SAD_t0003"].min())
    assert chromium.run(first).split()[0] == f"{lowest['chrom'][0]}:{lowest['pos'][0]:,}"
    field = chromium.driver.find_element("css selector", ".filter input")
    field.send_keys("rs610")
    assert chromium.run("return document.querySelector('.filter span').textContent") == (
        "1 of 10 rows"
    )
    assert chromium.run(first).startswith("chr1:610 ")
    # Another track of the figure above.
    chromium.draw_all()
    _choose(chromium, "Track", 3)
    assert "t0003" in chromium.run("return document.querySelector('.drawn .ytitle').textContent")
    assert chromium.complaints() == []


def _choose(chromium: browser.Browser, name: str, place: int) -> None:
    """Choose an option of the first figure by its place, as a person does."""
    chromium.driver.execute_async_script(
        "const choice = [...document.querySelectorAll('.choices label')]"
        ".find((one) => one.textContent.trim().startsWith(arguments[0])).querySelector('select');"
        "const drawn = choice.closest('figure').querySelector('.drawn');"
        "drawn.once('plotly_afterplot', () => arguments[2]());"
        "choice.selectedIndex = arguments[1]; choice.dispatchEvent(new Event('change'));",
        name,
        place,
    )


def _press(chromium: browser.Browser, name: str) -> None:
    """Press the button of a name."""
    chromium.run(
        "[...document.querySelectorAll('button')]"
        ".find((one) => one.textContent === arguments[0]).click()",
        name,
    )
