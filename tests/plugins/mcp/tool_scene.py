"""Messages to the tools of an app, in both generations of the protocol, and their answers."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock import App
from penstock.hooks import RouteResponse
from penstock.response import Encoded
from penstock.testing import PluginHarness
from penstock_mcp import McpPlugin

VERSION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}
NULL = Encoded(b"null")


class ToolScene:
    """A server of tools without a server.

    Parameters
    ----------
    app:
        The app.
    settings:
        The settings of the plug-in.
    """

    def __init__(self, app: App, **settings: Any) -> None:
        self.harness = PluginHarness(app, [McpPlugin], settings={"mcp": settings})

    def post(self, body: bytes, answer: Any = NULL, path: str = "/mcp", **more: Any) -> RouteResponse:
        """Send a body."""
        return self.harness.operation("POST", path, body, answer, **more)

    def send(
        self,
        method: str,
        params: Any = None,
        answer: Any = NULL,
        *,
        modern: bool = False,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> RouteResponse:
        """Send a request."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": method}
        sent = dict(headers or {})
        if modern:
            params = {**(params or {}), "_meta": {**META, **(params or {}).get("_meta", {})}}
            sent = {"MCP-Protocol-Version": VERSION, "Mcp-Method": method, **sent}
            if "name" in params:
                sent.setdefault("Mcp-Name", str(params["name"]))
        if params is not None:
            message["params"] = params
        return self.post(msgspec.json.encode(message), answer, headers=sent, **more)

    def result(self, method: str, params: Any = None, answer: Any = NULL, *, modern: bool = False) -> dict[str, Any]:
        """Return the result of a request that succeeds."""
        response = self.send(method, params, answer, modern=modern)
        assert response.status == 200, response
        message = decoded(response)
        assert message.keys() == {"jsonrpc", "id", "result"}, message
        assert (message["jsonrpc"], message["id"]) == ("2.0", 7)
        found: dict[str, Any] = message["result"]
        return found

    def call(self, name: str, arguments: Any = None, answer: Any = NULL, *, modern: bool = False) -> dict[str, Any]:
        """Return the result of a call."""
        params = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
        return self.result("tools/call", params, answer, modern=modern)


def decoded(response: RouteResponse) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(response.body)
    return found


def fault(response: RouteResponse) -> tuple[int, int, str]:
    """Return the HTTP status, the code and the message of an error."""
    message = decoded(response)
    assert message.keys() == {"jsonrpc", "id", "error"}, message
    return response.status, message["error"]["code"], message["error"]["message"]
