"""The client of the Model Context Protocol of 2026-07-28, in which each request stands for itself."""

from __future__ import annotations

from typing import Any

import anyio
from mcp import Client, MCPError
from program import URL, expect, run

MODES: tuple[Any, ...] = ("auto", "legacy", "2026-07-28")


async def check_versions() -> None:
    for mode, version in zip(MODES, ("2026-07-28", "2025-11-25", "2026-07-28"), strict=True):
        for path in ("/mcp", "/mcp/"):
            async with Client(f"{URL}{path}", mode=mode) as client:
                expect(client.protocol_version, version)
                expect(len((await client.list_tools()).tools), 8)
    async with Client(f"{URL}/mcp") as client:
        expect(client.server_info.name, "judged_app")


async def check_list() -> None:
    async with Client(f"{URL}/mcp") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    expect(tools["add"].input_schema["required"], ["a"])
    expect(tools["add"].output_schema, {"type": "number"})
    expect(tools["add"].annotations.read_only_hint, True)


async def check_calls() -> None:
    for mode in MODES:
        async with Client(f"{URL}/mcp", mode=mode) as client:
            await client.list_tools()  # from now on, results are compared with their schemas
            found = await client.call_tool("add", {"a": 2})
            wanted: Any = {"result": 3.0} if mode == "legacy" else 3.0
            expect((found.content[0].text, found.structured_content, found.is_error), ("3.0", wanted, False))
            expect((await client.call_tool("person", {"name": "Zoë"})).structured_content, {"name": "Zoë"})
            expect((await client.call_tool("spell", {"word": "abc"})).content[0].text, "abc")


async def check_a_picture() -> None:
    async with Client(f"{URL}/mcp") as client:
        (content,) = (await client.call_tool("picture", {})).content
    expect((content.type, content.mime_type, content.data[:8]), ("image", "image/png", "iVBORw0K"))


async def check_failures() -> None:
    for mode in MODES:
        async with Client(f"{URL}/mcp", mode=mode) as client:
            for name, arguments in (("always-fails", {}), ("late", {}), ("add", {"a": "x"})):
                expect((await client.call_tool(name, arguments)).is_error, True)
            for name in ("subtract", "ä"):
                try:
                    await client.call_tool(name, {})
                except MCPError as error:
                    expect(error.error.code, -32602)
                else:
                    raise AssertionError("there is no such tool")
            expect((await client.call_tool("add", {"a": 1})).is_error, False)


async def check_progress() -> None:
    for mode in MODES:
        steps: list[Any] = []

        async def note(done: float, total: float | None, message: str | None, steps: list[Any] = steps) -> None:
            steps.append((done, total, message))

        async with Client(f"{URL}/mcp", mode=mode) as client:
            result = await client.call_tool("climb", {"steps": 3}, progress_callback=note)
        expect(result.content[0].text, "at the top")
        expect(steps, [(1.0, 3.0, "step 1"), (2.0, 3.0, "step 2"), (3.0, 3.0, "step 3")])


async def check_leaving_early() -> None:
    for mode in MODES:
        async with Client(f"{URL}/mcp", mode=mode) as client:
            with anyio.move_on_after(0.3):
                await client.call_tool("wait", {})
            with anyio.move_on_after(0.3):  # its one worker is free again
                await client.call_tool("wait", {})
            expect((await client.call_tool("add", {"a": 1})).is_error, False)


if __name__ == "__main__":
    run(dict(globals()))
