"""Chat with a real Penstock server that speaks OpenAI's dialect: whole, streamed, left early, failed, late."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock_client import Client, ContentDelta, Done, Retries, ToolCall, Usage, UsageReport, errors
from tests.client.chatting import chat
from tests.client.drivers import DRIVERS
from tests.client.parrot import PARROT
from tests.serving import Served, wait_until, write_app

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(write_app(tmp_path_factory.mktemp("app"), PARROT)) as server:
        yield server


def ask(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


each_driver = pytest.mark.parametrize("driver", DRIVERS)
each_way = pytest.mark.parametrize("is_stream", [False, True])


@each_driver
def test_a_whole_answer(served: Served, driver: str) -> None:
    """The content, the usage, and the server's own id of the request."""
    answer = chat(driver, served.base_url, is_stream=False, messages=ask("to be")).answer
    assert answer is not None
    assert (answer.content, answer.finish_reason, answer.model) == ("to be ", "stop", "parrot")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3
    assert answer.request_id


@each_driver
def test_a_stream(served: Served, driver: str) -> None:
    """Its events arrive in their order, the usage from the chunk without choices."""
    chatted = chat(driver, f"{served.base_url}/v1", is_stream=True, messages=ask("to be call"))
    usage = Usage(1, 2, 3, {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    assert chatted.events == [
        ContentDelta("to "),
        ContentDelta("be "),
        ToolCall("c1", "weather", {"city": "Oslo"}),
        UsageReport(usage),
        Done("stop"),
    ]


def test_leaving_early_frees_the_slot(served: Served, tmp_path: Path) -> None:
    """The generator is closed, and the server does no more work for the chat."""
    gone = tmp_path / "gone"
    long = ask("to be " + "slowly on " * 1000)
    with Client(served.base_url) as client:
        with client.chat_stream("parrot", long, gone=str(gone)) as stream:
            assert next(stream) == ContentDelta("to ")
        left = time.monotonic()
        wait_until(gone.exists, "the end of the generator")
        assert time.monotonic() - left < 5.0
        wait_until(lambda: served.status()["endpoints"]["repeat"]["running"] == 0, "the free slot")
        assert client.chat("parrot", ask("and now")).content == "and now "


@each_driver
def test_a_failure_in_the_middle_has_what_came(served: Served, driver: str) -> None:
    """The dialect's own error, and the answer so far."""
    chatted = chat(driver, served.base_url, is_stream=True, messages=ask("to be fail"))
    assert type(chatted.error) is errors.StreamFailed
    assert (chatted.error.server_code, chatted.partial.content) == ("handler-error", "to be ")
    assert chatted.events == [ContentDelta("to "), ContentDelta("be ")]


@each_driver
def test_a_deadline_in_the_middle_has_what_came(served: Served, driver: str) -> None:
    """The server stops the work a moment before the client's time-out, and says so; the answer so far is there."""
    chatted = chat(driver, served.base_url, is_stream=True, messages=ask("to " + "slowly on " * 1000), timeout=2.0)
    assert isinstance(chatted.error, errors.StreamFailed | errors.TotalTimeout)
    assert chatted.partial.content.startswith("to on ")
    assert chatted.partial.finish_reason is None


@each_driver
@each_way
def test_a_request_that_is_wrong_is_openais_error(served: Served, driver: str, is_stream: bool) -> None:
    """The body of the dialect fills the error."""
    error = chat(driver, served.base_url, is_stream=is_stream, messages=ask("x"), model=7).error
    assert isinstance(error, errors.InvalidRequest)
    assert (error.server_code, error.param) == ("invalid-request", "messages")
    assert "Expected `str`, got `int`" in error.server_message


@each_driver
@each_way
def test_a_path_that_is_not_there(served: Served, driver: str, is_stream: bool) -> None:
    """It is the error of any call."""
    settings = {"retries": Retries(max_attempts=1)}
    error = chat(driver, served.base_url, is_stream=is_stream, settings=settings, path="v2/chat").error
    assert type(error) is errors.NotFound


# ---- Penstock's own server-sent events

EVENTS = {"accept": "text/event-stream"}


def test_events_of_penstock_are_read_by_their_marks(served: Served) -> None:
    """``event: end`` is the end, and ``event: error`` the reason of a failure."""
    with Client(served.base_url) as client:
        with client.stream("events", {}, headers=EVENTS) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert list(stream) == [1, 2]
        with (
            pytest.raises(errors.StreamFailed) as caught,
            client.stream("events", {"fail": True}, headers=EVENTS) as stream,
        ):
            list(stream)
    assert (caught.value.server_code, caught.value.partial) == ("handler-error", [1, 2])
