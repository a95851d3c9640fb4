"""Background jobs on the page at ``/docs``, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CTRL, Browser, Page, needs_chromium
from tests.e2e.page_steps import assert_clean, choose, finished, opened, send, write_json
from tests.serving import ROOT, Served

pytestmark = [pytest.mark.e2e, needs_chromium]

APP = "tests/e2e/apps/page_jobs_app.py:app"
STORE = {"PENSTOCK_JOBS_STORE": "memory:"}
AS_JOB = "input[value=job] + span"
STATE = "document.querySelector('.answer .status strong')?.innerText"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served(APP, environment=STORE) as served:
        yield served


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with Browser() as browser:
        yield browser.open("about:blank")


@pytest.fixture
def page(tab: Page, served: Served) -> Iterator[Page]:
    yield opened(tab, f"{served.base_url}/docs")
    assert_clean(tab, served)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that lets the handlers of the app go on, once it is there."""
    return tmp_path / "gate"


def fill(page: Page, **values: object) -> None:
    for name, value in values.items():
        page.fill(page.labelled(name), str(value))


def start_job(page: Page, name: str, **values: object) -> None:
    """Choose an endpoint, fill its form, and send it as a background job."""
    choose(page, name)
    fill(page, **values)
    page.click(AS_JOB)
    page.click("button.main")


def wait_for_state(page: Page, state: str) -> None:
    page.wait_for(f"{STATE} === {json.dumps(state)}")


def test_a_job_is_shown_from_its_progress_to_its_result(page: Page, gate: Path) -> None:
    """Its id, its state and its progress as they change, and then the endpoint's own answer with its times."""
    start_job(page, "render", frames=8, gate=gate)
    wait_for_state(page, "running")
    page.wait_for("document.querySelector('.progress .quiet')?.innerText === '4 of 8 · half of the frames'")
    assert page.evaluate("(({value, max}) => [value, max])(document.querySelector('progress'))") == [4, 8]
    assert len(page.text("dl.facts dd")) == 36
    assert page.text("[role=status]") == "Job running"
    gate.touch()
    assert finished(page) == "Job succeeded"
    assert page.text(".progress .quiet") == "8 of 8 · all frames"
    assert json.loads(page.text(".answer .paper")) == {"frames": 8}
    assert "in the queue" in page.text(".legend .queue")
    assert "executing" in page.text(".legend .exec")


def test_the_shown_call_makes_a_job_too(page: Page, gate: Path) -> None:
    """It has the header that the page sends; for a direct call it does not."""
    choose(page, "spell")
    call = "[aria-label='The same call'] pre"
    assert "Prefer" not in page.text(call)
    page.click(AS_JOB)
    assert "-H 'Prefer: respond-async'" in page.text(call)
    assert "-N" not in page.text(call)
    assert not page.evaluate("document.querySelector(\"[value='text/event-stream']\").checkVisibility()")


@pytest.mark.parametrize("by", ["the button", "Escape"])
def test_a_job_is_cancelled_once_its_work_has_stopped(page: Page, served: Served, gate: Path, by: str) -> None:
    """Cancel asks for it; the page says so, and says that the job is cancelled when its handler has ended."""
    start_job(page, "hold", gate=gate)
    page.wait_for("document.querySelector('.progress .quiet')?.innerText === '3 · holding'")
    assert not page.evaluate("document.querySelector('progress').checkVisibility()")  # it has no total
    if by == "Escape":
        page.press("Escape")
    else:
        page.click(".actions button:not(.main)")
    wait_for_state(page, "running, cancelling …")
    job = page.text("dl.facts dd")
    assert served.get(f"/v1/jobs/{job}").json()["state"] == "running"
    gate.touch()
    assert finished(page) == "Job cancelled"
    assert page.text(".answer .status strong") == "cancelled"
    assert page.evaluate("document.querySelector('.status').classList.contains('bad')")
    assert "cancelled" in page.text(".answer .failure")


def test_the_keyboard_is_enough_for_a_job(page: Page, gate: Path) -> None:
    """The choice is a group of radio buttons with a name; Ctrl+Enter sends, and focus stays where it is."""
    choose(page, "render")
    fill(page, frames=8, gate=gate)
    page.evaluate("document.querySelector('input[value=call]').focus()")
    assert page.evaluate("document.activeElement.closest('[role=radiogroup]').ariaLabel") == "Send as"
    page.press("ArrowRight")
    page.press("Enter", CTRL)
    wait_for_state(page, "running")
    assert page.evaluate("document.querySelector('.answer progress').ariaLabel") == "Progress"
    gate.touch()
    assert finished(page) == "Job succeeded"
    assert page.evaluate("document.activeElement.value") == "job"


