"""``penstock client``: write the module of a typed client, from an app, a running server or a document."""

from __future__ import annotations

import http.client
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from penstock.hosting import Registry, openapi_document
from penstock_cli.client_module import MARK, client_module
from penstock_cli.targets import include_current_folder, load_target, user_code
from penstock_load import LoadError, header_of

_SECONDS: Final = 10.0
_DOCUMENT: Final = "openapi.json"


class ClientModuleError(click.ClickException):
    """The module cannot be generated or written; exit code 2."""

    exit_code = 2


def write_client(target: str, arguments: Sequence[str], output: Path | None, headers: Sequence[str]) -> None:
    """Generate the module, and write it to a file or to stdout.

    Parameters
    ----------
    target, arguments:
        An app with its arguments, the URL of a server, or the file of a document.
    output:
        The file; None for stdout. It may exist only if this command has written it.
    headers:
        Headers of the request to a server.

    Raises
    ------
    TargetError
        If there is no such app, or its module, a declaration or a plug-in fails.
    ClientModuleError
        If there is no document, or the module cannot be written.
    """
    if output is not None:
        _require_own(output)
    document = _document(target, arguments, headers)
    command = shlex.join(["penstock", "client", target, *(["--output", str(output)] if output else [])])
    try:
        text = client_module(document, command)
    except (AttributeError, KeyError, TypeError) as error:
        raise ClientModuleError(
            f"{target} is not an OpenAPI document that a client can be made from: {type(error).__name__}: {error}"
        ) from None
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClientModuleError(f"{output} cannot be written: {error.strerror}") from None


def _require_own(output: Path) -> None:
    """Raise an error if a file exists that this command has not written, before anything is loaded."""
    try:
        with output.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ClientModuleError(f"{output} cannot be written: {error.strerror}") from None
    if first.strip() and MARK not in first:
        raise ClientModuleError(
            f"{output} exists, and was not written by penstock client; name another file, or remove it"
        )


def _document(target: str, arguments: Sequence[str], headers: Sequence[str]) -> Mapping[str, Any]:
    if target.startswith(("http://", "https://")):
        return _decoded(_fetched(target, headers), target)
    if target.endswith(".json"):
        try:
            return _decoded(Path(target).read_bytes(), target)
        except OSError as error:
            raise ClientModuleError(f"{target} cannot be read: {error.strerror}") from None
    include_current_folder()
    app = load_target(target, arguments)
    with user_code():
        app.freeze()
        return openapi_document(app, Registry.load(app))


def _fetched(url: str, headers: Sequence[str]) -> bytes:
    address = url if url.endswith(".json") else f"{url.rstrip('/')}/{_DOCUMENT}"
    try:
        request = urllib.request.Request(address, headers=dict(map(header_of, headers)))  # noqa: S310 - http or https
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310 - the same
            body: bytes = response.read()
    except LoadError as error:
        raise ClientModuleError(f"{error}.") from None
    except urllib.error.HTTPError as error:
        raise ClientModuleError(f"{address} was answered with {error.code}; {_advice(error.code)}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ClientModuleError(f"{address} cannot be read: {reason}; is the server running?") from None
    return body


def _advice(status: int) -> str:
    if status in {401, 403}:
        return "give a key with --header 'Authorization: Bearer KEY'"
    return "a server has its document if it is started with --docs; or name its app in place of the URL"


def _decoded(body: bytes, target: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientModuleError(f"{target} is not an OpenAPI document: {error}") from None
