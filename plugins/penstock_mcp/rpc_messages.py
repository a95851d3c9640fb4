"""Messages of JSON-RPC, checked. Parameters stay as they came until they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from penstock_mcp.rpc_answers import BAD_PARAMS, INVALID_REQUEST, NOT_JSON, NULL_ID, RpcFault

T = TypeVar("T")

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_id = msgspec.json.Decoder(int | str).decode
_NULL: Final = b"null"
_NOT_JSON: Final = (msgspec.DecodeError, RecursionError, UnicodeError)


class RpcMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A request, a notification, or a response.

    Attributes
    ----------
    method:
        The method; None for a response.
    id:
        The id of a request, as it came; None for a notification.
    params:
        The parameters.
    """

    method: str | None
    id: msgspec.Raw | None
    params: Mapping[str, msgspec.Raw]

    def param(self, name: str, kind: type[T], default: Any = None) -> T:
        """Return a parameter as a value of a type, or the default if it is missing or null.

        Raises
        ------
        RpcFault
            If it has another type.
        """
        return field_of(self.params, name, kind, f"params.{name}", default)


def read_message(body: bytes) -> RpcMessage:
    """Return the message in a body.

    Raises
    ------
    RpcFault
        If it is not one. The fault knows the id of the message, if it has one.
    """
    fields = _fields(body)
    sent_id = _id_of(fields)
    try:
        return _message(fields, sent_id)
    except RpcFault as fault:
        fault.id = NULL_ID if sent_id is None else sent_id
        raise


def field_of(fields: Mapping[str, msgspec.Raw], name: str, kind: type[T], place: str, default: Any = None) -> T:
    """Return a field as a value of a type, or the default if it is missing or null.

    Raises
    ------
    RpcFault
        If it has another type.
    """
    raw = fields.get(name)
    if raw is None or bytes(raw) == _NULL:
        found: T = default
        return found
    try:
        return msgspec.json.decode(raw, type=kind)
    except _NOT_JSON as error:
        raise RpcFault(BAD_PARAMS, f"{place}: {error}") from None


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        pass  # if it is JSON at all
    except _NOT_JSON as error:
        raise RpcFault(NOT_JSON, f"The body is not JSON: {error}") from None
    try:
        other = msgspec.json.decode(body)
    except _NOT_JSON as error:
        raise RpcFault(NOT_JSON, f"The body is not JSON: {error}") from None
    if isinstance(other, list):
        raise RpcFault(INVALID_REQUEST, "The body is a batch: send each message in a request of its own")
    raise RpcFault(INVALID_REQUEST, "The body is not a message of JSON-RPC, which is an object")


def _id_of(fields: Mapping[str, msgspec.Raw]) -> msgspec.Raw | None:
    if "id" not in fields:
        return None
    try:
        _decode_id(fields["id"])
    except _NOT_JSON:
        raise RpcFault(INVALID_REQUEST, "`id` has to be a string or an integer") from None
    return msgspec.Raw(bytes(fields["id"]))  # a copy, so that the body need not be kept


def _message(fields: Mapping[str, msgspec.Raw], id: msgspec.Raw | None) -> RpcMessage:
    if "jsonrpc" not in fields or bytes(fields["jsonrpc"]) != b'"2.0"':
        raise RpcFault(INVALID_REQUEST, '`jsonrpc` has to be "2.0"')
    if "method" not in fields and ("result" in fields or "error" in fields):
        return RpcMessage(method=None, id=id, params={})
    try:
        method = msgspec.json.decode(fields.get("method", _NULL), type=str)
    except _NOT_JSON:
        raise RpcFault(INVALID_REQUEST, "`method` has to be a string") from None
    params = field_of(fields, "params", dict[str, msgspec.Raw], "params", {})
    return RpcMessage(method=method, id=id, params=params)
