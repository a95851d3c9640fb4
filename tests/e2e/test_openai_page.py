"""The page about OpenAI's protocol: its app, and its client, as they are printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ROOT, Served, write_app

pytestmark = pytest.mark.e2e

PAGE = (ROOT / "docs" / "how-to" / "openai.md").read_text(encoding="utf-8")


def test_the_page_works(tmp_path: Path) -> None:
    """The client of the page reaches the app of the page."""
    app, client, *_ = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    with Served(write_app(tmp_path, app)) as served:
        names: dict[str, Any] = {}
        exec(client.replace("http://127.0.0.1:8000", served.base_url), names)
        with names["client"]:
            assert names["ask"]() == names["tell"]() == "Say hello "
            assert names["measure"]() == [3.0, 1.0]
