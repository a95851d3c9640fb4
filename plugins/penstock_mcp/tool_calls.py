"""Calls of tools: a message becomes the input of an endpoint."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from penstock.hooks import CancelRequest, DialectRequest, Payload, RouteResponse, near_miss
from penstock_mcp.call_memo import CallMemo
from penstock_mcp.protocol_versions import meta_of
from penstock_mcp.rpc_answers import BAD_PARAMS, RpcFault
from penstock_mcp.rpc_messages import RpcMessage, field_of
from penstock_mcp.server_facts import SESSION_HEADER
from penstock_mcp.tool_results import tool_failure
from penstock_mcp.tool_table import ServedTool, ToolTable

_EVENTS: Final = "text/event-stream"
_SESSION: Final = re.compile(r"[\x21-\x7e]{1,200}")
_TOKEN: Final = "progressToken"  # noqa: S105 - not a secret


def read_call(
    message: RpcMessage, request: DialectRequest, table: ToolTable, meta: msgspec.Raw | None
) -> Payload | RouteResponse:
    """Return the job of a call, or the response if its one argument is missing.

    Parameters
    ----------
    message, request:
        The call.
    table:
        The tools.
    meta:
        As in ``CallMemo``.

    Raises
    ------
    RpcFault
        If there is no such tool, or the parameters do not fit. Arguments that do not fit are the model's mistake, which
        it can correct: they are a result of the tool.
    """
    assert message.id is not None, "it is a request"
    name = message.param("name", str, "")
    tool = table.find(name)
    if tool is None:
        raise RpcFault(BAD_PARAMS, f"Unknown tool: {name[:100]!r}; {near_miss(name[:100], table.names)}")
    arguments = message.param("arguments", dict[str, msgspec.Raw], {})
    token = _token_of(message) if _takes_events(request.header("accept")) else None
    memo = CallMemo(id=message.id, meta=meta, wraps_results=tool.wraps_results, token=token)
    body = _body_of(message, arguments, tool)
    if body is None:
        return tool_failure(memo, f"{tool.name} takes one argument, `{tool.whole_argument}`")
    return Payload(
        endpoint=tool.endpoint_name,
        body=body,
        is_streamed=False,
        memo=memo,
        wants_reports=token is not None,
        cancel_key=_cancel_key(request, message.id) if meta is None else None,
    )


def read_cancellation(message: RpcMessage, request: DialectRequest, response: RouteResponse) -> CancelRequest | None:
    """Return the cancellation that a notification asks for; None if it cannot be known whose job is meant."""
    raw = message.params.get("requestId")
    key = None if raw is None else _cancel_key(request, raw)
    if key is None:
        return None
    return CancelRequest(key=key, response=response, reason="the client cancelled the call")


def _body_of(message: RpcMessage, arguments: dict[str, msgspec.Raw], tool: ServedTool) -> bytes | None:
    """Return the input of the endpoint, which validates it; None if the one argument is missing, or not alone."""
    if tool.whole_argument is None:
        return bytes(message.params["arguments"]) if arguments else b"{}"
    if arguments.keys() - {tool.whole_argument} or (tool.whole_argument not in arguments and tool.needs_argument):
        return None
    return bytes(arguments.get(tool.whole_argument, b""))


def _token_of(message: RpcMessage) -> msgspec.Raw | None:
    meta = meta_of(message)
    token: Any = field_of(meta, _TOKEN, int | str, f"params._meta.{_TOKEN}")  # type: ignore[arg-type] # it is a type
    return None if token is None else msgspec.Raw(bytes(meta[_TOKEN]))


def _takes_events(accept: str | None) -> bool:
    """Return whether a client reads an answer that is a stream of events."""
    return any(part.partition(";")[0].strip().lower() == _EVENTS for part in (accept or "").split(","))


def _cancel_key(request: DialectRequest, id: msgspec.Raw) -> str | None:
    """Return the key of a call among those of its caller; None if the client does not say which session it is in.

    Every client numbers its requests from the same number on. Without its session, the call that it cancels could be
    that of another one.
    """
    session = request.header(SESSION_HEADER)
    if session is None or not _SESSION.fullmatch(session):
        return None
    try:
        number = msgspec.json.decode(id, type=int | str)
    except (msgspec.DecodeError, UnicodeError):
        return None
    return f"{session} {number!r}"
