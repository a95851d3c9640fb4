"""The requests of a run, as the bytes that are sent, and the choice between several kinds of them."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from penstock_load.input_errors import LoadError
from penstock_load.server_address import check_path

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEYS = frozenset({"method", "path", "headers", "body", "body_file", "weight"})
JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """One kind of request, as it is sent.

    Parameters
    ----------
    content:
        The head and the body.
    is_head:
        The method is HEAD, so the response has no body.
    method, path, headers, body:
        The same in parts, for a client that writes the head itself.
    """

    content: bytes
    is_head: bool = False
    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


def request_bytes(
    method: str, authority: str, path: str, headers: Mapping[str, str], body: bytes | None = None
) -> PreparedRequest:
    """Return a request as the bytes that are sent.

    Parameters
    ----------
    method:
        The HTTP method.
    authority, path:
        The value of ``Host``, unless a header sets it, and the path with its query.
    headers:
        Further headers. The body is JSON unless they say otherwise.
    body:
        The body, or None.

    Raises
    ------
    LoadError
        If a part cannot be sent, such as a header with a line break.
    """
    if not _TOKEN.fullmatch(method):
        raise LoadError(f"{method!r} is not an HTTP method")
    fields = {"Host": authority}
    if body is not None:
        fields |= {"Content-Type": JSON_TYPE, "Content-Length": str(len(body))}
    elif method in {"POST", "PUT", "PATCH"}:
        fields["Content-Length"] = "0"
    names = {name.lower(): name for name in fields}
    for name, value in headers.items():
        _check_header(name, value)
        fields.pop(names.get(name.lower(), ""), None)
        fields[name] = value
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"{method} {check_path(path)} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
    own = {name: value for name, value in fields.items() if name not in {"Host", "Content-Length"}} | dict(headers)
    return PreparedRequest(
        head + (body or b""), is_head=method == "HEAD", method=method, path=path, headers=(*own.items(),), body=body
    )


def header_of(text: str) -> tuple[str, str]:
    """Return the name and value of a header, written as curl's ``-H`` takes it: ``Name: value``.

    Raises
    ------
    LoadError
        If it is not written that way.
    """
    name, colon, value = text.partition(":")
    if not colon:
        raise LoadError("a header has no colon; write 'Name: value'")  # it is not shown: it may be a key
    _check_header(name.strip(), value.strip())
    return name.strip(), value.strip()


def _check_header(name: str, value: object) -> None:
    if not _TOKEN.fullmatch(name):
        raise LoadError(f"{name!r} is not the name of a header")
    if name.lower() in {"content-length", "transfer-encoding"}:
        raise LoadError(f"the header {name} follows from the body; leave it out")
    if not isinstance(value, str):
        raise LoadError(f"the value of the header {name} is not text")
    try:
        is_printable = all(byte >= 32 and byte != 127 for byte in value.replace("\t", " ").encode("latin-1"))
    except UnicodeEncodeError:
        is_printable = False
    if not is_printable:  # the value is not shown: it may be a key
        raise LoadError(f"the value of the header {name} has a line break or another character that cannot be sent")


@dataclass(frozen=True)
class RequestMix:
    """Kinds of requests, each with its weight.

    Parameters
    ----------
    requests:
        The kinds, at least one.
    weights:
        The positive weight of each. Default: all are equal.
    """

    requests: Sequence[PreparedRequest]
    weights: Sequence[float] = field(default=())

    def chooser(self, dice: random.Random) -> Callable[[], PreparedRequest]:
        """Return a function that returns the next request."""
        if len(self.requests) == 1:
            [only] = self.requests
            return lambda: only
        sums = list(accumulate(self.weights or [1.0] * len(self.requests)))
        return lambda: dice.choices(self.requests, cum_weights=sums)[0]


def read_mix(file: Path, authority: str, default_path: str, headers: Mapping[str, str]) -> RequestMix:
    """Return the mix in a file of JSON lines.

    Each line is an object with any of ``method``, ``path``, ``headers``, ``body`` (text, or any other JSON value),
    ``body_file`` (relative to the folder of the file) and ``weight``.

    Parameters
    ----------
    file:
        The file.
    authority, default_path:
        The value of ``Host``, and the path of the requests without one.
    headers:
        The headers of every request, which its own override.

    Raises
    ------
    LoadError
        If the file cannot be read, is empty, or a line cannot be used; the message has the number of the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"cannot read {file}: {error}") from None
    requests, weights = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                entry = _entry_of(line)
                requests.append(_request_of(entry, file.parent, authority, default_path, headers))
                weights.append(_weight_of(entry))
            except LoadError as error:
                raise LoadError(f"{file}, line {number}: {error}") from None
    if not requests:
        raise LoadError(f"{file} is empty; write a JSON object on each line")
    return RequestMix(requests, weights)


def _entry_of(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise LoadError(f"this is not JSON: {error}") from None
    if not isinstance(entry, dict):
        raise LoadError("this is not a JSON object")
    if unknown := sorted(entry.keys() - _KEYS):
        raise LoadError(f"there is no key {', '.join(unknown)}; the keys are {', '.join(sorted(_KEYS))}")
    return entry


def _request_of(
    entry: dict[str, Any], folder: Path, authority: str, default_path: str, headers: Mapping[str, str]
) -> PreparedRequest:
    own = entry.get("headers", {})
    if not isinstance(own, dict):
        raise LoadError("headers is not an object")
    replaced = {name.lower() for name in own}
    merged = {name: value for name, value in headers.items() if name.lower() not in replaced} | own
    body = _body_of(entry, folder)
    method, path = entry.get("method", "GET" if body is None else "POST"), entry.get("path", default_path)
    if not isinstance(method, str) or not isinstance(path, str):
        raise LoadError("method and path are texts")
    return request_bytes(method, authority, path, merged, body)


def _body_of(entry: dict[str, Any], folder: Path) -> bytes | None:
    if "body" in entry and "body_file" in entry:
        raise LoadError("a request has a body or a body_file, not both")
    if "body_file" in entry:
        return read_body(folder / str(entry["body_file"]))
    if "body" not in entry:
        return None
    body = entry["body"]
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def _weight_of(entry: dict[str, Any]) -> float:
    weight = entry.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise LoadError(f"the weight {weight!r} is not a positive number")
    return float(weight)


def read_body(file: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    LoadError
        If it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise LoadError(f"cannot read {file}: {error}") from None
