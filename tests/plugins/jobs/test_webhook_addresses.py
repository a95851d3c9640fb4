"""The addresses that webhooks may be sent to."""

from __future__ import annotations

import ipaddress
import random

import pytest

from penstock_jobs.webhook_addresses import AddressRefused, kind_of, target_of

PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
REFUSED = {
    "127.0.0.1": "loopback",
    "127.8.9.10": "loopback",
    "0.0.0.0": "unspecified",
    "10.1.2.3": "private",
    "172.31.255.255": "private",
    "192.168.0.1": "private",
    "100.64.0.1": "shared by a provider",
    "169.254.169.254": "link-local",
    "192.0.0.192": "a metadata service",
    "168.63.129.16": "a metadata service",
    "100.100.100.200": "a metadata service",
    "198.18.0.1": "reserved",
    "224.0.0.1": "multicast",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "reserved",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b:1::1": "reserved",
    "2002:7f00:1::": "reserved",
    "2001::1": "reserved",
    "2001:db8::1": "reserved",
    "3fff::1": "reserved",
    "5f00::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "a metadata service",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fec0::1": "reserved",
    "ff02::1": "multicast",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    """Those inside an IPv6 address too, as networks without IPv4 need them."""
    assert kind_of(address) is None


@pytest.mark.parametrize(("address", "kind"), REFUSED.items())
def test_all_other_addresses_are_refused(address: str, kind: str) -> None:
    """In every form that reaches the same machine."""
    assert kind_of(address) == kind


def test_no_address_is_allowed_that_python_considers_special() -> None:
    """The table is at least as strict as ``ipaddress``, for random addresses near the borders of its networks."""
    dice = random.Random(1)
    for _ in range(20_000):
        four = ipaddress.IPv4Address(dice.getrandbits(32))
        six = ipaddress.IPv6Address(
            (dice.choice([0x2001, 0x2002, 0x2003, 0x3FFF, 0x64, 0xFC00]) << 112) | dice.getrandbits(112)
        )
        for address in (four, six):
            assert address.is_global or kind_of(str(address)) is not None, address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org/", "not https"),
        ("ftp://example.org/", "not https"),
        ("file:///etc/passwd", "no host"),
        ("https:///path", "no host"),
        ("example.org", "no host"),
        ("https://user:secret@example.org/", "password"),
        ("https://example.org/#part", "fragment"),
        ("https://example.org:25/", "port is 25"),
        ("https://127.0.0.1/", "loopback"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("https://[fe80::1]/", "link-local"),
        ("https://169.254.169.254/latest/meta-data/", "link-local"),
        ("https://example.org/" + "x" * 2048, "characters"),
        ("https://exa mple.org/", "not a name"),
        ("https://example.org:99999/", "not a"),
    ],
)
def test_a_url_that_cannot_be_a_webhooks_is_refused(url: str, reason: str) -> None:
    """The message says why."""
    with pytest.raises(AddressRefused, match=reason):
        target_of(url)


def test_a_public_url_is_allowed() -> None:
    """At the port of https, or one that no other protocol has."""
    target = target_of("https://Hooks.Example.ORG./a?b=c")
    assert (target.host, target.port, target.lane) == ("hooks.example.org", 443, "hooks.example.org:443")
    assert target_of("https://hooks.example.org:8443/").port == 8443
    assert target_of("https://bücher.example/").host == "xn--bcher-kva.example"


def test_every_address_of_a_name_is_checked() -> None:
    """A name with one public and one private address is refused: the resolver decides the order."""
    target = target_of("https://example.org/")
    target.require(PUBLIC)
    for addresses in (["93.184.215.14", "10.0.0.1"], ["10.0.0.1", "93.184.215.14"], []):
        with pytest.raises(AddressRefused):
            target.require(addresses)


def test_a_listed_host_may_be_private() -> None:
    """With http and at any port; if the operator has listed one port, at that one only."""
    assert target_of("http://hooks.internal/", ["Hooks.Internal"]).is_listed
    assert target_of("http://127.0.0.1:8080/", ["127.0.0.1:8080"]).is_listed
    assert target_of("http://[::1]:80/", ["[::1]:80"]).is_listed
    assert target_of("http://[::1]/", ["::1"]).is_listed
    target_of("http://hooks.internal/", ["hooks.internal"]).require(["10.0.0.1", "fd00::1"])
    with pytest.raises(AddressRefused, match="https"):
        target_of("http://127.0.0.1:8081/", ["127.0.0.1:8080"])
    with pytest.raises(AddressRefused, match="https"):
        target_of("http://sub.hooks.internal/", ["hooks.internal"])


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "0.0.0.0", "224.0.0.1"])
def test_a_listed_host_is_never_a_metadata_service(address: str) -> None:
    """Its name may be in the hands of others; link-local and multicast addresses receive no webhooks."""
    with pytest.raises(AddressRefused):
        target_of("http://hooks.internal/", ["hooks.internal"]).require([address])
