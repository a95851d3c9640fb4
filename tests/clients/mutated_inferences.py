"""Requests of the Open Inference Protocol that differ from valid ones in a few places."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from tests.plugins.openai.test_openai_fuzz import Mutator, places, replaced

LENGTH = "Inference-Header-Content-Length"
FLOATS = struct.pack("<8f", *range(8))
TEXTS = b"".join(struct.pack("<I", len(text)) + text for text in (b"a", b"", "é".encode()))


def tensor(name: str, datatype: str, shape: list[int], **fields: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, **fields}


def binary(name: str, datatype: str, shape: list[int], data: bytes) -> dict[str, Any]:
    return tensor(name, datatype, shape, parameters={"binary_data_size": len(data)})


class Valid(NamedTuple):
    """A valid request: the model, the JSON, and what follows it."""

    model: str
    document: dict[str, Any]
    tail: bytes = b""


VALID = [
    Valid("iris", {"id": "1", "inputs": [tensor("x", "FP32", [2, 4], data=[1, 2, 3, 4, 5, 6, 7, 8])]}),
    Valid("iris", {"inputs": [binary("x", "FP32", [2, 4], FLOATS)]}, FLOATS),
    Valid(
        "pair",
        {
            "inputs": [binary("a", "FP32", [8], FLOATS), tensor("b", "FP32", [8], data=[0.5] * 8)],
            "outputs": [{"name": "signs", "parameters": {"binary_data": True}}, {"name": "total"}],
            "parameters": {"priority": 1, "timeout": 10_000_000, "mine": "x"},
        },
        FLOATS,
    ),
    Valid("pair", {"inputs": [binary(name, "FP32", [8], FLOATS) for name in "ab"]}, FLOATS * 2),
    Valid("org/shout it", {"inputs": [binary("text", "BYTES", [3], TEXTS)]}, TEXTS),
    Valid(
        "echo-bytes",
        {
            "inputs": [tensor("x", "BYTES", [1, 3], data=[["a", "", "é"]], parameters={"content_type": "str"})],
            "parameters": {"binary_data_output": True, "headers": None},
        },
    ),
    Valid("echo-bool", {"inputs": [binary("x", "BOOL", [2, 2], b"\0\1\1\0")]}, b"\0\1\1\0"),
    Valid("echo-bf16", {"inputs": [binary("x", "BF16", [2, 4], FLOATS[:16])]}, FLOATS[:16]),
    Valid("echo-int64", {"inputs": [tensor("x", "INT64", [2, 2], data=[[1, 2], [3, -4]])]}),
    Valid("echo-fp64", {"inputs": [tensor("x", "FP64", [0, 3], data=[])]}),
    Valid("scalar", {"inputs": [tensor("x", "FP64", [], data=[1.5])], "outputs": None}),
    Valid("rows", {"inputs": [binary("x", "FP32", [4, 2], FLOATS)]}, FLOATS),
]
STRANGE: list[Any] = [
    None,
    True,
    0,
    1,
    -1,
    3,
    2**31,
    2**63,
    2**64,
    10**30,
    1.5,
    1e300,
    float("nan"),
    "",
    "a",
    "\x00\u2028\U0001f600",
    "x" * 5000,
    [],
    [[]],
    [[[[[1]]]]],
    [1, [2]],
    [None],
    [-1],
    [2**40, 2**40],
    [0, 2**62],
    {},
    {"": {}},
    {"binary_data_size": 3},
    {"binary_data_size": -1},
    {"binary_data_size": "4"},
    {"binary_data_size": 2**62},
    {"shared_memory_region": "a", "shared_memory_byte_size": 4},
    {"classification": 2},
    {"sequence_id": 1, "sequence_start": True},
    {"timeout": 1},
    {"timeout": -5},
    {"timeout": 1.5},
    {"priority": "high"},
    {"headers": {"a": 1}, "triton_x": 1},
    "FP32",
    "INT8",
    "BYTES",
    "BF16",
]
LENGTHS = ["", "0", "-1", "+5", "1", "99999", "1e3", "0x10", "9" * 30, "5, 5", " 7 ", "\xb2"]
PATHS = [
    "/v2/models/{}/versions/1/infer",
    "/v2/models/{}/versions/99/infer",
    "/v2/models/{}/versions//infer",
    "/v2/models/{}/infer/",
    "/v2/models/{}/infer?a=b&a",
    "/v2//models/{}/infer",
    "/v2/models/{}%00/infer",
    "/v2/models/%ff{}/infer",
    "/v2/models//infer",
    "/v2/models/infer",
    "/v2/models/../{}/infer",
    "/v2/models/{}",
    "/v2/models/{}/config",
    "/v2/models/{}/stats",
    "/v2/models/{}/ready",
    "/v2/models/{}/generate",
    "/v2/models/{}/unload",
    "/v2/models",
    "/v2/models/stats",
    "/v2",
    "/v2/",
    "/v2/health/ready",
    "/v2/health/none",
    "/v2/repository/index",
    "/v2/repository/models/{}/load",
    "/v2/repository/models/{}/unload",
    "/v2/systemsharedmemory/status",
    "/v2/trace/setting",
    "/v2/logging",
]
TYPES = [
    "",
    "application/json",
    "application/octet-stream",
    "text/plain",
    "application/json; charset=latin-1",
    "\xe9/;",
]
METHODS = ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]


class Request(NamedTuple):
    """A request, as it is sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class InferenceMutator(Mutator):
    """Requests that differ from a valid one in JSON, headers, binary data, coding or path."""

    def request(self) -> Request:
        model, document, tail = self.draw.choice(VALID)
        head = self._json(document)
        headers = {LENGTH: str(len(head))} if tail else {}
        if self.draw.random() < 0.1:
            headers[LENGTH] = self.draw.choice([*LENGTHS, str(len(head) + self.draw.randrange(-2, 3))])
        if self.draw.random() < 0.1:
            tail = self.torn(tail)
        body = self._coded(head + tail, headers)
        if self.draw.random() < 0.1:
            headers["Content-Type"] = self.draw.choice(TYPES)
        path = self.draw.choice(PATHS) if self.draw.random() < 0.15 else "/v2/models/{}/infer"
        method = self.draw.choice(METHODS) if self.draw.random() < 0.05 else "POST"
        return Request(method, path.replace("{}", quote(model)), headers, body)

    def _json(self, document: Any) -> bytes:
        for _ in range(self.draw.randrange(4)):
            path = self.draw.choice(places(document))
            document = replaced(document, path, self.change)
        content = msgspec.json.encode(document)
        if self.draw.random() < 0.05:
            content = content.replace(b"null", self.draw.choice([b"NaN", b"-Infinity", b"Infinity", b"nan"]))
        return self.torn(content) if self.draw.random() < 0.05 else content

    def change(self, value: Any) -> Any:
        if self.draw.random() < 0.5:
            return self.draw.choice(STRANGE)
        return super().change(value)

    def _coded(self, content: bytes, headers: dict[str, str]) -> bytes:
        if self.draw.random() < 0.1:
            headers["Accept-Encoding"] = self.draw.choice(["gzip", "deflate", "br", "identity;q=0", "*;q=x", ","])
        if self.draw.random() > 0.15:
            return content
        headers["Content-Encoding"] = self.draw.choice(["gzip", "deflate", "identity", "br", "gzip, deflate", "x"])
        kind = self.draw.choice([headers["Content-Encoding"], "gzip"])
        coded = {"gzip": gzip.compress, "deflate": zlib.compress}.get(kind, bytes)(content)
        return self.torn(coded) if self.draw.random() < 0.2 else coded
