"""Make docs/api-page.png, the picture of the API page in the README: ``python docs/make_screenshot.py``.

It needs Chromium. The fonts are those of this machine, so another machine makes another picture.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PICTURE = DOCS / "api-page.png"
sys.path.insert(0, str(DOCS.parent))  # for the browser and the server of the tests

from tests.browser import Browser, Page  # noqa: E402 - found by the line above
from tests.serving import Served, write_app  # noqa: E402 - the same

WIDTH, HEIGHT = 1240, 800
ENOUGH_WORDS = 24
APP = '''
    """Models for text and pictures."""

    import time
    from collections.abc import Iterator
    from typing import Annotated, Literal

    from msgspec import Meta
    from penstock import App

    app = App(__name__, title="Penstock", version="1.4")
    WORDS = """A penstock is the gated pipe that feeds a turbine: it decides how much water goes in, and it can be
    shut. Every drop has a deadline. Whatever no turbine waits for is let go.""".split()


    @app.endpoint("/square")
    def square(input: float) -> float:
        """Square a number."""
        return input**2


    @app.endpoint("/identify")
    def identify(body: bytes) -> str:
        """Identify the type of a file."""
        return "python"


    @app.endpoint("/classify")
    def classify(text: str, labels: list[str]) -> dict[str, float]:
        """Score a text against labels."""
        return dict.fromkeys(labels, 0.5)


    @app.endpoint("/generate")
    def generate(
        prompt: str,
        max_tokens: Annotated[int, Meta(ge=1, le=4096)] = 256,
        style: Literal["plain", "poetic"] = "plain",
        stop: list[str] = [],
    ) -> Iterator[str]:
        """Continue a text, word by word."""
        for word in WORDS:
            yield word + " "
            time.sleep(0.03)


    @app.endpoint("/embed")
    def embed(texts: list[str]) -> list[list[float]]:
        """Embed texts as vectors."""
        return [[0.0] for _ in texts]
'''


def make_screenshot(path: Path = PICTURE) -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        app = write_app(Path(folder), APP, "models.py")
        with Served(app, folder=Path(folder)) as served, Browser() as browser:
            page = browser.open(f"{served.base_url}/docs", width=WIDTH, height=HEIGHT)
            _show_stream(page)
            page.screenshot(path)
            served.stop()


def _show_stream(page: Page) -> None:
    page.click("nav a[href='#generate']")
    page.fill(page.labelled("prompt"), "What is a penstock?")
    page.fill(page.labelled("Deadline"), "20")
    page.click("button.main")
    page.click("input[value=joined] + span")
    page.wait_for(f"document.querySelectorAll('.chunks li').length >= {ENOUGH_WORDS}")


if __name__ == "__main__":
    make_screenshot()
