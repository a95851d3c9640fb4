"""The endpoint that ``penstock call`` is to call: given by its name, by its path, or by a path with values in it."""

from __future__ import annotations

import re
from urllib.parse import unquote

import click

from penstock import App, Endpoint, PenstockError
from penstock.hooks import Submission, near_miss


class CallError(click.ClickException):
    """The call cannot be made as the command line asks for it; exit code 2."""

    exit_code = 2


def submission_to(name: str, app: App, target: str, body: bytes | None) -> Submission:
    """Return a submission to the endpoint that is meant, once it is known that the endpoint takes this input.

    Parameters
    ----------
    name:
        Its name, or its path. A path may have values in place of its variables, and a query: these are then read as
        over HTTP, and the body has the rest. Otherwise the body has all parameters.
    app, target:
        The app, and its own name.
    body:
        The body. If there is none, of two endpoints with the same path the one for a GET is meant.

    Raises
    ------
    CallError
        If there is no such endpoint, or if it cannot take the input.
    PenstockError
        If code of the app fails on the input.
    """
    path, _, query = name.partition("?")
    if not path.startswith("/"):
        endpoint = _known(name, {endpoint.name: endpoint for endpoint in app.endpoints}, target)
        submission, values = Submission(endpoint), None
    else:
        endpoint, values = _at_path(path, app, target, prefers_get=body is None)
        submission = Submission(endpoint, query=query)
    try:
        if values or query or body is None:
            submission.input_form = endpoint.codec.input_form(values or {}, query, "")
        endpoint.codec.validate(body or b"", submission.input_form)
    except PenstockError as error:
        if error.status >= PenstockError.status:
            raise
        raise CallError(f"{name} cannot take this input: {error.detail}") from None
    return submission


def _known(name: str, endpoints: dict[str, Endpoint], target: str) -> Endpoint:
    if name not in endpoints:
        raise CallError(f"{target} has no endpoint {name}; {near_miss(name, endpoints)}")
    return endpoints[name]


def _at_path(path: str, app: App, target: str, *, prefers_get: bool) -> tuple[Endpoint, dict[str, str]]:
    """Return the endpoint at a path, and the values of its variables; the one at exactly this path comes first."""
    endpoints = sorted(app.endpoints, key=lambda endpoint: (endpoint.method == "GET") != prefers_get)
    for endpoint in endpoints:
        if endpoint.path == path:
            return endpoint, {}
    for endpoint in endpoints:
        found = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(endpoint.path)), path)
        if found is not None:
            return endpoint, {name: unquote(value) for name, value in found.groupdict().items()}
    return _known(path, {endpoint.path: endpoint for endpoint in endpoints}, target), {}
