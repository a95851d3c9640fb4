"""docs/how-to/mcp.md: the tools of the page, and the clients of the page, which use them as it is written there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from tests.clients.judges import Judge, environment_of
from tests.serving import ROOT, Served
from tests.test_docs_blocks import blocks_of

pytestmark = pytest.mark.e2e
PAGE = ROOT / "docs" / "how-to" / "mcp.md"
ADDRESS = "http://127.0.0.1:8000"
MCP, FASTMCP = Judge("mcp2", "mcp2"), Judge("fastmcp", "mcp2")
SAID = [
    "add - Adds two numbers",
    "transcribe - Write down what is said in a recording, given its URL.",
    "5.0",
    "listening: 1 of 2",
    "listening: 2 of 2",
    "Good morning. Shall we begin? ",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    target = tmp_path_factory.mktemp("page") / "calculator.py"
    target.write_text(blocks_of(PAGE)[0], encoding="utf-8")
    with Served(target) as served:
        yield served


def test_the_tools_of_the_page_are_served(served: Served) -> None:
    """Under the names of their paths."""
    answer = served.post_json("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert [tool["name"] for tool in answer.json()["result"]["tools"]] == ["add", "transcribe"]


@pytest.mark.thorough
@pytest.mark.parametrize(("place", "judge", "lines"), [(1, MCP, SAID), (2, FASTMCP, ["5.0"])], ids=["mcp", "fastmcp"])
def test_a_client_of_the_page_uses_them(served: Served, place: int, judge: Judge, lines: list[str]) -> None:
    """Pasted into a file, with the address of the server."""
    judge.require_environment()
    blocks = blocks_of(PAGE)
    assert len(blocks) == 3
    assert ADDRESS in blocks[place]
    ended = subprocess.run(
        [str(judge.python), "-c", blocks[place].replace(ADDRESS, served.base_url)],
        env=environment_of(served.base_url),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (ended.returncode, ended.stdout.splitlines()) == (0, lines), ended.stderr


def test_the_page_is_about_the_tool_that_there_is() -> None:
    """Each option of ``Tool``, and each setting, is in a table of the page."""
    from penstock_mcp import McpPlugin, Tool

    text = Path(PAGE).read_text(encoding="utf-8")
    names = [*(field.name for field in fields(Tool)), *McpPlugin.Settings.__struct_fields__]
    common = {"enabled"}  # every plug-in has it
    assert [name for name in names if f"`{name}`" not in text and name not in common] == []
