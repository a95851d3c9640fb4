"""Everything that a fork, an import or a file's name might break between ``penstock serve`` and a handler."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import Served, write_app

pytestmark = pytest.mark.e2e

# ---- start methods

THREADED = """
    import os
    import threading
    from penstock import App

    app = App(__name__)
    threading.Thread(target=threading.Event().wait, name="lingerer", daemon=True).start()
    IMPORTED_IN = os.getpid()

    @app.endpoint("/is-fresh", workers=2)
    def is_fresh() -> bool:
        return IMPORTED_IN == os.getpid()
"""


@pytest.mark.parametrize(
    ("options", "is_fresh", "logged"),
    [
        ((), True, "so each worker is a new process"),
        (("--start-method", "fork"), False, "workers may hang or fail"),
        (("--start-method", "fresh"), True, ""),
    ],
    ids=["auto", "fork", "fresh"],
)
def test_start_method(tmp_path: Path, options: tuple[str, ...], is_fresh: bool, logged: str) -> None:
    """An app that cannot be forked gets fresh workers, and one log line with the reason; the option overrides that."""
    app = write_app(tmp_path, THREADED)
    with Served(app, *options, "--log-format", "json", folder=tmp_path) as served:
        assert served.post_json("/is-fresh", {}).json() is is_fresh
        events = served.events("fork-hazards")
    assert [event["hazards"] for event in events] == (["thread 'lingerer'"] if logged else [])
    assert all(logged in event["message"] for event in events)
