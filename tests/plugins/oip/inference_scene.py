"""Models of the protocol without processes: a request is read, decoded, run and written as a server and a worker do."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock import App
from penstock.errors import PenstockError
from penstock.hooks import Dialect, DialectRequest, Operation, Payload, RouteResponse
from penstock.hooks.public_errors import public_error
from penstock.testing.path_patterns import pattern_of
from penstock_oip import OipPlugin
from penstock_oip.plugin import OipSettings

JSON_SIZE = "Inference-Header-Content-Length"


class Inferred:
    """The response to a request.

    Parameters
    ----------
    response:
        The response as the dialect writes it.

    Attributes
    ----------
    status, headers:
        Its status and headers.
    content:
        Its JSON.
    raw:
        The raw data of its outputs, by name.
    """

    def __init__(self, response: RouteResponse) -> None:
        self.status = response.status
        self.headers = dict(response.headers)
        self.media_type = response.media_type
        size = int(self.headers.get(JSON_SIZE, len(response.body)))
        self.content = json.loads(response.body[:size])  # which reads NaN, as clients do
        self.raw: dict[str, bytes] = {}
        rest = response.body[size:]
        for output in self.content.get("outputs", ()):
            raw_bytes = output.get("parameters", {}).get("binary_data_size")
            if raw_bytes is not None:
                self.raw[output["name"]], rest = rest[:raw_bytes], rest[raw_bytes:]
        assert rest == b""

    @property
    def data(self) -> dict[str, Any]:
        """The JSON data of its outputs, by name."""
        return {output["name"]: output["data"] for output in self.content["outputs"] if "data" in output}

    @property
    def refusal(self) -> str:
        """The sentence of a 400."""
        assert self.status == 400, self.content
        return str(self.content["error"])


class InferenceScene:
    """Requests to the models of an app, answered by their handlers.

    Parameters
    ----------
    app:
        The app.
    **settings:
        The settings of the plug-in.
    """

    def __init__(self, app: App, **settings: Any) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in app.endpoints}
        [self.dialect] = OipPlugin(OipSettings(**settings)).penstock_dialects(app)

    def infer(self, model: str, body: Any, *raw: bytes, json_bytes: int | None = None) -> Inferred:
        """Send JSON, with raw data behind it if there are any, to a model."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        size = len(content) if raw and json_bytes is None else json_bytes
        return self.post(f"/v2/models/{model}/infer", b"".join([content, *raw]), size)

    def post(self, path: str, body: bytes, json_bytes: int | str | None = None) -> Inferred:
        """Send a body to a path; ``json_bytes`` is what the header says about it."""
        headers = {} if json_bytes is None else {JSON_SIZE.lower(): str(json_bytes)}
        try:
            payload = self.read(path, body, headers)
            return Inferred(self._answered(payload, body))
        except PenstockError as error:
            return Inferred(self.dialect.error(public_error(error, "r1", debug=True)))

    def read(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Payload:
        """Return what the server makes of a request; raises the error that refuses it."""
        operation, values = _found(self.dialect, path)
        request = DialectRequest(
            request_id="r1", method="POST", path=path, path_values=values, header=(headers or {}).get
        )
        assert operation.choose is not None
        name = operation.choose(request)
        assert operation.head_bytes is not None
        head = body[: operation.head_bytes(request)]
        payload = operation.read(msgspec.structs.replace(request, body=head, size_bytes=len(body)))
        assert isinstance(payload, Payload)
        assert payload.endpoint == name
        return payload

    def _answered(self, payload: Payload, body: bytes) -> RouteResponse:
        """Run the handler, as a worker does."""
        endpoint = self._endpoints[payload.endpoint]
        codec = endpoint.codec
        value, answer = codec.with_filter(codec.decode(body, payload.input_form))
        assert answer is not None
        inputs = [value] if endpoint.batching else value
        result = codec.call(endpoint.handler, inputs)
        if endpoint.batching:
            [result] = codec.tensors.taken_apart(result, inputs)
        return self.dialect.result(codec.encode(answer.whole(result)), payload)


def _found(dialect: Dialect, path: str) -> tuple[Operation, dict[str, str]]:
    for operation in dialect.operations:
        match = pattern_of(operation.path).fullmatch(path)
        if match is not None:
            return operation, match.groupdict()
    raise AssertionError(f"nothing is served at {path}")


def described(name: str, datatype: str, shape: list[int], data: Any = None, **more: Any) -> dict[str, Any]:
    """Return an input in JSON, with data or with parameters."""
    return {"name": name, "datatype": datatype, "shape": shape} | ({} if data is None else {"data": data}) | more


def raw_input(name: str, datatype: str, shape: list[int], raw: bytes) -> dict[str, Any]:
    """Return an input in JSON whose data are behind it."""
    return described(name, datatype, shape, parameters={"binary_data_size": len(raw)})


def texts(*items: bytes) -> bytes:
    """Return the raw data of BYTES."""
    return b"".join(struct.pack("<I", len(item)) + item for item in items)
