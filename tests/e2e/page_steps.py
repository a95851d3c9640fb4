"""The steps of a user on the page at ``/docs``, and the rule that holds for whatever happens there."""

from __future__ import annotations

from tests.browser import Page
from tests.serving import Served


def opened(tab: Page, url: str) -> Page:
    """Return the tab with the page in it, as if it were new."""
    tab.forget()
    tab.resize(1280, 900)
    tab.go(url)
    tab.wait_for("document.querySelector('h2, [role=alert]')")
    return tab


def assert_clean(page: Page, served: Served) -> None:
    """Assert that the page has sent nothing to another server, and has no error in its console."""
    assert {url for url in page.requests if not url.startswith((f"{served.base_url}/", "blob:", "data:"))} == set()
    assert page.complaints == []


def choose(page: Page, name: str) -> None:
    """Choose an endpoint from the list, by its path without the slash."""
    place = page.evaluate(
        f"1 + [...document.querySelectorAll('nav code')].findIndex((one) => one.innerText === '/{name}')"
    )
    page.click(f"nav li:nth-child({place}) a")
    page.wait_for(f"document.querySelector('h2 code')?.innerText === '/{name}'")


def send(page: Page) -> str:
    """Send the request, and return what is said when the answer is complete."""
    page.click("button.main")
    return finished(page)


def finished(page: Page) -> str:
    page.wait_for("document.querySelector('.actions button:not(.main)').disabled")
    return page.text("[role=status]")


def write_json(page: Page, text: str) -> None:
    """Replace the whole body by this text."""
    page.click("input[value=raw] + span")
    page.fill("textarea.whole", text)
