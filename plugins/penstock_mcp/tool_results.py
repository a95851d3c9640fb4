"""The results of tools: what a handler has returned, or why it has not."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.hooks import CollectedChunks, Encoded, Payload, PublicError, RouteResponse
from penstock_mcp.call_memo import CallMemo
from penstock_mcp.result_contents import file_content, is_json, joined_chunks, json_text, text_content
from penstock_mcp.rpc_answers import refusal_response, result_response
from penstock_mcp.tool_schemas import RESULT_FIELD

_FIRST_ERROR_STATUS: Final = 400
# Those who get one of these can do something about it, or the server's operator can: a model cannot.
_REFUSALS: Final = frozenset({401, 403, 408, 413, 415, 429, 503})
_SERVER_FAULTS: Final = frozenset({"hook-error", "internal-error"})
_LOST: Final = "worker-lost"


def answer_of(answer: Encoded, payload: Payload) -> RouteResponse:
    """Return the response for a single result."""
    memo: CallMemo = payload.memo
    is_failure = answer.status >= _FIRST_ERROR_STATUS
    if is_json(answer.media_type):
        return _json_response(memo, answer.body, json_text(answer.body), is_failure=is_failure)
    assert answer.media_type is not None, "it is not JSON"
    return _response(memo, {"content": [file_content(answer.body, answer.media_type)]}, is_failure=is_failure)


def answer_of_stream(chunks: list[bytes], payload: Payload) -> RouteResponse:
    """Return the response for all chunks of a stream."""
    memo: CallMemo = payload.memo
    assert isinstance(chunks, CollectedChunks), "they always are"
    is_failure = chunks.head.status >= _FIRST_ERROR_STATUS
    media_type = chunks.head.media_type
    if media_type is None:
        return _json_response(memo, *joined_chunks(chunks), is_failure=is_failure)
    return _response(memo, {"content": [file_content(b"".join(chunks), media_type)]}, is_failure=is_failure)


def failure_of(error: PublicError, payload: Payload) -> RouteResponse:
    """Return the response for an error: a result that says so if it concerns the tool, and otherwise a refusal."""
    memo: CallMemo = payload.memo
    is_refusal = (error.status in _REFUSALS and error.code != _LOST) or error.code in _SERVER_FAULTS
    if is_refusal:
        return refusal_response(error, memo.id)
    return tool_failure(memo, _explained(error))


def tool_failure(memo: CallMemo, message: str) -> RouteResponse:
    """Return the response for a call whose tool has failed, for the model to read."""
    return _response(memo, {"content": [text_content(message)]}, is_failure=True)


def _explained(error: PublicError) -> str:
    """Return the message of an error, with all that is wrong with the arguments."""
    if len(error.errors) < 2:
        return error.message
    return "\n".join([error.message, *(f"{fault['path']}: {fault['reason']}" for fault in error.errors)])


def _json_response(memo: CallMemo, body: bytes, text: str, *, is_failure: bool) -> RouteResponse:
    value: Any = msgspec.Raw(body)
    if memo.meta is None and (memo.wraps_results or not body.startswith(b"{")):
        value = {RESULT_FIELD: value}
    return _response(memo, {"content": [text_content(text)], "structuredContent": value}, is_failure=is_failure)


def _response(memo: CallMemo, result: dict[str, Any], *, is_failure: bool) -> RouteResponse:
    result["isError"] = is_failure
    if memo.meta is not None:
        result |= {"resultType": "complete", "_meta": memo.meta}
    return result_response(memo.id, result)
