"""A call of an app that works when it is pasted into a shell, for the first minute with the app."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from penstock import App, Endpoint
from penstock_cli.example_values import examples_of

_HEADER_NAME = re.compile("[A-Za-z0-9-]+")
_EVERY_ADDRESS = re.compile(r"//(0\.0\.0\.0|\[::\])(?=:)")
_OWN_ADDRESS = {"0.0.0.0": "//127.0.0.1", "[::]": "//[::1]"}  # noqa: S104 - nothing is bound here


def curl_call(
    app: App, url: str, schemes_of: Callable[[Endpoint], Iterable[Mapping[str, Any]]] = lambda _endpoint: ()
) -> str | None:
    """Return a call, by curl, of the first endpoint for which there is an example; None if there is none.

    If the endpoint needs a credential, the call takes it from the variable ``API_KEY``.

    Parameters
    ----------
    app:
        The app, which is served.
    url:
        An address at which it is served: a URL, or ``unix:`` with a path or ``@NAME``.
    schemes_of:
        Returns the security schemes of an endpoint, as OpenAPI has them. A client uses one.
    """
    for endpoint in app.endpoints:
        request = _request(app, endpoint)
        if request is not None:
            content, path = request
            buffering = ["-N"] if endpoint.is_stream else []
            words = [*map(shlex.quote, ["curl", *buffering]), *_credential(schemes_of(endpoint))]
            return " ".join([*words, *map(shlex.quote, [*content, *_address(url, path)])])
    return None


def _credential(schemes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the words of the shell that send a credential, in the first way that is a header; none without one."""
    for scheme in schemes:
        if scheme.get("type") == "http" and scheme.get("scheme") == "bearer":
            return ["-H", '"Authorization: Bearer $API_KEY"']
        name = str(scheme.get("name", ""))
        if scheme.get("type") == "apiKey" and scheme.get("in") == "header" and _HEADER_NAME.fullmatch(name):
            return ["-H", f'"{name}: $API_KEY"']
    return []


def _request(app: App, endpoint: Endpoint) -> tuple[list[str], str] | None:
    """Return curl's arguments for the content of a request, and its path with the query; None without an example."""
    codec = endpoint.codec
    if codec.reads == "bytes" and not codec.has_values:
        return _content(app, endpoint, None), endpoint.path
    bodies = examples_of(codec.body_schema() or {})
    for values, body in zip(examples_of(codec.input_schema()), bodies, strict=True):
        try:
            codec.validate(json.dumps(values).encode())
        except Exception:  # noqa: S112 - the schema does not say everything, and validators of the user's raise anything
            continue
        return _content(app, endpoint, body), _filled(endpoint, values) if codec.has_values else endpoint.path
    return None


def _content(app: App, endpoint: Endpoint, body: Any) -> list[str]:
    reads = endpoint.codec.reads
    if reads == "query":
        return []
    if reads == "bytes":
        return ["--data-binary", f"@{_file_of(app)}"]
    if reads == "json":
        return ["-H", "Content-Type: application/json", "-d", json.dumps(body, ensure_ascii=False)]
    arguments = []
    for field in endpoint.codec.form_fields:
        if field.is_file and field.required:
            arguments += ["-F", f"{field.name}=@{_file_of(app)}"]
        elif field.required:
            for text in _texts(body[field.name]):
                arguments += ["--form-string", f"{field.name}={text}"]
    return arguments


def _filled(endpoint: Endpoint, values: dict[str, Any]) -> str:
    """Return the path with these values in place of its variables, and those of the query after it."""
    path, query = endpoint.path, []
    for parameter in endpoint.codec.parameters:
        texts = _texts(values.get(parameter.name, []))
        if parameter.source == "path":
            path = path.replace(f"{{{parameter.name}}}", quote(texts[0], safe=""))
        elif parameter.source == "query":
            query += [(parameter.name, text) for text in texts]
    return f"{path}?{urlencode(query)}" if query else path


def _texts(value: Any) -> list[str]:
    """Return a value as the text of a field, or several for a list."""
    parts = value if isinstance(value, list) else [value]
    return [part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in parts]


def _file_of(app: App) -> str:
    """Return a file that there is: the app's own, as seen from the current folder."""
    here = Path.cwd()
    path = Path(next(iter(app.source_files), os.devnull))
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def client_url(url: str) -> str:
    """Return the URL for a client on this machine of a server at this URL, which may be that of all addresses."""
    return _EVERY_ADDRESS.sub(lambda found: _OWN_ADDRESS[found[1]], url, count=1)


def _address(url: str, path: str) -> list[str]:
    if not url.startswith("unix:"):
        return [client_url(url) + path]
    name = url.removeprefix("unix:")
    option = ["--abstract-unix-socket", name[1:]] if name.startswith("@") else ["--unix-socket", name]
    return [*option, f"http://localhost{path}"]
