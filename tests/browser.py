"""A headless Chromium for tests, driven over the pipe of its debugging protocol: it needs no driver and no port.

::

    with Browser() as browser:
        page = browser.open(f"{served.base_url}/docs")
        page.wait_for("document.querySelector('h2')")
        page.click("button.main")
        assert page.requests == [...]

Every wait here is bounded. The protocol is documented at https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
ANSWER_SECONDS = 20.0
FIRST_FREE_DESCRIPTOR = 10  # Chromium reads from descriptor 3 and writes to 4
CTRL, SHIFT = 2, 8
# Key code and text of the keys that have another name than their text.
KEYS: Mapping[str, tuple[int, str]] = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    " ": (32, " "),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
}
FOLDER_VARIABLES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    # No other host has an address, whatever asks for it.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Browser:
    """One Chromium with an empty profile, for as long as the ``with`` block runs."""

    def __enter__(self) -> Self:
        assert CHROMIUM is not None, "chromium is not installed"
        self._profile = tempfile.mkdtemp(prefix="penstock-chromium-")
        inner_in, self._out = _pipe()
        self._in, inner_out = _pipe()
        options = [*OPTIONS, f"--user-data-dir={self._profile}"]
        if os.getuid() == 0:
            options.append("--no-sandbox")  # Chromium has no sandbox for root
        null = os.open(os.devnull, os.O_RDWR)
        ends = [(null, 1), (null, 2), (inner_in, 3), (inner_out, 4)]
        self._pid = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *options, "about:blank"],
            # All that it writes is in its profile, so that nothing is left.
            {**os.environ, **dict.fromkeys(FOLDER_VARIABLES, self._profile)},
            file_actions=[(os.POSIX_SPAWN_DUP2, here, there) for here, there in ends],
            setsid=True,
        )
        for descriptor in (null, inner_in, inner_out):
            os.close(descriptor)
        self._received = bytearray()
        self._last_id = 0
        self._pages: dict[str, Page] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (self._in, self._out):
            os.close(descriptor)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)  # its other processes are in the same group, or end with it
        os.waitpid(self._pid, 0)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> Page:
        """Open a page in a tab with a profile of its own, and return it when it has loaded."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call(
            "Target.createTarget", url="about:blank", browserContextId=context, width=width, height=height
        )["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        page.begin(width, height)
        page.go(url)
        return page

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result; events that arrive before it go to their pages.

        Raises
        ------
        BrowserError
            If the browser refuses it, or does not answer in time.
        """
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        _write(self._out, json.dumps(message).encode() + b"\0")
        for answer in self._messages(method):
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
        raise BrowserError(f"{method}: the browser has ended")

    def _messages(self, method: str) -> Iterator[dict[str, Any]]:
        give_up_at = time.monotonic() + ANSWER_SECONDS
        while True:
            while b"\0" in self._received:
                text, _, rest = bytes(self._received).partition(b"\0")
                self._received[:] = rest
                message = json.loads(text)
                page = self._pages.get(message.get("sessionId", ""))
                if "id" not in message and page is not None:
                    page.note(message["method"], message["params"])
                yield message
            if not select.select([self._in], [], [], give_up_at - time.monotonic())[0]:
                raise BrowserError(f"{method}: no answer within {ANSWER_SECONDS} s")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                return
            self._received += piece


class BrowserError(Exception):
    """The browser refuses a command, or does not answer."""


class Page:
    """A tab.

    Attributes
    ----------
    requests:
        The URLs that it has requested, whether or not anything answered.
    complaints:
        The errors in the browser's console, except for responses with an error status: exceptions, and violations of
        the page's policy.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def begin(self, width: int, height: int) -> None:
        """Prepare the tab."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        # A tab of a headless browser is not focused otherwise, and has no focus events.
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def note(self, event: str, facts: dict[str, Any]) -> None:
        """Take in an event."""
        if event == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(facts["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event == "Runtime.consoleAPICalled" and facts["type"] in {"error", "assert", "warning"}:
            self.complaints.append(str(facts["args"]))
        elif event == "Log.entryAdded":
            entry = facts["entry"]
            if entry["level"] in {"error", "warning"} and entry["source"] != "network":
                self.complaints.append(entry["text"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to the tab, as ``Browser.call``."""
        return self._browser.call(method, session=self._session, **parameters)

    def forget(self) -> None:
        """Leave the page, and forget what has been noted about it."""
        self.go("about:blank")
        self.requests.clear()
        self.complaints.clear()

    def go(self, url: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def resize(self, width: int, height: int, *, scale: float = 1.0) -> None:
        """Change the size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def prefer(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark`` colors."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, or what its promise resolves to.

        Raises
        ------
        BrowserError
            If it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, *, timeout: float = 10.0) -> Any:
        """Return the first truthy value of an expression; for an element, True.

        Raises
        ------
        AssertionError
            If there is none within ``timeout`` seconds.
        """
        give_up_at = time.monotonic() + timeout
        while True:
            with contextlib.suppress(BrowserError):  # the page may be between two documents
                if value := self.evaluate(f"((found) => (found instanceof Node ? true : found))({expression})"):
                    return value
            if time.monotonic() >= give_up_at:
                shown = self.evaluate("document.body?.innerText")
                raise AssertionError(f"{timeout} s passed without {expression}; the page shows:\n{shown}")
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Return the text of the first element that matches."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def labelled(self, name: str) -> str:
        """Return the selector of the visible input whose label begins with this word."""
        found = self.wait_for(
            f"[...document.querySelectorAll('label')].find((one) => one.checkVisibility() && "
            f"one.innerText.trim().split(/\\s/)[0] === {json.dumps(name)})?.control?.id"
        )
        return f"#{found}"

    # ---- a user's hands

    def click(self, selector: str) -> None:
        """Click into the middle of the first visible element that matches."""
        find = f"[...document.querySelectorAll({json.dumps(selector)})].find((one) => one.checkVisibility())"
        self.wait_for(find)
        self.evaluate(f"{find}.scrollIntoView({{block: 'center'}})")
        x, y = self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({find}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key."""
        code, text = KEYS.get(key, (ord(key[0].upper()), key))
        facts = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **facts)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def fill(self, selector: str, text: str) -> None:
        """Replace the text of an input."""
        self.click(selector)
        self.press("a", CTRL)
        self.type(text)

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files for an input, as in the dialog that it opens."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def screenshot(self, path: Path) -> None:
        """Write what the window shows into a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def _pipe() -> tuple[int, int]:
    """Return a pipe, with numbers that are out of the way."""
    low = os.pipe()
    reader, writer = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_DESCRIPTOR) for end in low)
    for end in low:
        os.close(end)
    return reader, writer


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
