"""The operations of an OpenAPI document, as a typed client has them: names that Python takes, and what goes where."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

JSON, NDJSON, OCTETS = "application/json", "application/x-ndjson", "application/octet-stream"
ANY: Final = "_typing.Any"
METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
ROUTE: Final = "x-penstock-route"
"""The mark of a plug-in's route in a document, for which a typed client has no method."""
# The methods of the client's own; a test compares them with its classes.
TAKEN: Final = frozenset({
    "aclose", "call", "chat", "chat_stream", "close", "deadline", "endpoint", "from_context", "health", "jobs",
    "stream", "with_options",
})  # fmt: skip
_UNFIT: Final = re.compile(r"\W+")


@dataclass(frozen=True)
class UrlParameter:
    """A value of the path or the query: its name in the document and in Python, and its schema."""

    name: str
    spelling: str
    schema: Any
    is_required: bool


@dataclass(frozen=True)
class ClientOperation:
    """A method of a typed client.

    Attributes
    ----------
    name, spelling:
        The name of the endpoint, and that of the method.
    path, http_method:
        The request.
    text:
        The docstring.
    in_path, in_query:
        The values that go into the URL.
    body:
        The schema of a JSON body; None if there is none, or it is not JSON.
    body_media_type:
        Its media type; "" if there is no body.
    needs_body:
        False if the body may be left out.
    output:
        The schema of a JSON answer, or of an event; None if there is none.
    other_output:
        The type of an answer that is not JSON; "" if there is none.
    is_stream:
        True if the answer is a stream.
    limits:
        The endpoint's own limits, in seconds.
    digest:
        The digest of its schema; "" without one.
    """

    name: str
    spelling: str
    path: str
    http_method: str
    text: str
    in_path: Sequence[UrlParameter]
    in_query: Sequence[UrlParameter]
    body: Any
    body_media_type: str
    needs_body: bool
    output: Any
    other_output: str
    is_stream: bool
    limits: Mapping[str, float]
    digest: str


def operations_in(document: Mapping[str, Any]) -> list[ClientOperation]:
    """Return the operations of a document, in its order.

    Raises
    ------
    KeyError, TypeError, AttributeError
        If it is not an OpenAPI document.
    """
    components = document.get("components", {})
    found = [
        (path, method, described, described.get("operationId") or f"{method} {path}")
        for path, operations in document["paths"].items()
        for method, described in operations.items()
        if method in METHODS and not described.get(ROUTE)
    ]
    spellings = _spellings([name for _, _, _, name in found])
    return [
        _operation(path, method, described, components, name=name, spelling=spellings[name])
        for path, method, described, name in found
    ]


def _spellings(names: Sequence[str]) -> dict[str, str]:
    """Return the name of each method. An endpoint whose name needs no change has its own name for certain."""
    spelled = {name: name for name in names if python_name(name, set(TAKEN)) == name}
    taken = {*TAKEN, *spelled}
    return {name: spelled.get(name) or python_name(name, taken) for name in names}


def python_name(text: str, taken: set[str]) -> str:
    """Return a name that Python takes, with underscores for the rest, and add it to those that are taken."""
    name = _UNFIT.sub("_", text).strip("_") or "unnamed"
    if name[0].isdigit():
        name = f"n{name}"
    number, unique = 1, f"{name}_" if keyword.iskeyword(name) or name in taken else name
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    taken.add(unique)
    return unique


def class_name(text: str) -> str:
    """Return a name for a class: words with capitals, without anything between them."""
    words = [word for word in re.split(r"[\W_]+", text) if word]
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name and not name[0].isdigit() else f"N{name}"


def _operation(
    path: str, method: str, described: Mapping[str, Any], components: Mapping[str, Any], *, name: str, spelling: str
) -> ClientOperation:
    arguments = {"self", "body", "content_type", "timeout", "idempotency_key", "headers"}
    inputs = [
        each for each in _resolved(described.get("parameters", ()), components) if each["in"] in {"path", "query"}
    ]
    found = {
        place: [_argument(each, arguments) for each in inputs if each["in"] == place] for place in ("path", "query")
    }
    body = {} if _is_empty(described.get("requestBody", {})) else described["requestBody"]
    media_type = _body_media_type(body.get("content", {}))
    content = _success(described["responses"], components).get("content", {})
    is_stream = bool(described.get("x-stream"))
    return ClientOperation(
        name=name,
        spelling=spelling,
        path=path.strip("/"),
        http_method=method.upper(),
        text="\n\n".join(filter(None, (described.get("summary", ""), described.get("description", "")))),
        in_path=found["path"],
        in_query=found["query"],
        body=body["content"][JSON].get("schema", {}) if media_type == JSON else None,
        body_media_type=media_type,
        needs_body=bool(body.get("required")),
        output=next((content[each].get("schema", {}) for each in (JSON, NDJSON) if each in content), None),
        other_output=_other_output(content, is_stream=is_stream),
        is_stream=is_stream,
        limits=described.get("x-penstock-timeouts", {}),
        digest=described.get("x-penstock-schema", ""),
    )


def _argument(described: Mapping[str, Any], taken: set[str]) -> UrlParameter:
    name = described["name"]
    return UrlParameter(name, python_name(name, taken), _schema_of(described), bool(described.get("required")))


def _resolved(values: Any, components: Mapping[str, Any]) -> Iterator[Any]:
    for value in values:
        place = value.get("$ref", "").removeprefix("#/components/").partition("/")
        yield components[place[0]][place[2]] if "$ref" in value else value


def _schema_of(parameter: Mapping[str, Any]) -> Any:
    return parameter["schema"] if "schema" in parameter else next(iter(parameter["content"].values()))["schema"]


def _body_media_type(content: Mapping[str, Any]) -> str:
    return next((each for each in (JSON, OCTETS) if each in content), next(iter(content), ""))


def _is_empty(body: Mapping[str, Any]) -> bool:
    """Return whether a body has nothing that could be sent, because the endpoint has no parameters."""
    schema = body.get("content", {}).get(JSON, {}).get("schema", {})
    return not body or (not body.get("required") and schema.get("properties") == {})


def _success(responses: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    status = next((each for each in responses if each.startswith("2")), "default")
    return next(_resolved([responses.get(status, {})], components))


def _other_output(content: Mapping[str, Any], *, is_stream: bool) -> str:
    """Return the type of the answers that are not JSON."""
    others = [each for each in content if each not in {JSON, NDJSON, "text/event-stream"}]
    if not content or "*/*" in others:
        return ANY
    if not others:
        return ""
    return "str" if not is_stream and all(each.startswith("text/") for each in others) else "bytes"
