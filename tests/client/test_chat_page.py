"""docs/how-to/chat.md: its functions talk to a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from penstock_client import AsyncClient, ToolCall
from tests.client.parrot import PARROT
from tests.serving import ROOT, Served, write_app
from tests.test_docs_blocks import blocks_of

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "how-to" / "chat.md"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(write_app(tmp_path_factory.mktemp("app"), PARROT)) as server:
        yield server


@pytest.fixture
def page(served: Served) -> Iterator[dict[str, Any]]:
    """Return the names of the page, with the address of the server that runs."""
    source = "\n\n".join(blocks_of(PAGE)).replace("http://127.0.0.1:8000", served.base_url)
    assert served.base_url in source
    names: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec"), names)
    yield names
    names["client"].close()


def test_ask(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The text is returned, and the facts are printed."""
    assert page["ask"]("to be") == "to be "
    assert capsys.readouterr().out.startswith("parrot stop Usage(")


def test_tell(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is printed, and the answer is whole."""
    answer = page["tell"]("to be call")
    assert (answer.content, answer.tool_calls) == ("to be ", (ToolCall("c1", "weather", {"city": "Oslo"}),))
    assert capsys.readouterr().out == "to be [weather {'city': 'Oslo'}]\n[3 tokens]\n[stop]\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tell_async(served: Served, page: dict[str, Any], backend: str) -> None:
    """The same in a loop."""

    async def main() -> Any:
        async with AsyncClient(served.base_url) as client:
            return await page["tell_async"](client, "to be")

    assert anyio.run(main, backend=backend) == "to be "


def test_advise(page: dict[str, Any]) -> None:
    """The function is called, and its result is in the next answer."""
    assert page["advise"]("What is the weather?") == "It rains in Oslo. "


def test_careful(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A failure in the middle is said, with what came."""
    assert list(page["careful"]("to be fail"))[:2] == ["to ", "be "]
    assert capsys.readouterr().out == "to be  () None\n"
