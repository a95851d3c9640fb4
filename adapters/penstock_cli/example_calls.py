"""A call of an app that works when it is pasted into a shell, for the first minute with the app."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from penstock import App, Endpoint
from penstock_cli.example_values import examples_of

_NO_CONTENT = ""  # this is base64 as well
_EVERY_ADDRESS = re.compile(r"//(0\.0\.0\.0|\[::\])(?=:)")
_OWN_ADDRESS = {"0.0.0.0": "//127.0.0.1", "[::]": "//[::1]"}  # noqa: S104 - nothing is bound here


def curl_call(app: App, url: str) -> str | None:
    """Return a call, by curl, of the first endpoint for which there is an example; None if there is none.

    Parameters
    ----------
    app:
        The app, which is served.
    url:
        An address at which it is served: a URL, or ``unix:`` with a path or ``@NAME``.
    """
    for endpoint in app.endpoints:
        found = _example_of(app, endpoint)
        if found is not None:
            options, path = found
            buffering = ["-N"] if endpoint.is_stream else []
            return shlex.join(["curl", *buffering, *options, *_address(url, path)])
    return None


def _example_of(app: App, endpoint: Endpoint) -> tuple[list[str], str] | None:
    """Return curl's options, and the path with its variables and the query, for an input that is valid."""
    codec = endpoint.codec
    if codec.reads == "bytes" and not codec.has_values:
        return ["--data-binary", f"@{_file_of(app)}"], endpoint.path
    for example in examples_of(codec.input_schema()):
        try:
            codec.validate(json.dumps(_with_contents(endpoint, example)).encode())
        except Exception:  # noqa: S112 - the schema does not say everything, and validators of the user's raise anything
            continue
        return _written(app, endpoint, example)
    return None


def _with_contents(endpoint: Endpoint, example: Any) -> Any:
    """Return an example as a program would pass it that embeds the app: its files have contents."""
    files = {field.name for field in endpoint.codec.form_fields if field.is_file}
    if not isinstance(example, dict) or not files:
        return _NO_CONTENT if files else example
    return {name: _contents(value) if name in files else value for name, value in example.items()}


def _contents(value: Any) -> Any:
    return [_NO_CONTENT for _ in value] if isinstance(value, list) else _NO_CONTENT


def _written(app: App, endpoint: Endpoint, example: Any) -> tuple[list[str], str]:
    codec, path = endpoint.codec, endpoint.path
    body = example
    if codec.has_values:
        sources = {parameter.name: parameter.source for parameter in codec.parameters}
        for name, value in example.items():
            if sources[name] == "path":
                path = path.replace(f"{{{name}}}", quote(_text(value), safe=""))
        body = {name: value for name, value in example.items() if sources[name] != "path"}
    if codec.reads == "query":
        query = urlencode([(name, text) for name, value in body.items() for text in _texts(value)])
        return [], f"{path}?{query}" if query else path
    if codec.reads == "bytes":
        return ["--data-binary", f"@{_file_of(app)}"], path
    if codec.reads == "form":
        return _form_options(app, endpoint, body), path
    if codec.has_values and codec.body_is_whole:
        (body,) = body.values()
    return ["-H", "Content-Type: application/json", "-d", json.dumps(body, ensure_ascii=False)], path


def _form_options(app: App, endpoint: Endpoint, body: Any) -> list[str]:
    options = []
    for field in endpoint.codec.form_fields:
        if not field.required:
            continue
        value = body.get(field.name) if isinstance(body, dict) else body
        texts = [f"@{_file_of(app)}"] if field.is_file else _texts(value)
        options += [part for text in texts for part in ("-F", f"{field.name}={text}")]
    return options


def _texts(value: Any) -> list[str]:
    """Return the texts of a value in a query or a form: those of its items, if it is a list."""
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
