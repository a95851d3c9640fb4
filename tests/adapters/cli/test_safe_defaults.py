"""Without options, `penstock serve` is open to this machine only, and shows nothing that is not for clients."""

from __future__ import annotations

import ipaddress
from typing import Any

from penstock_cli.main import serve


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
