"""Generated clients against real servers: the page about them, and a schema that changes."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from penstock_cli.client_module import client_module
from penstock_client import errors
from tests.serving import ROOT, Served, write_app
from tests.test_docs_blocks import WORDS, blocks_of, generate_client

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "how-to" / "typed-client.md"
ZOO = "tests/core/openapi/zoo_app.py"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the app of the page, and its client."""
    folder = tmp_path_factory.mktemp("words")
    write_app(folder, WORDS, "words.py")
    generate_client(folder)
    return folder


@pytest.fixture
def page(words: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the names of the page, with the client in reach."""
    monkeypatch.syspath_prepend(words)
    names: dict[str, Any] = {}
    exec(compile("\n\n".join(blocks_of(PAGE)), str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_page_works(words: Path, page: dict[str, Any], backend: str) -> None:
    """A call and a stream, with and without a loop."""
    with Served("words:app", folder=words) as served:
        page["client"] = page["WordsClient"](served.base_url)
        assert page["mood"]("fine") == "good"
        assert page["spell"]("abc") == ["a", "b", "c"]
        page["client"].close()

        async def main() -> list[Any]:
            async with page["AsyncWordsClient"](served.base_url) as client:
                said = (await client.mood(page["MoodInput"](text="fine"))).value
                async with client.spell(page["SpellInput"](word="abc")) as letters:
                    return [said, [letter async for letter in letters]]

        assert anyio.run(main, backend=backend) == ["good", ["a", "b", "c"]]


def test_another_schema_is_logged_with_its_names(
    words: Path, page: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once; the calls go on. With the schema of the client, there is no line."""
    changed = WORDS.replace("text: str", "text: str, loud: bool = False").replace('"/spell"', '"/spell", name="write"')
    write_app(tmp_path, changed, "words.py")
    caplog.set_level(logging.WARNING, "penstock.client")
    for folder, expected in ((words, []), (tmp_path, ["changed: mood; removed: spell; added: write"])):
        with Served("words:app", folder=folder) as served, page["WordsClient"](served.base_url) as client:
            for _ in range(2):
                assert client.mood(page["MoodInput"](text="fine")).value == "good"
        messages = [record.getMessage() for record in caplog.records]
        assert [text.partition("): ")[2].partition("; generate")[0] for text in messages] == expected


# ---- the zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, ModuleType]]:
    """Serve an endpoint of every kind, with a client from the document of the server."""
    with Served(ZOO) as served:
        folder = tmp_path_factory.mktemp("zoo")
        source = client_module(served.get("/openapi.json").json(), "penstock client")
        (folder / "zoo_client_of_tests.py").write_text(source, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            yield served, importlib.import_module("zoo_client_of_tests")


def test_every_kind_of_endpoint_can_be_called(zoo: tuple[Served, ModuleType]) -> None:
    """Structs, bytes, values in paths and queries, forms, streams, and answers of several types."""
    served, module = zoo
    animal = module.Animal(name="Tim", colour="green")
    photo = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n123\r\n--x--\r\n'
    with module.TheZooClient(served.base_url) as client:
        assert client.square(module.SquareInput(input=3.0)).value == 9.0
        assert client.herd(module.Herd(leader=animal)).value == module.Herd(leader=animal)
        assert client.raw(b"\0").value == b"\0"
        assert client.maybe_raw(module.MaybeRawInput()).value == b"raw"
        assert client.maybe_raw(module.MaybeRawInput(is_raw=False)).value is None
        assert client.nothing().value is None
        assert client.anything(module.AnythingInput(value=[1])).value == {"value": [1]}
        with client.count(module.CountInput(n=2)) as animals:
            assert [each.name for each in animals] == ["animal 0", "animal 1"]
        with client.tone() as pieces:
            assert b"".join(pieces).startswith(b"RIFF")
        seen = client.look(5, "T m?", tags=["a", "b"], deep=True, options=module.Options(depth=1)).value
        assert seen == module.Animal(name="T m?")
        assert client.feed(5, "Tim", module.FeedInput(meals=["hay"])).value == 1
        assert client.photo("red", photo, content_type="multipart/form-data; boundary=x").value == 3
        with pytest.raises(errors.InvalidRequest):
            client.positive(module.PositiveInput(number=1000))


def test_the_limits_of_the_endpoints_come_along(
    zoo: tuple[Served, ModuleType], caplog: pytest.LogCaptureFixture
) -> None:
    """A time-out beyond them is logged, and nothing is asked for."""
    served, module = zoo
    with module.TheZooClient(served.base_url) as client:
        client.square(module.SquareInput(input=3.0), timeout=1000)
        assert client._shared.schema.limits == {"square": 330.0}
    [message] = [record.getMessage() for record in caplog.records if record.name == "penstock.client"]
    assert "square: the time-out of 1000 s is longer than the 330 s" in message
