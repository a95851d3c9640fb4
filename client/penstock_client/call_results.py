"""The two bodies of a call: the request's as bytes, the answer's as a value."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from penstock_client.call_records import Attempt
from penstock_client.endpoint_types import OutputDecoder
from penstock_client.errors import InvalidAnswer
from penstock_client.event_lines import EventLines
from penstock_client.plan_messages import HeadArrived

Value_co = TypeVar("Value_co", covariant=True)

ANY: Final = OutputDecoder(Any)
_DURATION: Final = re.compile(r"(queue|exec)\s*;\s*dur=([0-9.]+)")


@dataclass(frozen=True)
class Result(Generic[Value_co]):
    """The answer to a call.

    Attributes
    ----------
    value:
        The decoded body: of JSON the value, of lines of JSON a list, of text a ``str``, of anything else ``bytes``.
    status:
        The status of the response.
    headers:
        Its headers, with names in lower case.
    attempts:
        The requests that were sent; the last one has this answer.
    """

    value: Value_co
    status: int
    headers: Mapping[str, str]
    attempts: tuple[Attempt, ...]

    @property
    def request_id(self) -> str:
        """The server's ``X-Request-Id``; "" if it sends none."""
        return self.headers.get("x-request-id", "")

    @property
    def queue_seconds(self) -> float | None:
        """The time that the job waited on the server, if the server says so."""
        return self._duration("queue")

    @property
    def execution_seconds(self) -> float | None:
        """The time that the job ran on the server, if the server says so."""
        return self._duration("exec")

    def _duration(self, name: str) -> float | None:
        found = dict(_DURATION.findall(self.headers.get("server-timing", "")))
        return float(found[name]) / 1000 if name in found else None


def result_of(attempts: tuple[Attempt, ...], arrived: HeadArrived, output: OutputDecoder = ANY) -> Result[Any]:
    """Return the result of a whole response, as the type that is wanted.

    Raises
    ------
    ClientError
        As for ``decoded``.
    """
    value = decoded(arrived.status, arrived.headers.get("content-type", ""), arrived.body, output)
    return Result(value, arrived.status, arrived.headers, attempts)


def encoded(body: Any) -> tuple[bytes, str]:
    """Return the bytes of a request's body and their media type, "" for none.

    Raises
    ------
    TypeError
        If the body cannot be written as JSON.
    ValueError
        If it has NaN or an infinity.
    """
    if body is None:
        return b"", ""
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), "application/octet-stream"
    try:
        content = msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise TypeError(f"the body cannot be written as JSON: {error}") from None
    if b"null" in content:  # that is how msgspec writes them
        _require_finite(body)
    return content, "application/json"


def _require_finite(body: Any) -> None:
    """Raise ``ValueError`` if there is a number that JSON does not have; the server would see a missing value."""
    # The hook is called for msgspec.Raw alone, whose JSON is the program's own.
    values: list[tuple[str, Any]] = [("$", msgspec.to_builtins(body, str_keys=True, enc_hook=str))]
    while values:
        path, value = values.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the body cannot be written as JSON: {path} is {value}; send None if it is missing")
        if isinstance(value, dict):
            values += [(f"{path}.{name}", each) for name, each in value.items()]
        elif isinstance(value, list | tuple):
            values += [(f"{path}[{index}]", each) for index, each in enumerate(value)]


def decoded(status: int, media_type: str, body: bytes, output: OutputDecoder = ANY) -> Any:
    """Return the value of a whole answer, as the type that is wanted.

    Raises
    ------
    InvalidAnswer
        If the body is missing, is not what its media type says, or is not of the type that is wanted.
    TruncatedStream
        If it is in lines of JSON, and one of them is not.
    """
    try:
        if status != 204 and _is_json(media_type):
            return output.decoded(body)
        return output.converted(_plain(media_type, body) if status != 204 else None)
    except InvalidAnswer as error:
        error.partial = body
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(f"it says that it is JSON, and is not: {error}" if body else "it is empty", body) from None


def _is_json(media_type: str) -> bool:
    essence = media_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def _plain(media_type: str, body: bytes) -> Any:
    """Return the value of an answer that is not a JSON document."""
    media_type, _, parameters = media_type.partition(";")
    media_type = media_type.strip().lower()
    if media_type == "application/x-ndjson":
        lines = EventLines()
        return [event for event, _ in itertools.chain(lines.feed(body), lines.finish())]
    if media_type.startswith("text/"):
        charset = re.search(r"charset=\"?([\w-]+)", parameters)
        try:
            return body.decode(charset[1] if charset else "utf-8")
        except (UnicodeDecodeError, LookupError) as error:
            raise _invalid(f"it says that it is text, and is not: {error}", body) from None
    return body


def _invalid(reason: str, body: bytes) -> InvalidAnswer:
    error = InvalidAnswer(f"{InvalidAnswer.title}: {reason}")
    error.may_have_run = True
    error.partial = body
    return error
