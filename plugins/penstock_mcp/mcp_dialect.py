"""The protocol as a dialect: one path for all tools."""

from __future__ import annotations

from typing import Final

from penstock.hooks import CancelRequest, Dialect, DialectRequest, Operation, Payload, RouteResponse
from penstock_mcp.origin_check import OriginCheck
from penstock_mcp.progress_stream import ProgressStream
from penstock_mcp.protocol_versions import (
    MODERN,
    SUPPORTED,
    VERSION_HEADER,
    is_modern,
    require_agreement,
    unknown_version,
)
from penstock_mcp.rpc_answers import INVALID_REQUEST, NULL_ID, RpcFault, refusal_response
from penstock_mcp.rpc_messages import RpcMessage, read_message
from penstock_mcp.server_facts import ServerFacts
from penstock_mcp.tool_calls import read_call, read_cancellation
from penstock_mcp.tool_results import answer_of, answer_of_stream, failure_of
from penstock_mcp.tool_table import ToolTable

_ACCEPTED: Final = RouteResponse(status=202)


def mcp_dialect(table: ToolTable, facts: ServerFacts, origins: OriginCheck, path: str) -> Dialect:
    """Return the dialect of the tools.

    Parameters
    ----------
    table:
        The tools.
    facts:
        The answers that need no job.
    origins:
        The check of requests that come from pages in browsers.
    path:
        Its path, which is served with a slash at its end as well: not every client follows a redirect of a POST.
    """
    reader = _Reader(table, facts)

    def choose(request: DialectRequest) -> None:
        origins.require(request.header)

    paths = (path, f"{path}/") if path else ("/",)
    return Dialect(
        name="mcp",
        operations=tuple(
            Operation(path=each, read=reader.read, choose=choose, media_types=("application/json",)) for each in paths
        ),
        endpoints=table.endpoint_names,
        result=answer_of,
        collected=answer_of_stream,
        failure=failure_of,
        reporting=ProgressStream,
        error=refusal_response,
    )


class _Reader:
    """The reader of all messages."""

    def __init__(self, table: ToolTable, facts: ServerFacts) -> None:
        self._table = table
        self._facts = facts

    def read(self, request: DialectRequest) -> Payload | RouteResponse | CancelRequest:
        """Return what a message asks for."""
        modern = request.header(VERSION_HEADER) in MODERN
        try:
            message = read_message(request.body)
        except RpcFault as fault:
            fault.is_modern = modern
            return fault.response()
        try:
            modern = is_modern(message, request.header)
            if message.id is None or message.method is None:
                return self._noted(message, request, modern=modern)
            if modern:
                require_agreement(message, request.header)
            if message.method == "tools/call":
                return read_call(message, request, self._table, self._facts.meta if modern else None)
            return self._facts.answer(message, is_modern=modern)
        except RpcFault as fault:
            fault.id, fault.is_modern = message.id or NULL_ID, modern
            return fault.response()

    def _noted(self, message: RpcMessage, request: DialectRequest, *, modern: bool) -> RouteResponse | CancelRequest:
        """Return the answer to a message that wants none: a notification, or a response."""
        if modern:
            version = request.header(VERSION_HEADER)
            if version is not None and version not in SUPPORTED:
                raise unknown_version(version)
            if message.method is None:
                raise RpcFault(INVALID_REQUEST, "The body is a response, and nothing was asked")
            return _ACCEPTED  # a client cancels by leaving
        if message.method == "notifications/cancelled":
            return read_cancellation(message, request, _ACCEPTED) or _ACCEPTED
        return _ACCEPTED
