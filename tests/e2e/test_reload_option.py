"""``penstock serve --reload``: edits show up by themselves, and broken ones do no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e

APP = """
    from penstock import App
    from helper import FACTOR

    app = App(__name__)

    @app.endpoint("/scaled")
    def scaled(value: int) -> int:
        return value * FACTOR
"""


class Edited(Served):
    def scaled(self) -> int:
        return int(self.post_json("/scaled", {"value": 10}).json())


def test_an_edit_is_served_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """Any file of the app's folder counts; until the new code imports, the old one serves."""
    write_app(tmp_path, "FACTOR = 1", "helper.py")
    app = write_app(tmp_path, APP)
    with Edited(app, "--reload", folder=tmp_path) as served:
        assert served.scaled() == 10
        write_app(tmp_path, "FACTOR = 2", "helper.py")
        wait_until(lambda: served.scaled() == 20, "the new code", timeout=20)
        write_app(tmp_path, "FACTOR = ", "helper.py")
        served.wait_for_line("reload-failed", timeout=20)
        assert served.scaled() == 20
        # Neither code nor a setting, so that nothing is loaded.
        write_app(tmp_path, "notes", "notes.txt")
        write_app(tmp_path, "FACTOR = 3", "helper.py")
        wait_until(lambda: served.scaled() == 30, "the mended code", timeout=20)
        assert served.output().count("file-changed") == 3
        assert served.stop() == 0
        assert served.survivors() == []
