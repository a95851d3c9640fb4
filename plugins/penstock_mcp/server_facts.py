"""The answers to all methods but the call of a tool: what the server is, and which tools it has."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec

from penstock import __version__
from penstock.hooks import RouteResponse
from penstock_mcp.protocol_versions import SUPPORTED, WITH_HANDSHAKE
from penstock_mcp.rpc_answers import BAD_PARAMS, UNKNOWN_METHOD, RpcFault, result_response
from penstock_mcp.rpc_messages import RpcMessage
from penstock_mcp.tool_table import ToolTable

SESSION_HEADER: Final = "mcp-session-id"

_CAPABILITIES: Final[dict[str, Any]] = {"tools": {"listChanged": False}}
# Tools change only with the app, and a client that asks again gets an answer in no time.
_CACHING: Final = {"ttlMs": 0, "cacheScope": "private"}
_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"


class ServerFacts:
    """The answers.

    Parameters
    ----------
    table:
        The tools.
    name, version:
        Those of the server, for clients to show.
    instructions:
        Advice to the model about all tools together; "" for none.

    Attributes
    ----------
    meta:
        The ``_meta`` of every result in the protocol of 2026-07-28, as JSON.
    """

    def __init__(self, table: ToolTable, name: str, version: str, instructions: str) -> None:
        self._table = table
        self._info = {"name": name, "version": version or __version__}
        self.meta = msgspec.Raw(msgspec.json.encode({_INFO_KEY: self._info}))
        self._instructions = {"instructions": instructions} if instructions else {}

    def answer(self, message: RpcMessage, *, is_modern: bool) -> RouteResponse:
        """Return the response to a request.

        Raises
        ------
        RpcFault
            If there is no such method, or its parameters do not fit.
        """
        assert message.id is not None, "it is a request"
        if message.method == "tools/list":
            return result_response(message.id, self._list(message, is_modern=is_modern))
        if is_modern and message.method == "server/discover":
            return result_response(message.id, self._discovered())
        if not is_modern and message.method == "initialize":
            # No session is kept. The id tells clients apart whose requests have the same numbers.
            return result_response(message.id, self._initialized(message), {SESSION_HEADER: secrets.token_hex(16)})
        if not is_modern and message.method == "ping":
            return result_response(message.id, {})
        raise RpcFault(UNKNOWN_METHOD, f"There is no method {(message.method or '')[:100]!r}")

    def _list(self, message: RpcMessage, *, is_modern: bool) -> dict[str, Any]:
        page = self._table.page(message.param("cursor", str), is_modern=is_modern)
        if page is None:
            raise RpcFault(BAD_PARAMS, "params.cursor is not the nextCursor of a page")
        return {**page, **_CACHING, **self._completed()} if is_modern else page

    def _discovered(self) -> dict[str, Any]:
        return {
            "supportedVersions": list(SUPPORTED),
            "capabilities": _CAPABILITIES,
            "serverInfo": self._info,
            **self._instructions,
            **_CACHING,
            **self._completed(),
        }

    def _completed(self) -> dict[str, Any]:
        return {"resultType": "complete", "_meta": self.meta}

    def _initialized(self, message: RpcMessage) -> dict[str, Any]:
        wanted = message.param("protocolVersion", str, "")
        version = wanted if wanted in WITH_HANDSHAKE else WITH_HANDSHAKE[0]
        return {
            "protocolVersion": version,
            "capabilities": _CAPABILITIES,
            "serverInfo": self._info,
            **self._instructions,
        }
