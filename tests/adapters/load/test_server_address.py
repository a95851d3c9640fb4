"""The address of a load: which URLs mean this machine, and which mean nothing."""

from __future__ import annotations

import pytest

from penstock_load import LoadError, address_of


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://127.0.0.1:8000/a?b=c", "127.0.0.1", 8000, "/a?b=c"),
        ("http://127.1.2.3", "127.1.2.3", 80, "/"),
        ("https://127.0.0.1/x", "127.0.0.1", 443, "/x"),
        ("http://[::1]:8000/", "::1", 8000, "/"),
        ("http://localhost:1/", "127.0.0.1", 1, "/"),
    ],
)
def test_loopback_addresses_are_this_machine(url: str, host: str, port: int, path: str) -> None:
    """By number or by name, with the port of the scheme if there is none."""
    found = address_of(url)
    assert (found.host, found.port, found.path, found.is_own) == (host, port, path, True)
    assert found.is_secure == url.startswith("https")


@pytest.mark.parametrize("url", ["http://192.0.2.1/", "http://0.0.0.0/", "http://[2001:db8::1]/"])
def test_other_addresses_are_not(url: str) -> None:
    """0.0.0.0 is not a loopback address, though systems connect it to themselves."""
    assert not address_of(url).is_own


def test_a_unix_socket_is_this_machine() -> None:
    """The host of the URL is only a name then."""
    found = address_of("http://anything/x", unix_socket="/run/a.sock")
    assert (found.host, found.port, found.authority, found.is_own) == ("/run/a.sock", None, "anything", True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8000/x", "http://"),
        ("ftp://127.0.0.1/", "http://"),
        ("http:/127.0.0.1/", "http://"),
        ("http:///x", "no host"),
        ("http://127.0.0.1:99999/", "not a URL"),
        ("http://127.0.0.1:0/", "port 0"),
        ("http://user:secret@127.0.0.1/", "-H"),
        ("http://127.0.0.1/a b", "percent-encoded"),
        ("http://[::1/", "not a URL"),
        ("http://name.invalid/", "no address"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, words: str) -> None:
    """The message names the fault, and repeats no password."""
    with pytest.raises(LoadError, match=words) as caught:
        address_of(url)
    assert "secret" not in str(caught.value)
