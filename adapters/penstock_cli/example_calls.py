"""A call of an app that works when it is pasted into a shell, for the first minute with the app."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

from penstock import App, Endpoint
from penstock_cli.example_values import examples_of

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
        body = _body_arguments(app, endpoint)
        if body is not None:
            buffering = ["-N"] if endpoint.is_stream else []
            return shlex.join(["curl", *buffering, *body, *_address(url, endpoint.path)])
    return None


def _body_arguments(app: App, endpoint: Endpoint) -> list[str] | None:
    if endpoint.codec.reads == "bytes":
        return ["--data-binary", f"@{_file_of(app)}"]
    for example in examples_of(endpoint.codec.input_schema()):
        body = json.dumps(example, ensure_ascii=False)
        try:
            endpoint.codec.validate(body.encode())
        except Exception:  # noqa: S112 - the schema does not say everything, and validators of the user's raise anything
            continue
        return ["-H", "Content-Type: application/json", "-d", body]
    return None


def _file_of(app: App) -> str:
    """Return a file that there is: the app's own, as seen from the current folder."""
    here = Path.cwd()
    path = Path(next(iter(app.source_files), os.devnull))
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _address(url: str, path: str) -> list[str]:
    if not url.startswith("unix:"):
        return [_EVERY_ADDRESS.sub(lambda found: _OWN_ADDRESS[found[1]], url, count=1) + path]
    name = url.removeprefix("unix:")
    option = ["--abstract-unix-socket", name[1:]] if name.startswith("@") else ["--unix-socket", name]
    return [*option, f"http://localhost{path}"]
