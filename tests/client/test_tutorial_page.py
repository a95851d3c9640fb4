"""docs/client-tutorial.md: its blocks run in one session, against the app of docs/tutorial.md."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving import ROOT, Served, write_app
from tests.test_docs_blocks import blocks_of

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "client-tutorial.md"
STEP = re.compile(r"^```python\n(?P<source>.*?)^```$(?:\n\n```\n(?P<output>.*?)^```$)?", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    [app] = blocks_of(ROOT / "docs" / "tutorial.md")
    with Served(write_app(tmp_path_factory.mktemp("app"), app)) as server:
        yield server


def test_each_block_prints_what_is_below_it(served: Served) -> None:
    """A reader who pastes the blocks in their order sees what the page shows."""
    steps = list(STEP.finditer(PAGE.read_text(encoding="utf-8")))
    assert [step["source"] for step in steps] == blocks_of(PAGE)
    names: dict[str, Any] = {}
    for step in steps:
        source = step["source"].replace("http://127.0.0.1:8000", served.base_url)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, str(PAGE), "exec"), names)
        assert printed.getvalue() == (step["output"] or ""), step["source"]
    names["client"].close()
