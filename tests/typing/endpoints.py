"""Typed calls as users write them. It is never run: mypy --strict must accept it and infer the asserted types."""

from __future__ import annotations

from typing import Any, assert_type

import msgspec

from penstock_client import AsyncClient, AsyncEndpoint, Client, Endpoint, EventStream, Result, SchemaDigests


class Question(msgspec.Struct):
    text: str


class Mood(msgspec.Struct):
    label: str


class MoodsClient(Client, schema=SchemaDigests("d1", {"classify": "c1"})):
    pass


def sync(client: Client) -> list[str]:
    classify = client.endpoint("classify", Question, Mood, limit=5.0)
    assert_type(classify, Endpoint[Question, Mood])
    result = classify.call(Question("fine"), timeout=2.0)
    assert_type(result, Result[Mood])
    labels = [result.value.label]
    with client.endpoint("write", Question, str).stream(Question("fine")) as events:
        assert_type(events, EventStream[str])
        labels += [event.upper() for event in events]
    item: Endpoint[None, Mood | None] = client.endpoint("items/{item}", None, Mood | None, method="GET")
    found = item.call(None, path={"item": 5}, query={"deep": True}).value
    labels += [] if found is None else [found.label]
    assert_type(client.endpoint("any").call({"free": 1}).value, Any)
    classify.call({"text": "fine"})  # type: ignore[arg-type] # that is the mistake which types are for
    return labels


async def in_loop(client: AsyncClient) -> list[str]:
    classify = client.endpoint("classify", Question, Mood)
    assert_type(classify, AsyncEndpoint[Question, Mood])
    labels = [(await classify.call(Question("fine"))).value.label]
    async with client.endpoint("write", Question, str).stream(Question("fine")) as events:
        labels += [event.upper() async for event in events]
    return labels


with MoodsClient("http://127.0.0.1:8000").with_options(key="k") as typed:
    assert_type(typed, MoodsClient)
