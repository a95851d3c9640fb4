"""The client's address behind proxies, and which proxies are believed."""

from __future__ import annotations

import pytest

from penstock.errors import DeclarationError
from penstock_falcon.client_address import TrustedProxies


def origin(trusted: list[str], peer: str, forwarded: str | None) -> str:
    return TrustedProxies(trusted).client_address(peer, {"x-forwarded-for": forwarded}.get)


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ([], "10.0.0.1", "1.2.3.4", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "1.2.3.4, 10.0.0.9", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "10.0.0.8,10.0.0.9", "10.0.0.8"),
        (["10.0.0.0/8"], "9.9.9.9", "1.2.3.4", "9.9.9.9"),
        (["10.0.0.0/8"], "10.0.0.1", None, "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "evil\n, 1.2.3.4", "1.2.3.4"),
        (["::1"], "::1", "2001:db8::5", "2001:db8::5"),
        (["10.0.0.0/8"], "", "1.2.3.4", ""),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "1.2.3.4:4711, 10.0.0.9:80", "1.2.3.4"),
        (["10.0.0.0/8"], "10.0.0.1", "[2001:db8::5]:443", "2001:db8::5"),
        (["10.0.0.0/8"], "10.0.0.1", "[2001:db8::5]", "2001:db8::5"),
        (["unix"], "", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (["unix", "10.0.0.0/8"], "", "1.2.3.4, 10.0.0.9", "1.2.3.4"),
        (["unix"], "", None, ""),
        (["unix"], "10.0.0.1", "1.2.3.4", "10.0.0.1"),
    ],
    ids=[
        "nobody-is-trusted",
        "the-proxy-says",
        "what-the-client-wrote-is-not-believed",
        "two-proxies",
        "proxies-only",
        "a-stranger",
        "silent-proxy",
        "nonsense",
        "no-farther-than-needed",
        "v6",
        "no-address",
        "a-v4-proxy-at-a-v6-socket",
        "a-v4-client-at-a-v6-socket",
        "ports",
        "v6-with-port",
        "v6-in-brackets",
        "a-unix-socket",
        "a-proxy-before-a-unix-socket",
        "a-silent-unix-socket",
        "a-stranger-beside-a-unix-socket",
    ],
)
def test_the_last_address_that_is_not_trusted_is_the_client(
    trusted: list[str], peer: str, forwarded: str | None, address: str
) -> None:
    """A proxy appends the address that it sees; only entries appended by trusted proxies are believed."""
    assert origin(trusted, peer, forwarded) == address


def test_a_chain_has_a_limit() -> None:
    """Thousands of hops cost no more than a few."""
    assert origin(["10.0.0.0/8"], "10.0.0.1", ", ".join(["1.1.1.1"] + ["10.0.0.2"] * 10_000)) == "10.0.0.2"


def test_what_is_no_network_is_refused() -> None:
    """A wrong entry is an error when the application is made, and the message has an example."""
    with pytest.raises(DeclarationError, match=r"trusted_proxies: .*write 127"):
        TrustedProxies(["proxy.example"])
