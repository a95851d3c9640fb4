"""Without options, `penstock serve` is open to this machine only, and shows nothing that is not for clients."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock_cli import main as command_line
from penstock_cli.main import serve
from penstock_cli.serving import ServeOptions, serves_docs
from penstock_gunicorn import open_listeners, parse_addresses
from tests.serving import free_port


def defaults() -> dict[str, Any]:
    """Return the values of the options that are not given."""
    context = serve.make_context("serve", ["app:app"])
    return context.params


def test_the_address_is_this_machines() -> None:
    """Other machines reach the server only if an option says so."""
    assert ipaddress.ip_address(defaults()["host"]).is_loopback


def test_errors_of_handlers_are_not_shown() -> None:
    """Clients see them only with --debug."""
    assert defaults()["debug"] is False


def test_no_proxy_is_trusted() -> None:
    """X-Forwarded-For counts for nothing unless a proxy is named."""
    assert defaults()["trusted_proxies"] == ()


def options_of(*arguments: str, **variables: str) -> ServeOptions:
    """Return the options of a command line."""
    seen: list[ServeOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock_cli.serving.serve_app", seen.append)
        result = CliRunner(env=variables).invoke(command_line.cli, ["serve", "app:app", *arguments])
    assert result.exit_code == 0, result.output
    return seen[0]


@pytest.mark.parametrize(
    ("addresses", "is_local"),
    [
        (["127.0.0.1:{port}"], True),
        (["[::1]:{port}"], True),
        (["localhost:{port}", "unix:{folder}/http.sock", "unix:@penstock-{port}"], True),
        (["0.0.0.0:{port}"], False),
        (["[::]:{port}"], False),
        (["127.0.0.1:{port}", "0.0.0.0:0"], False),
    ],
)
def test_the_page_is_for_this_machine(addresses: list[str], is_local: bool, tmp_path: Path) -> None:
    """By default /docs is served only if every address can be reached from this machine alone; an option decides."""
    texts = tuple(text.format(port=free_port(), folder=tmp_path) for text in addresses)
    listeners = open_listeners(parse_addresses(texts))
    try:
        assert serves_docs(options_of(), listeners) is is_local
        assert serves_docs(options_of("--docs"), listeners) is True
        assert serves_docs(options_of("--no-docs"), listeners) is False
        assert serves_docs(options_of(PENSTOCK_DOCS="1"), listeners) is True
        assert serves_docs(options_of("--docs", PENSTOCK_DOCS="0"), listeners) is True
        # A proxy has these options, and may pass on what strangers send to it.
        assert serves_docs(options_of("--trusted-proxy", "unix"), listeners) is False
        assert serves_docs(options_of("--root-path", "/models"), listeners) is False
        assert serves_docs(options_of("--root-path", "/models", "--docs"), listeners) is True
    finally:
        listeners.remove_files()
