"""Results of tools: JSON, texts, pictures, files, streams, failures and progress."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from penstock import App, Batching
from penstock.errors import HandlerError, PenstockError
from penstock.hooks import CollectedChunks, Payload, Progress, PublicError
from penstock.hooks.public_errors import public_error
from penstock.response import Encoded
from penstock_mcp import Tool
from penstock_mcp.call_memo import CallMemo
from penstock_mcp.tool_results import answer_of_stream, failure_of
from tests.plugins.mcp.tool_scene import ToolScene, decoded, fault

EVENTS = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def scene() -> ToolScene:
    app = App("app")
    tool = Tool(description="d")

    @app.endpoint("/number", dialects=[tool])
    def number(a: float = 1.0) -> float:
        return a

    @app.endpoint("/anything", dialects=[tool])
    def anything(): ...  # type: ignore[no-untyped-def]

    @app.endpoint("/table", dialects=[tool])
    def table() -> dict[str, int]:
        return {}

    @app.endpoint("/words", dialects=[tool])
    def words() -> Iterator[str]:
        yield ""

    @app.endpoint("/upper", batching=Batching(max_size=2), dialects=[tool])
    def upper(text: list[str]) -> list[str]:
        return text

    return ToolScene(app)


def text_of(result: dict[str, Any]) -> str:
    (content,) = result["content"]
    assert content.keys() == {"type", "text"}
    assert content["type"] == "text"
    text: str = content["text"]
    return text


# ---- JSON


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"1.5", "1.5"),
        (b'"a\\u2028\\"b"', 'a\u2028"b'),
        (b"null", "null"),
        (b'[{"a":1}]', '[{"a":1}]'),
        ('{"ä":[1,2]}'.encode(), '{"ä":[1,2]}'),
        (b"{}", "{}"),
    ],
)
def test_a_value_is_text_and_structure(scene: ToolScene, body: bytes, text: str) -> None:
    """The text is JSON, or the text itself; before 2026 the structure is an object."""
    value = msgspec.json.decode(body)
    old = scene.call("anything", {}, Encoded(body))
    assert (text_of(old), old["isError"]) == (text, False)
    assert old["structuredContent"] == (value if isinstance(value, dict) else {"result": value})
    assert scene.call("anything", {}, Encoded(body), modern=True)["structuredContent"] == value


def test_the_structure_fits_the_schema(scene: ToolScene) -> None:
    """A handler that promises a number and returns an object has it put into one as well."""
    assert scene.call("number", {}, Encoded(b'{"a":1}'))["structuredContent"] == {"result": {"a": 1}}
    assert scene.call("table", {}, Encoded(b'{"a":1}'))["structuredContent"] == {"a": 1}


def test_json_with_a_media_type_is_json(scene: ToolScene) -> None:
    """As a response with headers of its own has it."""
    for media_type in ("application/json", "application/json; charset=utf-8", "application/geo+json"):
        assert scene.call("anything", {}, Encoded(b'{"a":1}', media_type))["structuredContent"] == {"a": 1}


# ---- bytes


@pytest.mark.parametrize("media_type", ["image/png", "Image/PNG; x=y", "audio/wav"])
def test_pictures_and_sounds_are_contents(scene: ToolScene, media_type: str) -> None:
    """In base64, with their media type."""
    result = scene.call("anything", {}, Encoded(b"\x00\xff", media_type))
    name = media_type.partition(";")[0].lower()
    assert result["content"] == [{"type": name.partition("/")[0], "data": "AP8=", "mimeType": name}]
    assert "structuredContent" not in result


def test_other_bytes_are_a_resource(scene: ToolScene) -> None:
    """With an address that is its own."""
    (content,) = scene.call("anything", {}, Encoded(b"\x00\xff", "application/zip"))["content"]
    resource = content["resource"]
    assert (content["type"], resource["mimeType"], resource["blob"]) == ("resource", "application/zip", "AP8=")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", resource["uri"])


@pytest.mark.parametrize("media_type", ["text/csv", "text/plain; charset=utf-8", "application/xml", "image/svg+xml"])
def test_texts_are_texts(scene: ToolScene, media_type: str) -> None:
    """Bytes that are not text are replaced; a drawing is a picture, whatever it is written in."""
    result = scene.call("anything", {}, Encoded("a,é\n".encode() + b"\xff", media_type))
    if media_type == "image/svg+xml":
        assert result["content"][0]["type"] == "image"
    else:
        assert text_of(result) == "a,é\n\ufffd"


# ---- streams


def test_the_chunks_of_a_stream_are_collected(scene: ToolScene) -> None:
    """Texts are put together for the model, and stay apart in the structure."""
    texts = scene.call("words", {}, [b'"a "', b'"b"'])
    assert (text_of(texts), texts["structuredContent"]) == ("a b", {"result": ["a ", "b"]})
    values = scene.call("words", {}, [b"1", b'{"a":2}'])
    assert (text_of(values), values["structuredContent"]) == ('[1,{"a":2}]', {"result": [1, {"a": 2}]})
    assert scene.call("words", {}, [])["structuredContent"] == {"result": []}
    assert scene.call("words", {}, [b'"a"'], modern=True)["structuredContent"] == ["a"]


def test_the_chunks_of_a_sound_are_one_sound() -> None:
    """Chunks with a media type are bytes, and are put together."""
    chunks = CollectedChunks([b"RIFF", b"data"])
    chunks.head = Encoded(b"", "audio/wav")
    memo = CallMemo(id=msgspec.Raw(b"7"), meta=None, wraps_results=False)
    answer = answer_of_stream(chunks, Payload(endpoint="e", memo=memo))
    (content,) = decoded(answer)["result"]["content"]
    assert (content["type"], base64.b64decode(content["data"])) == ("audio", b"RIFFdata")


# ---- arguments


def test_arguments_that_do_not_fit_are_reported_to_the_model(scene: ToolScene) -> None:
    """It can correct them; nothing is queued."""
    for arguments in ({"a": "x"}, {"b": 1}, {"a": {"b": []}}):
        result = scene.call("number", arguments)
        assert result["isError"] is True
        assert text_of(result)
        assert "structuredContent" not in result


@pytest.mark.parametrize("params", [{"name": "number"}, {"name": "number", "arguments": None}])
def test_arguments_may_be_left_out(scene: ToolScene, params: dict[str, Any]) -> None:
    """If none is required."""
    assert scene.result("tools/call", params, Encoded(b"1.0"))["isError"] is False


def test_one_argument_may_be_the_whole_body(scene: ToolScene) -> None:
    """By its name, and no other."""
    assert scene.call("upper", {"text": "a"}, Encoded(b'"A"'))["structuredContent"] == {"result": "A"}
    for arguments in ({}, {"text": "a", "x": 1}, {"txt": "a"}):
        result = scene.call("upper", arguments)
        assert result["isError"] is True
        assert "`text`" in text_of(result)


# ---- failures


def written(error: PenstockError | PublicError) -> Any:
    public = error if isinstance(error, PublicError) else public_error(error, "r", debug=False)
    memo = CallMemo(id=msgspec.Raw(b"7"), meta=None, wraps_results=False)
    return failure_of(public, Payload(endpoint="e", memo=memo))


@pytest.mark.parametrize(
    "code", ["HandlerError", "ExecutionTimeout", "TotalTimeout", "WorkerLost", "NotFound", "InvalidRequest"]
)
def test_a_failure_of_the_tool_is_a_result(code: str) -> None:
    """The model reads it, and may try something else."""
    kind = getattr(__import__("penstock.errors", fromlist=[code]), code)
    answer = written(kind("it failed"))
    assert answer.status == 200
    assert decoded(answer)["result"]["isError"] is True


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("QueueFull", 503),
        ("QueueTimeout", 503),
        ("DeadlineInfeasible", 503),
        ("CircuitOpen", 503),
        ("Draining", 503),
        ("NotReady", 503),
        ("Unauthorized", 401),
        ("Forbidden", 403),
        ("PayloadTooLarge", 413),
        ("UnsupportedMediaType", 415),
    ],
)
def test_a_refusal_keeps_its_status(code: str, status: int) -> None:
    """So that clients and proxies know when to come back; the id is that of the request."""
    kind = getattr(__import__("penstock.errors", fromlist=[code]), code)
    answer = written(kind("no"))
    assert fault(answer) == (status, -32000, "no")
    assert decoded(answer)["id"] == 7
    assert decoded(answer)["error"]["data"]["request_id"] == "r"


def test_a_fault_of_the_server_is_an_internal_error() -> None:
    """With 500, and without its cause."""
    error = PublicError(status=500, code="hook-error", title="t", message="m", type="x", request_id="r")
    assert fault(written(error)) == (500, -32603, "m")


def test_the_text_of_an_exception_is_not_for_clients() -> None:
    """As everywhere, but with --debug."""
    assert "secret" not in written(HandlerError("a secret")).body.decode()


def test_a_response_with_an_error_status_is_a_failure(scene: ToolScene) -> None:
    """The handler says so itself."""
    assert scene.call("anything", {}, Encoded(b'{"a":1}', None, 404))["isError"] is True
    assert scene.call("anything", {}, Encoded(b"no", "text/plain", 500))["isError"] is True


# ---- progress


def progress(scene: ToolScene, token: Any, reports: list[Progress], answer: Any, **more: Any) -> list[dict[str, Any]]:
    """Return the messages of a call that reports progress."""
    params = {"name": "number", "arguments": {}, "_meta": {"progressToken": token}}
    response = scene.send("tools/call", params, answer, headers=EVENTS, reports=reports, **more)
    assert response.media_type.startswith("text/event-stream")
    events = response.body.decode().removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("event: message\ndata: ") for event in events)
    return [msgspec.json.decode(event.partition("data: ")[2]) for event in events]


@pytest.mark.parametrize("token", ["a\u2028b", 5, 0])
def test_progress_is_a_notification_before_the_result(scene: ToolScene, token: Any) -> None:
    """With the token of the call, and what the handler has said."""
    reports = [Progress(1, 1.0), Progress(1, 2.0, 4.0, "half")]
    first, second, last = progress(scene, token, reports, Encoded(b"1.0"))
    assert first["params"] == {"progressToken": token, "progress": 1.0}
    assert second["params"] == {"progressToken": token, "progress": 2.0, "total": 4.0, "message": "half"}
    assert {first["method"], second["method"]} == {"notifications/progress"}
    assert "id" not in first
    assert (last["id"], last["result"]["structuredContent"]) == (7, {"result": 1.0})


def test_progress_never_falls_back(scene: ToolScene) -> None:
    """A retry begins anew; the protocol wants rising numbers."""
    reports = [Progress(1, done) for done in (0.0, 2.0, 1.0, 2.0, 3.0)]
    found = progress(scene, "t", reports, Encoded(b"1.0"))
    assert [message["params"]["progress"] for message in found[:-1]] == [0.0, 2.0, 3.0]


def test_a_failure_after_progress_is_the_last_message(scene: ToolScene) -> None:
    """In the stream, which is whole."""
    params = {"name": "number", "arguments": {"a": "x"}, "_meta": {"progressToken": 1}}
    response = scene.send("tools/call", params, headers=EVENTS, reports=[Progress(1, 1.0)])
    assert b'"isError":true' in response.body


@pytest.mark.parametrize(
    ("meta", "headers"),
    [
        ({}, EVENTS),
        ({"progressToken": None}, EVENTS),
        ({"progressToken": 1}, {}),
        ({"progressToken": 1}, {"Accept": "*/*"}),
    ],
)
def test_progress_is_for_clients_that_want_it(scene: ToolScene, meta: Any, headers: dict[str, str]) -> None:
    """They send a token, and read events."""
    params = {"name": "number", "arguments": {}, "_meta": meta}
    response = scene.send("tools/call", params, Encoded(b"1.0"), headers=headers, reports=[Progress(1, 1.0)])
    assert response.media_type == "application/json"


def test_bytes_survive(scene: ToolScene) -> None:
    """Every byte, in base64."""
    content = bytes(range(256))
    (found,) = scene.call("anything", {}, Encoded(content, "image/png"))["content"]
    assert base64.b64decode(found["data"]) == content
