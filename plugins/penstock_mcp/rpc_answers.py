"""Answers of JSON-RPC: results, and errors with their HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.hooks import PublicError, RouteResponse

NOT_JSON: Final = -32700
INVALID_REQUEST: Final = -32600
UNKNOWN_METHOD: Final = -32601
BAD_PARAMS: Final = -32602
INTERNAL: Final = -32603
HEADER_MISMATCH: Final = -32020
UNKNOWN_VERSION: Final = -32022
REFUSED: Final = -32000
"""One of the codes that are left to implementations; the HTTP status, and ``data.code``, say more."""

NULL_ID: Final = msgspec.Raw(b"null")

_STATUSES: Final = {UNKNOWN_METHOD: 404}
_ALWAYS_REFUSED: Final = frozenset({NOT_JSON, INVALID_REQUEST, HEADER_MISMATCH, UNKNOWN_VERSION})

_encode = msgspec.json.Encoder().encode


class RpcFault(Exception):
    """A message that is answered with an error of JSON-RPC, before there is a job.

    Parameters
    ----------
    code:
        The code of the error.
    message:
        The cause.
    data:
        More about it.
    id:
        The id of the request, as it came; set by the reader that knows it.
    is_modern:
        True if the message is of the protocol of 2026-07-28, in which such errors have a status of their own.
    """

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        self.id = NULL_ID
        self.is_modern = False

    def response(self) -> RouteResponse:
        """Return the response. Older clients see an HTTP error as the end of their session."""
        has_status = self.is_modern or self.code in _ALWAYS_REFUSED
        status = _STATUSES.get(self.code, 400) if has_status else 200
        headers = {"x-should-retry": "false"} if has_status else {}
        return error_response(self.id, self.code, str(self), self.data, status=status, headers=headers)


def result_response(id: msgspec.Raw, result: Mapping[str, Any], headers: Mapping[str, str] = {}) -> RouteResponse:
    """Return the response with a result."""
    return RouteResponse(body=_encode({"jsonrpc": "2.0", "id": id, "result": result}), headers=headers)


def error_response(
    id: msgspec.Raw,
    code: int,
    message: str,
    data: Mapping[str, Any] | None = None,
    *,
    status: int,
    headers: Mapping[str, str] = {},
) -> RouteResponse:
    """Return the response with an error."""
    error = {"code": code, "message": message, **({"data": data} if data is not None else {})}
    return RouteResponse(
        body=_encode({"jsonrpc": "2.0", "id": id, "error": error}), status=status, headers=dict(headers)
    )


def refusal_response(error: PublicError, id: msgspec.Raw = NULL_ID) -> RouteResponse:
    """Return the response for an error of the server, with the status that every other interface has for it."""
    data: dict[str, Any] = {"code": error.code, "request_id": error.request_id}
    code = INTERNAL if error.status == 500 else INVALID_REQUEST if error.status == 400 else REFUSED
    return error_response(id, code, error.message, data, status=error.status)
