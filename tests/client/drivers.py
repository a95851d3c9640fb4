"""One way to drive the client for tests, whichever of its three drivers is under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from penstock_client import AsyncClient, Client

DRIVERS = ("sync", "asyncio", "trio")


@dataclass(frozen=True)
class Act:
    """A call, or a stream of which at most ``take`` events are read, or the whole as text."""

    endpoint: str
    body: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    is_stream: bool = False
    take: int | None = None
    is_text: bool = False


def call(endpoint: str = "classify", body: Any = None, **options: Any) -> Act:
    return Act(endpoint, body, options)


def stream(take: int | None = None, *, is_text: bool = False, **options: Any) -> Act:
    return Act("write", {}, options, is_stream=True, take=take, is_text=is_text)


def drive(driver: str, url: str, *acts: Act, **settings: Any) -> list[Any]:
    """Carry out the acts with one client, one after the other; return the result or the error of each."""
    if driver == "sync":
        with Client(url, **settings) as client:
            return [_outcome(lambda act=act: _act(client, act)) for act in acts]
    return anyio.run(_drive_async, url, acts, settings, backend=driver)


def one(driver: str, url: str, act: Act, **settings: Any) -> Any:
    """Carry out one act."""
    return drive(driver, url, act, **settings)[0]


def _outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        return error


def _act(client: Client, act: Act) -> Any:
    if not act.is_stream:
        return client.call(act.endpoint, act.body, **act.options)
    with client.stream(act.endpoint, act.body, **act.options) as events:
        if act.is_text:
            return events.text()
        found = []
        for event in events:
            found.append(event)
            if len(found) == act.take:
                break
        return found


async def _drive_async(url: str, acts: tuple[Act, ...], settings: Mapping[str, Any]) -> list[Any]:
    outcomes: list[Any] = []
    async with AsyncClient(url, **settings) as client:
        for act in acts:
            try:
                outcomes.append(await _act_async(client, act))
            except Exception as error:
                outcomes.append(error)
    return outcomes


async def _act_async(client: AsyncClient, act: Act) -> Any:
    if not act.is_stream:
        return await client.call(act.endpoint, act.body, **act.options)
    async with client.stream(act.endpoint, act.body, **act.options) as events:
        if act.is_text:
            return await events.text()
        found = []
        async for event in events:
            found.append(event)
            if len(found) == act.take:
                break
        return found
