"""``penstock openapi``: write the OpenAPI document of an app. Nothing is started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from penstock.hosting import Registry, openapi_document
from penstock_cli.targets import include_current_folder, load_target, user_code


def write_openapi(target: str, arguments: Sequence[str], output: Path | None, server: str) -> None:
    """Load the app, and write its document to a file or to stdout.

    Raises
    ------
    TargetError
        If there is no such app, or its module, a declaration or a plug-in fails.
    click.ClickException
        If the file cannot be written.
    """
    include_current_folder()
    app = load_target(target, arguments)
    with user_code():
        app.freeze()
        document = openapi_document(app, Registry.load(app), server=server)
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
