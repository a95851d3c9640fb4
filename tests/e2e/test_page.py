"""The page at ``/docs`` in a real browser: what a user sees there, and what the page never does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.openapi.page_routes import page_routes
from tests.browser import CTRL, Browser, Page, needs_chromium
from tests.e2e.page_steps import assert_clean, choose, finished, opened, send, write_json
from tests.e2e.watching import wait_idle
from tests.serving import ROOT, Served, wait_until

pytestmark = [pytest.mark.e2e, needs_chromium]

APP = "tests/e2e/apps/page_app.py:app"
TRICKY = 'it\'s "é" $HOME `x` \\n \\\\ \u2028 😀\n@second line'


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(APP) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Page:
    return browser.open("about:blank")


@pytest.fixture
def page(tab: Page, served: Served) -> Iterator[Page]:
    """The page; at the end of the test, it has sent nothing to another server, and has no error in its console."""
    yield opened(tab, f"{served.base_url}/docs")
    assert_clean(tab, served)


def shown_answer(page: Page) -> object:
    return json.loads(page.text(".answer .paper"))


def run_shown_calls(page: Page, folder: Path) -> list[object]:
    """Run the shown calls, for curl and for Python, in a folder; return what each of them is answered."""
    text = "document.querySelector(\"[aria-label='The same call'] pre\").textContent"
    call = ["sh", "-c", page.evaluate(text)]
    page.click("input[value=python] + span")
    script = [sys.executable, "-c", page.evaluate(text)]
    done = [subprocess.run(each, capture_output=True, check=True, timeout=20, cwd=folder) for each in (call, script)]
    status, _, answer = done[1].stdout.decode().partition(" ")
    assert status == "200"
    return [json.loads(done[0].stdout), json.loads(answer)]


def test_a_call(page: Page, served: Served) -> None:
    """A form becomes a request; the result is shown with its times, its request id, and the calls that do the same."""
    assert page.text("h1") == "Models 1.2"
    assert page.text(".about") == "Square a number."
    page.fill(page.labelled("input"), "4")
    assert send(page).startswith("200 OK")
    assert shown_answer(page) == 16.0
    assert "in the queue" in page.text(".legend .queue")
    assert "executing" in page.text(".legend .exec")
    assert page.text("dl.facts dd").startswith(served.get("/livez").headers["x-request-id"].partition("-")[0])
    assert page.text("[aria-label='The same call'] pre").startswith(f"curl {served.base_url}/square")
    paths = {url.removeprefix(served.base_url) for url in page.requests}
    assert paths == {*(route.path for route in page_routes()), "/openapi.json", "/square"}


def test_the_form_knows_the_schema(page: Page) -> None:
    """Nested objects, unions, lists, tuples, enums, booleans and what is optional; an empty field is left out."""
    choose(page, "shapes")
    page.fill(page.labelled("x"), "0.25")
    page.fill(page.labelled("edge"), "3")
    page.fill("[aria-label=item]", "red")
    page.press("Tab")  # to the button that removes it
    page.press("Tab")
    page.press("Enter")
    page.type("blue")
    page.fill(page.labelled("1"), "12345678901234567890")
    page.fill(page.labelled("2"), "two")
    page.press("Tab")
    page.press("e")  # the first of the choices that begin with it
    assert send(page).startswith("200 OK")
    box = {"type": "box", "corner": {"x": 0.25, "y": 0.5}, "edge": 3}
    assert "[12345678901234567890, " in page.text(".answer .paper")
    assert shown_answer(page) == [box, ["red", "blue"], [12345678901234567890, "two"], "exact", False, None, 10, None]


def test_the_form_and_its_json_are_one(page: Page) -> None:
    """The body can be edited as JSON, and the form shows it afterwards; what a form cannot show stays JSON."""
    choose(page, "shapes")
    body = {"shape": {"type": "circle", "radius": 2}, "labels": ["a", "b"], "pair": [1, "x"], "points": [{"x": 1}]}
    write_json(page, json.dumps(body))
    page.click("input[value=form] + span")
    assert page.evaluate(f"document.querySelector({json.dumps(page.labelled('radius'))}).value") == "2"
    assert send(page).startswith("200 OK")
    assert shown_answer(page)[:3] == [body["shape"], body["labels"], body["pair"]]  # type: ignore[index]
    write_json(page, '{"unknown": 1}')
    page.click("input[value=form] + span")
    assert 'no field for "unknown"' in page.text("[role=alert]")
    assert send(page).startswith("422")


def test_the_field_of_an_error_is_marked(page: Page) -> None:
    """An error is shown with its code; the field that it names is marked, and the next answer removes the mark."""
    choose(page, "shapes")
    body = '{"shape": {"type": "box", "corner": {"x": 7}, "edge": 1}, "labels": [], "pair": [1, ""]}'
    write_json(page, body)
    page.click("input[value=form] + span")
    assert send(page).startswith("422 Unprocessable ")  # Python 3.13 has the new phrase, with Content
    assert "invalid-request" in page.text(".failure")
    field = page.labelled("x")
    invalid = f"document.querySelector('{field}').getAttribute('aria-invalid')"
    assert page.evaluate(invalid) == "true"
    assert "<= 1" in page.text(f"{field}p")
    page.click(".failure button")
    assert page.evaluate(f"document.activeElement === document.querySelector('{field}')")
    page.press("a", CTRL)
    page.type("1")
    assert send(page).startswith("200 OK")
    assert page.evaluate(invalid) is None


def test_a_mistake_is_found_before_anything_is_sent(page: Page) -> None:
    """A field without its number, and text that is not JSON, have a plain message at the field, which has the focus."""
    sent = len(page.requests)
    page.click("button.main")
    assert page.text(".problem:not([hidden])") == "A number is needed here."
    write_json(page, '{"input": }')
    page.click("button.main")
    assert page.text("textarea.whole + .problem").startswith("This is not JSON")
    assert page.evaluate("document.activeElement.className") == "code whole"
    assert len(page.requests) == sent


def test_a_file_is_uploaded(page: Page, tmp_path: Path) -> None:
    """A raw body is chosen as a file, and arrives as it is; the shown call names the file."""
    file = tmp_path / "it's a file.bin"
    file.write_bytes(bytes(range(256)) * 300)
    choose(page, "size")
    page.choose_files("input[type=file]", [file])
    assert send(page).startswith("200 OK")
    assert shown_answer(page) == 76800
    assert r"--data-binary '@it'\''s a file.bin'" in page.text("[aria-label='The same call'] pre")


def test_files_are_uploaded_with_a_form(page: Page, tmp_path: Path) -> None:
    """A file and its fields are a multipart form, beside a variable of the path; the shown calls send the same."""
    (tmp_path / "my cat.png").write_bytes(b"12345")
    (tmp_path / "notes.txt").write_bytes(b"1")
    choose(page, "users/{user_id}/caption")
    page.fill(page.labelled("user_id"), "7")
    page.choose_files(page.labelled("picture"), [tmp_path / "my cat.png"])
    page.choose_files(page.labelled("more"), [tmp_path / "notes.txt"])
    page.fill(page.labelled("words"), "5")
    assert send(page).startswith("200 OK")
    expected = [7, [["my cat.png", "image/png", 5], ["notes.txt", "text/plain", 1]], 5]
    assert shown_answer(page) == expected
    assert run_shown_calls(page, tmp_path) == [expected, expected]


def test_a_query_is_sent(page: Page, tmp_path: Path) -> None:
    """The parameters of a GET endpoint are fields too, and become its query."""
    choose(page, "search")
    page.fill(page.labelled("q"), "a & b = ü?")
    page.click(".items + button")
    page.type("x")
    assert send(page).startswith("200 OK")
    assert shown_answer(page) == ["a & b = ü?", 3, ["x"]]
    assert run_shown_calls(page, tmp_path) == [shown_answer(page)] * 2


@pytest.mark.parametrize("framing", ["application/x-ndjson", "text/event-stream"])
def test_a_stream_is_shown_as_it_arrives_and_cancelled(page: Page, served: Served, framing: str) -> None:
    """Chunks are there before the stream ends; Escape cancels it, and the slot of its worker is free again."""
    choose(page, "count")
    write_json(page, '{"n": 100000, "delay": 0.01}')
    page.click(f"input[value='{framing}'] + span")
    page.click("button.main")
    page.wait_for("document.querySelectorAll('.chunks li').length > 3")
    assert page.text(".chunks li:nth-child(2) code") == '{"token":1}'
    assert served.status()["endpoints"]["count"]["running"] == 1
    page.press("Escape")
    assert finished(page).startswith("Cancelled after")
    wait_until(lambda: served.status()["endpoints"]["count"]["running"] == 0, "the end of the job")
    wait_idle(served, "default")
    assert page.text("h3 + .bar button") == "Save"


def test_a_stream_of_text_can_be_read_as_text(page: Page) -> None:
    """Chunks that are strings are shown one by one, or joined."""
    choose(page, "say")
    write_json(page, json.dumps({"words": ["The ", "quick ", "fox <b>", "\n"]}))
    assert send(page).startswith("200 OK")
    assert page.evaluate("[...document.querySelectorAll('.chunks code')].map((one) => one.innerText)") == [
        '"The "',
        '"quick "',
        '"fox <b>"',
        r'"\n"',
    ]
    page.click("input[value=joined] + span")
    assert page.text(".chunks").strip() == "The quick fox <b>"


def test_events_are_shown_with_their_names(page: Page) -> None:
    """The name is beside the data; the event that ends the stream is not shown as a chunk."""
    choose(page, "events")
    page.click("input[value='text/event-stream'] + span")
    assert send(page).startswith("200 OK")
    shown = "[...document.querySelectorAll('.chunks li > :not(time)')].map((one) => one.innerText)"
    assert page.evaluate(shown) == ["progress", "7", "8"]


def test_a_stream_that_fails_is_not_taken_for_a_whole_one(page: Page) -> None:
    """The error at the end of a stream is shown as one."""
    choose(page, "breaks")
    said = send(page)
    # Chromium may drop what it has received when the connection is cut, and the error with it.
    assert said.startswith(("The stream failed: The handler raised", "The answer broke off before its end"))
    assert page.evaluate("document.querySelector('[role=status]').className") == "failure"


def test_a_deadline_is_kept(page: Page) -> None:
    """The deadline that is entered is sent with the request; one that cannot be read is marked."""
    choose(page, "sleep")
    page.fill(page.labelled("seconds"), "20")
    page.fill(page.labelled("Deadline"), "0.5")
    assert send(page).startswith("504")
    assert "-H 'X-Request-Timeout: 0.5'" in page.text("[aria-label='The same call'] pre")
    page.fill(page.labelled("Deadline"), "soon")
    assert send(page).startswith("400")
    assert page.evaluate(f"document.querySelector('{page.labelled('Deadline')}').ariaInvalid") == "true"


def test_what_the_server_sends_is_text(page: Page) -> None:
    """Markup in an answer is shown, and not obeyed."""
    choose(page, "echo")
    markup = "<img src=x onerror='document.title = 1'><b>"
    write_json(page, json.dumps({"value": {markup: markup}}))
    assert send(page).startswith("200 OK")
    assert shown_answer(page) == {markup: markup}
    assert page.evaluate("document.querySelector('.answer img, .answer .paper b')") is None


def test_a_picture_is_shown(page: Page) -> None:
    """An answer that is a picture is shown as one, within the policy of the page."""
    choose(page, "picture")
    assert send(page).startswith("200 OK")
    assert page.wait_for("document.querySelector('.answer img').naturalWidth") == 8


def test_the_shown_calls_do_the_same(page: Page, tmp_path: Path) -> None:
    """The calls for curl and for Python, run as they are shown, get the same answer, whatever is in the request."""
    choose(page, "echo")
    page.fill(page.labelled("text"), TRICKY)
    assert send(page).startswith("200 OK")
    assert shown_answer(page) == TRICKY
    assert run_shown_calls(page, tmp_path) == [TRICKY, TRICKY]


def tab_to(page: Page, condition: str) -> None:
    """Press Tab until the element with the focus is the wanted one."""
    for _ in range(20):
        page.press("Tab")
        if page.evaluate(condition):
            return
    raise AssertionError(f"not reached by Tab: {condition}")


def test_the_keyboard_is_enough(page: Page) -> None:
    """Tab reaches the list, Enter chooses, and then comes the form; Ctrl+Enter sends from any field."""
    tab_to(page, "document.activeElement.innerText.includes('/count')")
    page.press("Enter")
    page.wait_for("document.querySelector('h2 code')?.innerText === '/count'")
    assert page.evaluate("document.activeElement.tagName") == "H2"
    tab_to(page, "document.activeElement.labels?.[0]?.innerText.startsWith('n ')")
    page.type("2")
    page.press("Enter", CTRL)
    assert finished(page).startswith("200 OK")
    assert page.evaluate("document.querySelectorAll('.chunks li').length") == 2
    # All that can be operated has a name.
    nameless = (
        "[...document.querySelectorAll('input, select, textarea, button')].filter((one) => !one.labels?.length"
        " && !one.getAttribute('aria-label') && !one.innerText).map((one) => one.outerHTML)"
    )
    assert page.evaluate(nameless) == []


def test_a_key_stays_in_the_tab(tab: Page) -> None:
    """The description is asked for with the key; it is stored nowhere, and the shown calls have a variable instead."""
    key = "a-key-of-this-tab-alone"
    options = ("--docs", "--root-path", "/models")
    with Served(APP, *options, environment={"PENSTOCK_AUTH_KEYS": f"alice={key}"}) as guarded:
        page = opened(tab, f"{guarded.base_url}/models/docs")
        assert "Enter yours" in page.text("[role=alert]")
        page.type(key)
        page.press("Enter")
        page.fill(page.labelled("input"), "3")
        assert send(page).startswith("200 OK")
        call = page.text("[aria-label='The same call'] pre")
        assert '-H "Authorization: Bearer $API_KEY"' in call
        kept = page.evaluate(
            "(async () => JSON.stringify([location.href, document.cookie, {...localStorage}, {...sessionStorage},"
            " await indexedDB.databases(), await caches.keys(), document.documentElement.outerHTML]))()"
        )
        assert key not in kept
        assert f"{guarded.base_url}/models/square" in page.requests
        page.go(f"{guarded.base_url}/models/docs?again")
        page.wait_for("document.querySelector('#secret')")
        assert page.evaluate("document.querySelector('#secret').value") == ""
        assert_clean(page, guarded)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colors_can_be_read(page: Page, scheme: str) -> None:
    """Text has a contrast of 4.5 to its ground, in light and dark, and nothing is cut off on a narrow screen."""
    page.prefer(scheme)
    page.resize(360, 800)
    contrast = (ROOT / "tests" / "contrast.js").read_text(encoding="utf-8")
    page.fill(page.labelled("input"), "x")
    page.click("button.main")
    assert page.text(".problem:not([hidden])") == "This is not a number."
    assert page.evaluate(contrast) == []
    write_json(page, '{"input": "x"}')
    assert send(page).startswith("422")
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate(contrast) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 360