def test_a_failing_job_shows_its_problem(page: Page) -> None:
    """The problem document is that of a direct call."""
    start_job(page, "divide", by=0)
    assert finished(page) == "Job failed"
    as_job = page.text(".answer .failure")
    page.click("input[value=call] + span")
    assert send(page).startswith("500")
    assert page.text(".answer .failure") == as_job


def test_a_request_that_is_refused_becomes_no_job(page: Page) -> None:
    """The error is shown as that of a direct call, with the field that it names."""
    choose(page, "divide")
    write_json(page, '{"by": "x"}')
    page.click(AS_JOB)
    assert send(page).startswith("422")
    assert page.text(".failure button") == "$.by"


def test_the_chunks_of_a_job_are_shown_as_they_come(page: Page, gate: Path) -> None:
    """Before the stream has ended, and all of them at the end, when they can be saved."""
    start_job(page, "spell", word="pipe", gate=gate)
    shown = "[...document.querySelectorAll('.chunks code')].map((one) => one.innerText).join('')"
    page.wait_for(f'{shown} === \'"p""i""p"\'')
    wait_for_state(page, "running")
    gate.touch()
    assert finished(page) == "Job succeeded"
    page.click("input[value=joined] + span")
    assert page.text(".chunks") == "pipe"
    assert "Save" in page.text(".answer .answer .bar")
    assert page.evaluate("document.querySelectorAll('.answer .paper').length") == 1


def test_a_job_that_is_left_goes_on(page: Page, served: Served, gate: Path) -> None:
    """Another call may be sent meanwhile; it takes the place of the job on the page."""
    start_job(page, "hold", gate=gate)
    page.wait_for("document.querySelector('.progress .quiet')?.innerText === '3 · holding'")
    job = page.text("dl.facts dd")
    page.click("button.main")
    page.wait_for(f"![undefined, {json.dumps(job)}].includes(document.querySelector('dl.facts dd')?.innerText)")
    assert served.get(f"/v1/jobs/{job}").json()["cancel_requested"] is False
    gate.touch()
    for each in (job, page.text("dl.facts dd")):
        served.request("POST", f"/v1/jobs/{each}/cancel?wait=20")


def test_an_endpoint_without_jobs_has_no_such_control(page: Page) -> None:
    """There is nothing to choose, neither for an endpoint that takes none, nor for the routes of jobs."""
    for name in ("square", "v1/jobs"):
        choose(page, name)
        assert page.evaluate("document.querySelector('input[value=job]')") is None


def test_a_job_of_a_caller_with_a_key_below_a_prefix(tab: Page, gate: Path) -> None:
    """The job is followed and cancelled with the key, at addresses below the prefix."""
    key = "a-key-of-this-tab-alone"
    environment = {**STORE, "PENSTOCK_AUTH_KEYS": f"alice={key}"}
    with Served(APP, "--docs", "--root-path", "/models", environment=environment) as guarded:
        page = opened(tab, f"{guarded.base_url}/models/docs")
        page.type(key)
        page.press("Enter")
        page.wait_for("document.querySelector('h2')")
        start_job(page, "hold", gate=gate)
        page.wait_for("document.querySelector('.progress .quiet')?.innerText === '3 · holding'")
        page.press("Escape")
        wait_for_state(page, "running, cancelling …")
        gate.touch()
        assert finished(page) == "Job cancelled"
        job = page.text("dl.facts dd")
        asked = {url.removeprefix(f"{guarded.base_url}/models/v1/jobs/{job}/") for url in page.requests}
        assert {"events", "cancel", "result"} < asked
        assert_clean(page, guarded)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_job_can_be_read(page: Page, gate: Path, scheme: str) -> None:
    """Its texts have a contrast of 4.5 to their ground, and nothing is cut off on a narrow screen."""
    contrast = (ROOT / "tests" / "contrast.js").read_text(encoding="utf-8")
    page.prefer(scheme)
    page.resize(360, 800)
    start_job(page, "render", frames=8, gate=gate)
    page.wait_for("document.querySelector('progress')?.checkVisibility()")
    assert page.evaluate(contrast) == []
    gate.touch()
    finished(page)
    assert page.evaluate(contrast) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 360
