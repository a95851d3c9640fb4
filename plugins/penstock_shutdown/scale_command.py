"""The command ``penstock scale``, which changes the number of a running server's workers."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import click

from penstock.errors import PluginError
from penstock_shutdown.shutdown_key import ShutdownKey

_TIMEOUT_SECONDS: Final = 10.0


class Scaling(click.ParamType[tuple[str, int]]):
    """The name of a pool with its new number of workers: ``gpu=3``."""

    name = "scaling"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return both; click reports a value that is not like that."""
        pool, _, number = value.rpartition("=")
        if not pool or not (number.isascii() and number.isdigit()):
            self.fail(f"{value!r} is not NAME=N, such as gpu=3.", param, ctx)
        return pool, int(number)


@click.command()
@click.argument("scalings", metavar="NAME=N...", nargs=-1, required=True, type=Scaling())
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The server's address.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="PENSTOCK_SHUTDOWN_KEY_FILE",
    help="The file with the key of plug-in 'shutdown'.  [default: PENSTOCK_SHUTDOWN_KEY]",
)
def scale(scalings: tuple[tuple[str, int], ...], url: str, key_file: Path | None) -> None:
    """Change the number of workers of pools, in a server that runs.

    New workers start at once; those that are too many finish what they run. No request is lost.
    """
    key = _key(key_file)
    for pool, number in scalings:
        state = _post(url, key, pool, number)
        ready = sum(worker["state"] in ("ready", "busy") for worker in state["workers"])
        workers = "1 worker" if state["target"] == 1 else f"{state['target']} workers"
        click.echo(f"{pool}: {workers}, {ready} ready now")


def _key(key_file: Path | None) -> str:
    text = os.environ.get("PENSTOCK_SHUTDOWN_KEY", "")
    if key_file is not None:
        try:
            ShutdownKey.from_file(key_file)
            text = key_file.read_text(encoding="utf-8").strip()
        except (PluginError, OSError) as error:
            raise click.UsageError(str(error)) from None
    if not text:
        raise click.UsageError("there is no key; set PENSTOCK_SHUTDOWN_KEY, or pass --key-file.")
    return text


def _post(url: str, key: str, pool: str, number: int) -> dict[str, Any]:
    """Send the request; return the state of the pool."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError(f"--url {url}: write it as in http://127.0.0.1:8000.")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = f"{parts.path.rstrip('/')}/-/scale?{urlencode({'pool': pool, 'workers': number}, quote_via=quote)}"
    try:
        connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, headers={"Authorization": f"Bearer {key}"})
            response = connection.getresponse()
            content = json.loads(response.read())
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise click.ClickException(f"no answer from {url}: {error}") from None
    if response.status != http.HTTPStatus.ACCEPTED:
        raise click.ClickException(str(content.get("detail", content)))
    return dict(content)
