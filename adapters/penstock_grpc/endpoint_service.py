"""``penstock.v1.Endpoints``: every endpoint, by its name or path, with the bodies that it has over HTTP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from penstock import App, Endpoint
from penstock.errors import MalformedRequest, NotFound
from penstock.hooks import InputForm, Payload, RpcOperation, RpcRequest, RpcService, split_chunk
from penstock.hosting import JSON, Encoded, data_of, form_type_of
from penstock_grpc.endpoints_pb2 import DESCRIPTOR, CallReply, CallRequest, Chunk

NAME: Final = "penstock.v1.Endpoints"
_LINES: Final = "application/x-ndjson"
_SHOWN: Final = 100


def endpoint_service(app: App) -> RpcService:
    """Return the service for the endpoints of an app."""
    reader = CallReader(app.endpoints)
    return RpcService(
        name=NAME,
        methods=(
            RpcOperation(name="Call", read=reader.read, result=_reply, collected=_collected_reply),
            RpcOperation(name="Stream", read=reader.read, chunk=_chunk),
        ),
        descriptors=_descriptors(),
    )


def _descriptors() -> bytes:
    found = FileDescriptorSet()
    DESCRIPTOR.CopyToProto(found.file.add())
    return found.SerializeToString()


class CallReader:
    """The endpoints, found by what a client calls them."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._by_name = {endpoint.name: endpoint for endpoint in endpoints}
        # The paths without variables come first, and of two endpoints at one path that which takes a body.
        ordered = sorted(endpoints, key=lambda endpoint: ("{" in endpoint.path, endpoint.method == "GET"))
        self._patterns = [(_pattern_of(endpoint.path), endpoint) for endpoint in ordered]

    def read(self, request: RpcRequest) -> Payload:
        """Return what a message asks for.

        Raises
        ------
        MalformedRequest
            If it is not a ``CallRequest``.
        NotFound
            If there is no such endpoint.
        PenstockError
            If the endpoint does not read the media type, or the path.
        """
        try:
            asked = CallRequest.FromString(request.message)
        except DecodeError:
            raise MalformedRequest("The message is not a penstock.v1.CallRequest") from None
        endpoint, form = self._find(asked.endpoint, asked.media_type or None)
        return Payload(endpoint=endpoint.name, body=asked.body, input_form=form)

    def _find(self, called: str, media_type: str | None) -> tuple[Endpoint, InputForm | None]:
        path, _, query = called.partition("?")
        named = self._by_name.get(called)
        if named is not None:
            return named, _form_of(named, media_type)
        for pattern, endpoint in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                values = {name: unquote(value) for name, value in found.groupdict().items()}
                if values or query:
                    return endpoint, endpoint.codec.input_form(values, query, form_type_of(endpoint, media_type))
                return endpoint, _form_of(endpoint, media_type)
        raise NotFound(f"There is no endpoint {called[:_SHOWN]!r}", param="endpoint")


def _form_of(endpoint: Endpoint, media_type: str | None) -> InputForm | None:
    if endpoint.codec.reads == "form" or media_type not in (None, JSON):
        form_type = form_type_of(endpoint, media_type)
        return InputForm(form_type) if form_type else None
    return None  # a plain body, with all of the parameters


def _pattern_of(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


# ---- answers


def _reply(result: Encoded, _payload: Payload) -> bytes:
    return CallReply(
        body=result.body,
        media_type=result.media_type or JSON,
        status=result.status,
        headers=dict(result.headers or {}),
    ).SerializeToString()


def _collected_reply(chunks: list[bytes], head: Encoded, _payload: Payload) -> bytes:
    if head.media_type is not None:
        body, media_type = b"".join(chunks), head.media_type
    else:
        body, media_type = b"".join(chunk + b"\n" for chunk in data_of(chunks)), _LINES
    return CallReply(
        body=body, media_type=media_type, status=head.status, headers=dict(head.headers or {})
    ).SerializeToString()


def _chunk(chunk: bytes, head: Encoded, _payload: Payload) -> bytes:
    if head.media_type is not None:
        return Chunk(body=chunk, media_type=head.media_type).SerializeToString()
    lines, data = split_chunk(chunk)
    fields = dict(line.split(": ", 1) for line in lines.decode().split("\n")[:-1]) if lines else {}
    return Chunk(body=data, media_type=JSON, event=fields.get("event", ""), id=fields.get("id", "")).SerializeToString()
