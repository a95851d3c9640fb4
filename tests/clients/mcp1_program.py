"""The client of the Model Context Protocol that begins with a handshake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification
from program import URL, expect, run


@asynccontextmanager
async def session(path: str = "/mcp") -> AsyncIterator[ClientSession]:
    async with (
        streamable_http_client(f"{URL}{path}") as (reader, writer, *_),
        ClientSession(reader, writer) as opened,
    ):
        await opened.initialize()
        yield opened


async def check_handshake() -> None:
    for path in ("/mcp", "/mcp/"):
        async with (
            streamable_http_client(f"{URL}{path}") as (reader, writer, *_),
            ClientSession(reader, writer) as opened,
        ):
            answer = await opened.initialize()
            expect(answer.protocolVersion, "2025-11-25")
            expect(answer.serverInfo.name, "judged_app")
            await opened.send_ping()


async def check_list() -> None:
    async with session() as opened:
        tools = {tool.name: tool for tool in (await opened.list_tools()).tools}
    expect(sorted(tools), ["add", "always-fails", "climb", "late", "person", "picture", "spell", "wait"])
    expect(tools["add"].description, "Adds two numbers")
    expect(tools["add"].inputSchema["required"], ["a"])
    expect(tools["add"].outputSchema["required"], ["result"])
    expect(tools["add"].annotations.readOnlyHint, True)
    expect(tools["person"].title, "A person")
    expect(tools["picture"].outputSchema, None)


async def check_calls() -> None:
    async with session() as opened:
        await opened.list_tools()  # from now on, results are compared with their schemas
        sum_ = await opened.call_tool("add", {"a": 2})
        expect((sum_.content[0].text, sum_.structuredContent, sum_.isError), ("3.0", {"result": 3.0}, False))
        person = await opened.call_tool("person", {"name": "Ada"})
        expect(person.structuredContent, {"name": "Ada"})
        spelled = await opened.call_tool("spell", {"word": "abc"})
        expect((spelled.content[0].text, spelled.structuredContent), ("abc", {"result": ["a", "b", "c"]}))


async def check_a_picture() -> None:
    async with session() as opened:
        (content,) = (await opened.call_tool("picture", {})).content
    expect((content.type, content.mimeType, content.data[:8]), ("image", "image/png", "iVBORw0K"))


async def check_failures() -> None:
    async with session() as opened:
        for name, arguments, said in (
            ("always-fails", {}, "raised an exception"),
            ("late", {}, "still running"),
            ("add", {"a": "x"}, "$.a"),
        ):
            failed = await opened.call_tool(name, arguments)
            expect((failed.isError, said in failed.content[0].text), (True, True))
        try:
            await opened.call_tool("subtract", {})
        except McpError as error:
            expect(error.error.code, -32602)
        else:
            raise AssertionError("there is no such tool")
        expect((await opened.call_tool("add", {"a": 1})).structuredContent, {"result": 2.0})


async def check_progress() -> None:
    steps = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        steps.append((done, total, message))

    async with session() as opened:
        result = await opened.call_tool("climb", {"steps": 3}, progress_callback=note)
    expect(result.content[0].text, "at the top")
    expect(steps, [(1.0, 3.0, "step 1"), (2.0, 3.0, "step 2"), (3.0, 3.0, "step 3")])


async def check_a_cancelled_call() -> None:
    async with session() as opened:
        ended = []

        async def call() -> None:
            try:
                ended.append((await opened.call_tool("wait", {})).isError)
            except McpError as error:
                ended.append(error)

        async with anyio.create_task_group() as group:
            number = opened._request_id
            group.start_soon(call)
            for _ in range(100):  # until the job is there
                await anyio.sleep(0.05)
                notice = CancelledNotificationParams(requestId=number, reason="a whim")
                note = CancelledNotification(method="notifications/cancelled", params=notice)
                await opened.send_notification(ClientNotification(note))
                if ended:
                    break
        expect(ended, [True])


if __name__ == "__main__":
    run(dict(globals()))
