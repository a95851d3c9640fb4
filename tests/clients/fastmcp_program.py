"""The client of FastMCP."""

from __future__ import annotations

from fastmcp import Client
from fastmcp.exceptions import ToolError
from program import URL, expect, run


async def check_list() -> None:
    async with Client(f"{URL}/mcp") as client:
        tools = {tool.name: tool for tool in await client.list_tools()}
    expect((len(tools), tools["spell"].description), (8, "Yield the letters of a word."))


async def check_calls() -> None:
    async with Client(f"{URL}/mcp/") as client:
        expect((await client.call_tool("add", {"a": 2})).data, 3.0)
        expect((await client.call_tool("person", {"name": "Ada"})).data, {"name": "Ada"})
        expect((await client.call_tool("spell", {"word": "abc"})).data, ["a", "b", "c"])
        expect((await client.call_tool("picture", {})).content[0].type, "image")


async def check_failures() -> None:
    async with Client(f"{URL}/mcp") as client:
        for name, arguments in (("always-fails", {}), ("add", {"a": "x"})):
            try:
                await client.call_tool(name, arguments)
            except ToolError as error:
                expect(bool(str(error)), True)
            else:
                raise AssertionError("the tool has failed")


async def check_progress() -> None:
    steps = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        steps.append((done, total, message))

    async with Client(f"{URL}/mcp", progress_handler=note) as client:
        expect((await client.call_tool("climb", {"steps": 2})).data, "at the top")
    expect(steps, [(1.0, 2.0, "step 1"), (2.0, 2.0, "step 2")])


if __name__ == "__main__":
    run(dict(globals()))
