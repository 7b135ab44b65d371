"""A headless Chromium, by Selenium, for tests and pictures of pages.

Knows where a browser may lie, how it is made a phone or dark, and what it complained of; knows no
page.
"""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESKTOP, PHONE = (1200, 900), (390, 844)
PATIENCE_S, POLL_S = 15, 0.02
WHERE_IT_RUNS = (
    "--headless=new",
    "--no-sandbox",  # of a container, where there may be no other user
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-background-networking",
)


def found() -> tuple[str, str] | None:
    """Find a browser and its driver; None where one of them is not there."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def chromium(browser: str, driver: str) -> Iterator["Browser"]:
    """Start a browser, and end it with the block."""
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in WHERE_IT_RUNS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()


class Browser:
    """A browser with one page."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look(self, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
        """Take the size of a screen, of a phone with touch if it is narrow, light or dark."""
        width, height = size
        is_phone = width < 600
        tell = self.driver.execute_cdp_cmd
        tell(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone},
        )
        tell("Emulation.setTouchEmulationEnabled", {"enabled": is_phone})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tell("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, page: Path) -> None:
        """Open a file, and forget what was complained of before."""
        self.complaints()
        self.requests()
        self.driver.get(page.absolute().as_uri())

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page and give what it returns."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Give what the console has said since it was last asked.

        It tells late when the machine is busy, but in order: words of ours end what came before.
        """
        end = f"the end of {uuid4()}"
        self.run("console.log(arguments[0])", end)
        told: list[str] = []

        def is_told(_: object) -> bool:
            told.extend(entry["message"] for entry in self.driver.get_log("browser"))
            return any(end in message for message in told)

        WebDriverWait(self.driver, PATIENCE_S, POLL_S).until(is_told)
        return told[: next(at for at, message in enumerate(told) if end in message)]

    def requests(self) -> list[str]:
        """Give the addresses that were asked for since last time, but those within the page."""
        told = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        asked = [
            one["params"]["request"]["url"]
            for one in told
            if one["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def hover(self, across: float, down: float, *, touched: bool = False) -> str:
        """Point at the first figure, so many pixels within it, and give what it says there.

        A figure that is busy misses the mouse: it is moved until there is an answer.
        """
        self.run("document.querySelector('.drawn').scrollIntoView({block: 'center'})")

        def answer(_: object) -> str:
            left, top = self.run(
                "const box = document.querySelector('.drawn').getBoundingClientRect();"
                "return [box.x, box.y]"
            )
            act = self._touch if touched else self._point
            act(left + across, top + down)
            told = self.run(
                "return [...document.querySelectorAll('.hoverlayer text')]"
                ".map((one) => one.textContent).join(' ')"
            )
            return str(told)

        return WebDriverWait(self.driver, PATIENCE_S, 0.2).until(answer)

    def _point(self, x: float, y: float) -> None:
        for nearer in (3, 0):  # Plotly wants the mouse to move
            place = {"type": "mouseMoved", "x": x - nearer, "y": y}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", place)

    def _touch(self, x: float, y: float) -> None:
        for kind, fingers in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            told = {"type": kind, "touchPoints": fingers}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", told)

    def draw_all(self) -> None:
        """Scroll through the page, so that every figure is drawn, and wait for them."""
        self.run(
            "for (const figure of document.querySelectorAll('figure.chart')) {"
            " figure.scrollIntoView(); }"
        )
        self.driver.execute_async_script(
            "const done = arguments[0]; const every = ["
            "...document.querySelectorAll('figure.chart')];"
            "const look = () => { for (const one of every) {"
            " if (one.offsetParent && !one.querySelector('.main-svg')) {"
            " one.scrollIntoView(); return setTimeout(look, 50); } } done(); }; look();"
        )

    def picture(self, path: Path, *, whole: bool = False, height: int = 0) -> None:
        """Take a picture of what is seen, or of the whole page, or of its first so many pixels."""
        part: dict[str, object] = {}
        if whole or height:
            width, full = self.run(
                "return [document.documentElement.clientWidth, document.body.scrollHeight]"
            )
            clip = {"x": 0, "y": 0, "width": width, "height": height or full, "scale": 1}
            part = {"captureBeyondViewport": True, "clip": clip}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", **part})
        path.write_bytes(base64.b64decode(taken["data"]))
